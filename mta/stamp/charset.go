// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bytes"
	"sync"

	"golang.org/x/text/encoding"
)

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
