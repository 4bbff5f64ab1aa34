// SPDX-License-Identifier: GPL-3.0-or-later

package clean

import (
	"strings"
	"unicode"
)

// Initials are what stands for a person where there is no picture, the same as on
// the pages: two initials, or the last two syllables of a Hangul or Han name.
func Initials(name string) string {
	name, _, _ = strings.Cut(name, "@")
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	if len(words) == 0 {
		return "?"
	}
	first := []rune(words[0])
	if !strings.ContainsFunc(words[0], func(r rune) bool { return !unicode.In(r, unicode.Hangul, unicode.Han) }) {
		return string(first[max(0, len(first)-2):])
	}
	initials := string(first[:1])
	if len(words) > 1 {
		initials += string([]rune(words[len(words)-1])[:1])
	}
	return strings.ToUpper(initials)
}
