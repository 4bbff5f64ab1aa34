// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chmail/chmail/internal/clean"
)

// Bounds of a file's name.
const (
	maxName      = 120 // runes
	maxOctets    = 200 // octets; file systems take 255, browsers add " (1)"
	maxExtension = 16  // octets; what is longer is no extension
)

// Name makes what a stranger calls a file a name that is safe to show and to
// save a file under, on any system: one line, without folders, invisible or
// direction-changing characters, and not one of Windows's devices.
func Name(s string) string {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	if len(s) > 4096 {
		s = s[:2048] + s[len(s)-64:]
	}
	s = clean.Line(s, 4096, 4096)
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>:"|?*`, r) {
			return '_'
		}
		return r
	}, s)
	s = strings.TrimRight(strings.TrimLeft(s, ". "), ". ")
	if s == "" {
		return "file"
	}
	if reserved(s) {
		s = "_" + s
	}
	stem, ext := split(s)
	stem = strings.TrimRight(clean.Line(stem, maxName-utf8.RuneCountInString(ext), maxOctets-len(ext)), ". ")
	if clean.Line(stem, maxName, maxOctets) == "" { // of combining marks alone
		stem = "file"
	}
	return stem + ext
}

// split splits a name before its extension.
func split(name string) (stem, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= maxExtension && !strings.Contains(name[i:], " ") {
		return name[:i], name[i:]
	}
	return name, ""
}

// reserved says whether Windows takes the name for a device, with whatever
// extension.
func reserved(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, isCOM := strings.CutPrefix(stem, "COM")
	if !isCOM {
		var isLPT bool
		if port, isLPT = strings.CutPrefix(stem, "LPT"); !isLPT {
			return false
		}
	}
	return utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}

// extensions of the types that pictures are stored in; the first is usual.
var extensions = map[string][]string{
	typePNG:  {".png"},
	typeJPEG: {".jpg", ".jpeg", ".jpe", ".jfif"},
	typeGIF:  {".gif"},
}

// withExtension gives a picture's name the extension of its type.
func withExtension(name, kind string) string {
	stem, ext := split(name)
	low := strings.ToLower(ext)
	switch {
	case slices.Contains(extensions[kind], low):
		return name
	case low == ".webp" || low == ".png" || low == ".gif" || slices.Contains(extensions[typeJPEG], low):
		return stem + extensions[kind][0]
	}
	return name + extensions[kind][0]
}
