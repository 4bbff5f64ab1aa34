// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"
)

func init() {
	charset.RegisterEncoding("iso-2022-kr", iso2022KR{})
	for _, name := range []string{"cp949", "ms949", "x-windows-949", "uhc", "ksc5601", "euckr"} {
		charset.RegisterEncoding(name, korean.EUCKR)
	}
}

// iso2022KR is the seven-bit encoding of Korean mail (RFC 1557), for reading.
type iso2022KR struct{}

var _ encoding.Encoding = iso2022KR{}

// NewDecoder implements encoding.Encoding.
func (iso2022KR) NewDecoder() *encoding.Decoder {
	return &encoding.Decoder{Transformer: transform.Chain(new(shifts), korean.EUCKR.NewDecoder())}
}

// NewEncoder implements encoding.Encoding; it only knows ASCII.
func (iso2022KR) NewEncoder() *encoding.Encoder { return encoding.Replacement.NewEncoder() }

// shifts turns ISO-2022-KR into EUC-KR: what is shifted out gets the high bit.
type shifts struct{ out bool }

// designator begins a text, and could stand at the beginning of any line.
const designator = "\x1b$)C"

// Reset implements transform.Transformer.
func (s *shifts) Reset() { s.out = false }

// Transform implements transform.Transformer.
func (s *shifts) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		c := src[nSrc]
		if c == 0x1b {
			rest := string(src[nSrc:])
			if strings.HasPrefix(rest, designator) {
				nSrc += len(designator)
				continue
			}
			if !atEOF && strings.HasPrefix(designator, rest) {
				return nDst, nSrc, transform.ErrShortSrc
			}
		}
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nSrc++
		switch {
		case c == 0x0e:
			s.out = true
			continue
		case c == 0x0f:
			s.out = false
			continue
		case c == '\n': // a line begins in ASCII
			s.out = false
		case s.out && c > ' ' && c < 0x7f:
			c |= 0x80
		}
		dst[nDst] = c
		nDst++
	}
	return nDst, nSrc, nil
}

// guess makes a text of unknown charset UTF-8: Korean if it is good EUC-KR,
// else Western European.
func guess(b []byte) string {
	for cut := 0; cut < utf8.UTFMax && cut <= len(b); cut++ { // the last letter may be cut
		whole, rest := b[:len(b)-cut], b[len(b)-cut:]
		if utf8.Valid(whole) && !utf8.FullRune(rest) {
			return string(whole)
		}
	}
	if s, err := korean.EUCKR.NewDecoder().Bytes(b); err == nil && !strings.ContainsRune(string(s), utf8.RuneError) {
		return string(s)
	}
	s, _ := charmap.Windows1252.NewDecoder().Bytes(b) // knows every octet
	return string(s)
}
