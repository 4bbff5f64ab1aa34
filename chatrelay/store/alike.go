// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// A search takes letters that are alike for the same: cafe finds Café, and strasse
// finds Straße. It does so by patterns with sets of letters, so that no text is stored
// twice and old messages are found as new ones are.

// plainLetter are letters that Unicode does not take apart.
var plainLetter = map[rune]rune{'ø': 'o', 'đ': 'd', 'ð': 'd', 'ł': 'l', 'ı': 'i', 'ħ': 'h', 'ŧ': 't'}

// likeLetters are the letters of each plain one, of Latin, Greek and Cyrillic.
var likeLetters = func() map[rune]string {
	all := make(map[rune]string)
	for _, block := range [][2]rune{{'A', 'z'}, {0xC0, 0x24F}, {0x370, 0x4FF}, {0x1E00, 0x1FFF}} {
		for r := block[0]; r <= block[1]; r++ {
			if unicode.IsLetter(r) {
				all[plainOf(r)] += string(r)
			}
		}
	}
	return all
}()

// plainOf is a letter in lower case and without its marks.
func plainOf(r rune) rune {
	if r <= 0x4FF || r >= 0x1E00 && r <= 0x1FFF { // Hangul would fall apart into its parts
		r = []rune(norm.NFD.String(string(r)))[0]
	}
	r = unicode.ToLower(r)
	if p, ok := plainLetter[r]; ok {
		return p
	}
	return r
}

// alike are a text's plain letters, as many as it has letters.
func alike(text string) string { return strings.Map(plainOf, text) }

// set is the set of letters like one; of what has no case and no marks, the letter alone.
func set(r rune) string {
	if letters, ok := likeLetters[plainOf(r)]; ok {
		return "[" + letters + "]"
	}
	if lower, upper := unicode.ToLower(r), unicode.ToUpper(r); lower != upper {
		return "[" + string(lower) + string(upper) + string(unicode.ToTitle(r)) + "]"
	}
	return ""
}

// globs are the patterns of SQLite's GLOB for a word within a text: with ss, and with ß.
func globs(word string) []string {
	var patterns []string
	for _, spelling := range spellings(word) {
		var b strings.Builder
		for _, r := range spelling {
			switch s := set(r); {
			case s != "":
				b.WriteString(s)
			case strings.ContainsRune("*?[", r):
				b.WriteString("[" + string(r) + "]")
			default:
				b.WriteRune(r)
			}
		}
		patterns = append(patterns, "*"+b.String()+"*")
	}
	return patterns
}

// expressions are the same as regular expressions of PostgreSQL.
func expressions(word string) []string {
	var patterns []string
	for _, spelling := range spellings(word) {
		var b strings.Builder
		for _, r := range spelling {
			if s := set(r); s != "" {
				b.WriteString(s)
			} else {
				b.WriteString(regexp.QuoteMeta(string(r)))
			}
		}
		patterns = append(patterns, b.String())
	}
	return patterns
}

// spellings are a word with ss, and with ß if it has any.
func spellings(word string) []string {
	double := strings.NewReplacer("ß", "ss", "ẞ", "ss").Replace(word)
	sharp := strings.NewReplacer("ss", "ß", "SS", "ß", "Ss", "ß").Replace(double)
	if sharp == double {
		return []string{double}
	}
	return []string{double, sharp}
}
