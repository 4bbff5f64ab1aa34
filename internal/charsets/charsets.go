// SPDX-License-Identifier: GPL-3.0-or-later

// Package charsets finds character sets by the names that mail gives them.
package charsets

import (
	"fmt"
	"io"
	"mime"
	"regexp"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// spellings are names of charsets that are in no registry, as mail has them.
var spellings = []struct {
	name *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`^(?:us-?|ansi-?)?ascii$|^cp20127$`), "us-ascii"},
	{regexp.MustCompile(`^utf[-_ ]?8(?:mb[34])?$|^cp65001$|^unicode-1-1-utf-8$`), "utf-8"},
	{regexp.MustCompile(`^(?:x-)?(?:cp|ms|win|windows)[-_]?(125\d|874)$`), "windows-$1"},
	{regexp.MustCompile(`^(?:x-)?(?:iso)?[-_]?8859[-_](\d+)(?:-[ei])?$`), "iso-8859-$1"},
	{regexp.MustCompile(`^latin[-_]([1-8])$`), "latin$1"},
	{regexp.MustCompile(`^koi8[-_]?([ru])$`), "koi8-$1"},
	{regexp.MustCompile(`^(?:x-)?euc[-_]?(jp|kr)(?:-ms|-win)?$`), "euc-$1"},
	{regexp.MustCompile(`^(?:x-)?(?:shift[-_]?jis|s-?jis|(?:cp|ms|windows)-?932)$`), "shift_jis"},
	{regexp.MustCompile(`^(?:x-)?(?:ks_?c?[-_]?5601(?:[-_]19\d\d)?|uhc|(?:cp|ms|windows)-?949)$`), "euc-kr"},
	{regexp.MustCompile(`^(?:x-)?(?:gb[-_]?2312(?:[-_]80)?|gbk|euc[-_]?cn|(?:cp|ms|windows)-?936)$`), "gbk"},
	{regexp.MustCompile(`^(?:x-)?(?:cn-)?(?:big-?5(?:-(?:hkscs|eten))?|(?:cp|ms|windows)-?950)$`), "big5"},
	{regexp.MustCompile(`^tis[-_]?620$`), "windows-874"},
	{regexp.MustCompile(`^(?:cs)?iso-?2022-?jp(?:-ms|-[123])?$|^(?:cp|windows-)5022[0-2]$|^jis$`), "iso-2022-jp"},
	{regexp.MustCompile(`^(?:cp|ibm)[-_]?(\d+)$`), "ibm$1"},
}

// registered is a name as a registry has it.
func registered(name string) string {
	name = strings.ToLower(strings.Trim(name, "\"' \t"))
	for _, s := range spellings {
		if s.name.MatchString(name) {
			return s.name.ReplaceAllString(name, s.as)
		}
	}
	return name
}

// Exact returns the charset of a name, however mail spells it, or nil. US-ASCII and
// ISO-8859-1 are themselves, not the superset that browsers take them for: it is for
// who writes, and may write nothing that the charset does not hold.
func Exact(name string) encoding.Encoding {
	name = registered(name)
	if e := iana(name); e != nil {
		return e
	}
	return html(name)
}

// ForReading is Exact for who reads: US-ASCII and ISO-8859-1 are windows-1252, as
// mail often means.
func ForReading(name string) encoding.Encoding {
	name = registered(name)
	if e := html(name); e != nil {
		return e
	}
	return iana(name)
}

func iana(name string) encoding.Encoding {
	e, err := ianaindex.MIME.Encoding(name)
	if err != nil {
		return nil
	}
	return e
}

func html(name string) encoding.Encoding {
	e, err := htmlindex.Get(name)
	if err != nil || e == encoding.Replacement { // what browsers do not read
		return nil
	}
	return e
}

// Words decodes the encoded words of a field (RFC 2047). A word of an unknown charset
// is an error.
var Words = &mime.WordDecoder{CharsetReader: func(name string, r io.Reader) (io.Reader, error) {
	e := ForReading(name)
	if e == nil {
		return nil, fmt.Errorf("charset %q is unknown", name)
	}
	return e.NewDecoder().Reader(r), nil
}}
