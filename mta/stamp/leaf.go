// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"

	"github.com/chmail/chmail/internal/charsets"
)

// leaf follows the text of one part, decoding it as it comes, and knows in
// the end where the link goes. It holds a few bytes only.
type leaf struct {
	html    bool
	enc     transfer
	charset encoding.Encoding
	iso2022 bool

	bad    bool // cannot be decoded, or would not survive an edit
	sealed bool // inline PGP

	// Raw.
	at    int64 // offset after the last byte
	col   int
	crlf  bool   // the last line ended in CRLF
	lines bool   // one of the text has ended
	state state  // of the decoder
	hex   byte   // first digit of =XX
	token int64  // where the encoded character or quantum began
	tcol  int    // its column
	sext  uint32 // of a quantum
	octet int    // of the quantum: the one that is decoded
	chars int    // of a quantum
	pads  int
	end   int64 // after the last quantum
	ecol  int

	// Decoded.
	last    byte   // of the text; 0 before the first
	esc     string // an unfinished escape sequence
	shifted bool   // ISO-2022-JP outside ASCII
	pgp     int    // bytes of the armour's first line matched; -1 until the next line
	page    page
	here    func() spot // for page
}

// spot is a place before a character of the text: where the raw bytes of that
// character begin or, in base64, those of the quantum in which it is.
type spot struct {
	at      int64
	col     int
	end     int64   // base64: after the quantum
	quantum [3]byte // base64: what it holds
	octets  int     // … and how much that is
	octet   int     // … and which of it the character is
}

// spot is the place before the character that is decoded.
func (l *leaf) spot() spot {
	s := spot{at: l.token, col: l.tcol}
	if l.enc == base64ed {
		s.end, s.octets, s.octet = l.end, 3-l.pads, l.octet
		for i := range s.quantum {
			s.quantum[i] = byte(l.sext >> (16 - 8*i))
		}
	}
	return s
}

// state of the quoted-printable decoder.
type state int

const (
	text  state = iota
	equal       // after =
	digit       // after =X
	soft        // after = and space: the line must end
	softCR
	softLF // a soft break has just ended a line
)

const armour = "-----BEGIN PGP"

// newLeaf returns nil for a part that must be left alone.
func newLeaf(isHTML bool, enc, charset string, at int64) *leaf {
	l := &leaf{html: isHTML, at: at, end: at, token: at}
	switch enc {
	case "", "7bit":
		l.enc = sevenBit
	case "8bit", "binary":
		l.enc = eightBit
	case "quoted-printable":
		l.enc = quoted
	case "base64":
		l.enc = base64ed
	default:
		return nil
	}
	if charset == "" {
		charset = "us-ascii"
	}
	if l.charset = charsets.Exact(charset); l.charset == nil || !holdsASCII(l.charset) {
		return nil
	}
	l.iso2022 = l.charset == japanese.ISO2022JP
	l.here = l.spot
	return l
}

// write takes the next raw bytes of the part.
func (l *leaf) write(b []byte) {
	for len(b) > 0 {
		if n := l.dull(b); n > 0 {
			l.last = b[n-1]
			l.at += int64(n)
			l.col += n
			b = b[n:]
			continue
		}
		c := b[0]
		b = b[1:]
		switch l.enc {
		case quoted:
			l.quoted(c)
		case base64ed:
			l.base64(c)
		default:
			l.token, l.tcol = l.at, l.col
			l.decoded(c)
		}
		l.at++
		l.col++
		if c == '\n' {
			l.col = 0
		}
	}
}

// dull returns how many bytes at the front of b are words of the text that end
// nothing and begin nothing: most of them. It only makes writing them quicker.
func (l *leaf) dull(b []byte) (n int) {
	switch {
	case l.enc == base64ed || l.iso2022 || l.state != text:
		return 0
	case l.html && l.page.in != inText, !l.html && l.pgp >= 0:
		return 0
	}
	for n < len(b) && b[n] > ' ' && b[n] != '<' && b[n] != '=' && b[n] != 0x7f || n > 0 && n < len(b) && b[n] == ' ' {
		n++
	}
	if n > 0 && l.page.hider == "" {
		l.page.words = true
	}
	return n
}

func (l *leaf) quoted(c byte) {
	switch l.state {
	case text, softLF:
		l.token, l.tcol = l.at, l.col
		l.state = text
		switch {
		case c == '=':
			l.state = equal
		case c < ' ' && c != '\t' && c != '\r' && c != '\n', c == 0x7f:
			l.bad = true
		default:
			l.decoded(c)
		}
	case equal:
		switch {
		case unhex(c) < 16:
			l.hex, l.state = unhex(c), digit
		case c == ' ' || c == '\t':
			l.state = soft
		default:
			l.softEnd(c)
		}
	case digit:
		if unhex(c) > 15 {
			l.bad = true
		}
		l.state = text
		l.decoded(l.hex<<4 | unhex(c)&15)
	case soft:
		if c != ' ' && c != '\t' {
			l.softEnd(c)
		}
	case softCR:
		l.softEnd(c)
		l.bad = l.bad || c != '\n'
	}
}

