// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"cmp"
	"strings"
)

// MaxWording is how many octets the words on a link have at most.
const MaxWording = 200

// Wording is what stands on the links, by domain of the sender's login, or "*" for
// all, and by language, or "" for all. A login's own words come before it.
type Wording map[string]map[string]string

// of returns the words for a login's mail in a language; empty: the usual ones.
func (w Wording) of(login, lang string) string {
	domain := strings.ToLower(login[strings.LastIndexByte(login, '@')+1:])
	return cmp.Or(w[domain][lang], w[domain][""], w["*"][lang], w["*"][""])
}
