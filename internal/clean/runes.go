// SPDX-License-Identifier: GPL-3.0-or-later

package clean

import "unicode"

const (
	zwnj      = '\u200C' // zero width non-joiner
	zwj       = '\u200D' // zero width joiner
	blackFlag = '\U0001F3F4'
)

// isBreak says whether r ends a line without being white space for every
// reader: next line, line separator, paragraph separator.
func isBreak(r rune) bool { return r == '\u0085' || r == '\u2028' || r == '\u2029' }

// overrides says whether r turns the direction of the letters after it: the
// embeddings and overrides of UAX 9 section 2.1 and 2.2, which isolates have
// replaced.
func overrides(r rune) bool { return r >= '\u202A' && r <= '\u202E' }

// bidi says whether r is any control of direction (UAX 9 section 2).
func bidi(r rune) bool {
	return overrides(r) || r >= '\u2066' && r <= '\u2069' || r == '\u200E' || r == '\u200F' || r == '\u061C'
}

// tag says whether r is one of the invisible tag characters.
func tag(r rune) bool { return r >= 0xE0000 && r <= 0xE007F }

// invisible says whether r shows nothing and means nothing to a person.
// Joiners and directional characters are not among them.
func invisible(r rune) bool {
	switch {
	case unicode.Is(unicode.Cc, r), tag(r):
		return true
	case r >= 0xFDD0 && r <= 0xFDEF, r&0xFFFE == 0xFFFE: // noncharacters
		return true
	case r >= '\u2060' && r <= '\u2064', r >= '\u206A' && r <= '\u206F', r >= '\uFFF9' && r <= '\uFFFB':
		return true
	}
	switch r {
	case '\u00AD', // soft hyphen
		'\u034F',                               // combining grapheme joiner
		'\u115F', '\u1160', '\u3164', '\uFFA0', // Hangul fillers
		'\u17B4', '\u17B5', // Khmer inherent vowels
		'\u180E', // Mongolian vowel separator
		'\u200B', // zero width space
		'\uFEFF', // byte order mark
		'\u2800': // braille blank
		return true
	}
	return false
}

// joins says whether a joiner can stand beside r: letters of scripts whose letters join, their marks, and what
// emoji are made of. Between other letters it would make two words of the same look.
func joins(r rune) bool {
	return r != unicode.ReplacementChar && unicode.In(r, unicode.L, unicode.M, unicode.So) &&
		!unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic, unicode.Hangul, unicode.Han, unicode.Hiragana,
			unicode.Katakana) ||
		r >= 0x1F3FB && r <= 0x1F3FF ||
		r == '\u2640' || r == '\u2642' || r == '\u2194' || r == '\u2195'
}

// selector says whether r chooses a form of the character before it. Those of emoji, U+FE0E and U+FE0F, may stand
// behind many characters and are not among them.
func selector(r rune) bool {
	return r >= '\uFE00' && r <= '\uFE0D' || r >= 0xE0100 && r <= 0xE01EF || mongolian(r)
}

func mongolian(r rune) bool { return r >= '\u180B' && r <= '\u180D' || r == '\u180F' }

// varies says whether a selector can stand behind base: Unicode registers forms of ideographs, as in the spelling of
// names, of letters of a few scripts, and of signs of mathematics.
func varies(base, selector rune) bool {
	if mongolian(selector) {
		return unicode.In(base, unicode.Mongolian) && unicode.IsLetter(base)
	}
	return unicode.In(base, unicode.Han, unicode.Myanmar, unicode.Phags_Pa, unicode.Sm)
}

// continues says whether r belongs to the letter or emoji that before ends.
func continues(before, r rune) bool {
	return unicode.Is(unicode.M, r) || r == zwj || r == zwnj || before == zwj || tag(r) ||
		r >= 0x1F3FB && r <= 0x1F3FF || // skin tones
		r >= 0x1F1E6 && r <= 0x1F1FF && before >= 0x1F1E6 && before <= 0x1F1FF // flags
}
