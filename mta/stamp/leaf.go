// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"slices"

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
	plain   plain
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
	shifted bool    // within characters of ISO-2022-JP
}

// before says whether a spot comes before another.
func (s spot) before(o spot) bool { return s.at < o.at || s.at == o.at && s.octet < o.octet }

// spot is the place before the character that is decoded.
func (l *leaf) spot() spot {
	s := spot{at: l.token, col: l.tcol, shifted: l.shifted}
	if l.enc == base64ed {
		s.end, s.octets, s.octet = l.end, 3-l.pads, l.octet
		for i := range s.quantum {
			s.quantum[i] = byte(l.sext >> (16 - 8*i))
		}
	}
	return s
}

// after is the place behind the character that is decoded.
func (l *leaf) after() spot {
	if l.enc == base64ed && l.octet+1 < 3-l.pads {
		s := l.spot()
		s.octet++
		return s
	}
	s := spot{at: l.at + 1, col: l.col + 1, shifted: l.shifted}
	if l.last == '\n' && l.enc != base64ed {
		s.col = 0
	}
	return s
}

// finish is the place behind the last character.
func (l *leaf) finish() spot {
	switch {
	case l.enc != base64ed:
		return spot{at: l.at, col: l.col, shifted: l.shifted}
	case l.pads > 0:
		s := l.spot()
		s.octet = s.octets
		return s
	}
	return spot{at: l.end, col: l.ecol, shifted: l.shifted}
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
func newLeaf(isHTML bool, enc, charset string, at int64, ours own) *leaf {
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
	if isHTML {
		l.page.finder.own, l.page.charset, l.page.after = ours, l.charset, l.after
		l.page.free = true
	} else {
		l.plain.finder.own, l.plain.charset, l.plain.here, l.plain.after = ours, l.charset, l.spot, l.after
	}
	return l
}

// write takes the next raw bytes of the part.
func (l *leaf) write(b []byte) {
	for _, c := range b {
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
	l.last = c
	switch {
	case l.html && plain:
		l.page.read(c, l.spot)
	case l.html:
		l.page.read(0xff, l.spot) // a letter, but none of a tag's name
	default:
		l.armoured(c)
		l.plain.read(c)
	}
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

// script is how many characters of Hangul and of Latin the writer has written.
func (l *leaf) script() (hangul, latin int) {
	return l.plain.hangul + l.page.hangul, l.plain.latin + l.page.latin
}

// op is a change of the text: what is between two spots goes, a stamp may come.
type op struct {
	cut
	stamp bool
}

// edits are the changes of the part; stamp: the link goes into it. structEOL ends the
// lines of the message. A part that must be left alone has none.
func (l *leaf) edits(structEOL string, stamp bool) []edit {
	if l.bad || l.sealed || l.esc != "" || l.chars != 0 || l.state == digit || l.state == softCR {
		return nil
	}
	p := place{html: l.html, enc: l.enc, charset: l.charset, eol: structEOL, rawEOL: structEOL}
	if l.lines && l.enc == base64ed {
		p.eol = "\n"
		if l.crlf {
			p.eol = "\r\n"
		}
	}
	var ops []op
	cuts := l.page.cuts
	if !l.html {
		l.plain.finish(l.finish())
		cuts = l.plain.cuts
	} else {
		l.page.newLine(l.finish(), true)
	}
	for _, c := range cuts {
		for n := len(ops); n > 0 && !ops[n-1].from.before(c.from); n-- {
			ops = ops[:n-1] // it lies within this cut
		}
		if !c.from.shifted && !c.to.shifted && c.from.before(c.to) {
			ops = append(ops, op{cut: c})
		}
	}
	if !stamp {
		return l.made(p, ops, nil)
	}
	var lead []byte
	at, ok := l.page.above.at, false
	if l.html {
		at, p.columns, ok = l.page.place()
		p.frames = ok && l.page.how == byFrameset
	} else if above := l.plain.above; above.ok && !above.at.shifted {
		at, ok, p.above, p.blank = above.at, true, true, above.blank
	}
	if !ok { // the end of the text
		at = l.finish()
		if n := len(ops); n > 0 && ops[n-1].to.at >= at.at {
			at = ops[n-1].to
		}
		if l.shifted {
			lead = append(lead, "\x1b(B"...)
		}
		if l.last != '\n' && l.last != 0 {
			lead = append(lead, p.eol...)
		}
	}
	i := len(ops)
	for i > 0 && !ops[i-1].from.before(at) {
		i--
	}
	if i > 0 && at.before(ops[i-1].to) { // within what is taken out
		i--
		at = ops[i].from
	}
	return l.made(p, slices.Insert(ops, i, op{cut{from: at, to: at}, true}), lead)
}

// made turns changes, in their order, into edits; lead comes before the stamp. In
// base64 the quanta at both ends of a change are made anew, and changes that touch
// the same ones are made together.
func (l *leaf) made(p place, ops []op, lead []byte) (list []edit) {
	for i := 0; i < len(ops); {
		o := ops[i]
		e := edit{at: o.from.at, p: p}
		if l.enc == base64ed {
			e.p.col = o.from.col
			e.p.put(o.from.quantum[:o.from.octet])
		} else if before := l.before(o, p); before != "" {
			e.p.before = before
		}
		var resume int64
		for {
			if o.stamp {
				e.p.put(lead)
				e.p.text = append(e.p.text, nil)
			} else {
				e.cuts = true
				e.p.inline = o.inline
			}
			resume = o.to.at
			if i++; i < len(ops) && (ops[i].from == o.to || o.to.octet > 0 && ops[i].from.at == o.to.at) {
				e.p.put(o.to.quantum[o.to.octet:ops[i].from.octet])
				o = ops[i]
				continue
			}
			if o.to.octet > 0 {
				resume = o.to.end
				e.p.trail = o.to.quantum[o.to.octet:o.to.octets]
			}
			break
		}
		e.del = resume - e.at
		e.p.whole = l.enc == base64ed && (resume < l.end || i < len(ops))
		e.p.endLine = e.p.whole || l.at == l.end // a boundary or nothing follows
		list = append(list, e)
	}
	return list
}

// before is the line end that a change outside base64 begins with, so that the
// line does not become too long.
func (l *leaf) before(o op, p place) string {
	open := l.enc == quoted && (l.state == equal || l.state == soft) // the soft break at the end of the part
	switch {
	case o.stamp && o.from.at == l.at && !open && !(l.html && l.page.how != byNothing):
		return "" // at the end of the text, which has its line end
	case o.stamp && o.from.at == l.at && open:
		return p.rawEOL
	case o.from.col == 0, !o.stamp && o.from.col <= o.to.col:
		return ""
	case l.enc == quoted:
		return "=" + p.rawEOL
	case l.html:
		return p.rawEOL
	}
	return ""
}
