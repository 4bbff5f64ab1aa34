// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bytes"
	"regexp"
	"strings"
	"sync"

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

// Encoding returns the charset of a name, however mail spells it, or nil. US-ASCII
// and ISO-8859-1 are themselves, not the superset that browsers take them for:
// nothing is written into a part that its charset does not hold.
func Encoding(name string) encoding.Encoding {
	name = strings.ToLower(strings.Trim(name, `"' `))
	for _, s := range spellings {
		if s.name.MatchString(name) {
			name = s.name.ReplaceAllString(name, s.as)
			break
		}
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e
	}
	if e, err := htmlindex.Get(name); err == nil {
		return e
	}
	return nil
}

// printable is every character of ASCII that an edit can have.
var printable = func() []byte {
	b := []byte("\t\r\n")
	for c := byte(' '); c <= '~'; c++ {
		b = append(b, c)
	}
	return b
}()

// asciiKnown has what holdsASCII found about a charset.
var asciiKnown sync.Map

// holdsASCII says whether an ASCII byte that is no letter of a longer character
// means itself. UTF-16, UTF-7, HZ and EBCDIC are different.
func holdsASCII(e encoding.Encoding) bool {
	if known, ok := asciiKnown.Load(e); ok {
		return known.(bool)
	}
	b, err := e.NewDecoder().Bytes(printable)
	same := err == nil && bytes.Equal(b, printable)
	asciiKnown.Store(e, same)
	return same
}