func (l *leaf) softEnd(c byte) {
	switch c {
	case '\r':
		l.state = softCR
	case '\n':
		l.state = softLF
	default:
		l.bad = true
	}
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func (l *leaf) base64(c byte) {
	var v byte
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		return
	case 'A' <= c && c <= 'Z':
		v = c - 'A'
	case 'a' <= c && c <= 'z':
		v = c - 'a' + 26
	case '0' <= c && c <= '9':
		v = c - '0' + 52
	case c == '+':
		v = 62
	case c == '/':
		v = 63
	case c == '=' && l.chars >= 2:
		l.pads++
	default:
		l.bad = true
		return
	}
	if l.chars == 0 {
		if l.pads > 0 { // something after the padding
			l.bad = true
			return
		}
		l.token, l.tcol, l.sext = l.at, l.col, 0
	}
	if l.pads > 0 && c != '=' {
		l.bad = true
		return
	}
	l.sext = l.sext<<6 | uint32(v)
	if l.chars++; l.chars < 4 {
		return
	}
	l.chars = 0
	l.end, l.ecol = l.at+1, l.col+1
	for l.octet = range 3 - l.pads {
		l.decoded(byte(l.sext >> (16 - 8*l.octet)))
	}
}

// decoded takes the next byte of the text.
func (l *leaf) decoded(c byte) {
	if c == '\n' {
		l.lines, l.crlf = true, l.last == '\r'
	}
	plain := l.inASCII(c)
	switch {
	case l.html && plain:
		l.page.read(c, l.here)
	case l.html:
		l.page.read(0xff, l.here) // a letter, but none of a tag's name
	default:
		l.armoured(c)
	}
	l.last = c
}

// inASCII follows the escape sequences of ISO-2022-JP (RFC 1468).
func (l *leaf) inASCII(c byte) bool {
	if !l.iso2022 {
		return true
	}
	if l.esc == "" && c != 0x1b {
		return !l.shifted
	}
	l.esc += string(rune(c))
	switch l.esc {
	case "\x1b", "\x1b$", "\x1b(":
	case "\x1b(B":
		l.shifted, l.esc = false, ""
	case "\x1b(J", "\x1b(I", "\x1b$@", "\x1b$B":
		l.shifted, l.esc = true, ""
	default:
		l.bad, l.esc = true, ""
	}
	return false
}

// armoured looks for the first line of inline PGP.
func (l *leaf) armoured(c byte) {
	switch {
	case c == '\n' || c == '\r':
		l.pgp = 0
	case l.pgp >= 0 && c == armour[l.pgp]:
		if l.pgp++; l.pgp == len(armour) {
			l.sealed, l.pgp = true, -1
		}
	default:
		l.pgp = -1
	}
}

// edit says where the link goes; ok is false for a part to leave alone.
// structEOL ends the lines of the message.
func (l *leaf) edit(structEOL string) (e edit, ok bool) {
	if l.bad || l.sealed || l.esc != "" || l.chars != 0 || l.state == digit || l.state == softCR {
		return edit{}, false
	}
	p := place{html: l.html, enc: l.enc, charset: l.charset, eol: structEOL, rawEOL: structEOL}
	if l.lines && l.enc == base64ed {
		p.eol = "\n"
		if l.crlf {
			p.eol = "\r\n"
		}
	}
	if at, ok := l.page.place(); l.html && ok {
		p.frames = l.page.how == byFrameset
		e = edit{at: at.at, p: p}
		switch {
		case l.enc == base64ed:
			e.del = at.end - at.at
			e.p.col, e.p.endLine = at.col, true
			e.p.lead = at.quantum[:at.octet]
			e.p.trail = at.quantum[at.octet:at.octets]
			e.p.whole = at.octets == 3
		case at.col > 0:
			e.p.before = structEOL
			if l.enc == quoted {
				e.p.before = "=" + structEOL
			}
		}
		return e, true
	}
	e.at = l.at
	if l.enc == quoted && (l.state == equal || l.state == soft) {
		p.before = structEOL // the soft break that the part's end left open
	}
	if l.enc == base64ed {
		e.at, p.col = l.end, l.ecol
		if l.pads > 0 {
			e.at, e.del, p.col = l.token, l.end-l.token, l.tcol
			for i := range 3 - l.pads {
				p.lead = append(p.lead, byte(l.sext>>(16-8*i)))
			}
		}
		p.endLine = l.at == l.end // a boundary or nothing follows
	}
	if l.shifted {
		p.lead = append(p.lead, "\x1b(B"...)
	}
	if l.last != '\n' && l.last != 0 {
		p.lead = append(p.lead, p.eol...)
	}
	e.p = p
	return e, true
}
