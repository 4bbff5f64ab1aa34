// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"strings"

	"golang.org/x/text/encoding"
)

// transfer is a content transfer encoding (RFC 2045 section 6).
type transfer int

const (
	sevenBit transfer = iota
	eightBit          // 8bit and binary
	quoted
	base64ed
)

// place is how the text must look at one edit.
type place struct {
	html    bool
	frames  bool // of a page that is a frameset
	enc     transfer
	charset encoding.Encoding
	before  string // raw: ends the line, soft or hard, that the edit is in
	lead    []byte // decoded bytes that were taken out and come first, then what ends the text before
	trail   []byte // decoded bytes that were taken out and come last
	whole   bool   // base64: the edit is of whole quanta, since others follow
	eol     string // of the decoded text
	rawEOL  string
	col     int // of a base64 line
	endLine bool
}

// render returns the raw bytes to insert.
func (p place) render(s Stamp) []byte {
	var text []byte
	switch {
	case p.frames:
		text = frameBlock(s)
	case p.html:
		text = htmlBlock(s)
	default:
		text = p.plainBlock(s)
	}
	text = append(bytes.Clone(p.lead), bytes.ReplaceAll(text, []byte("\n"), []byte(p.eol))...)
	for p.whole && (len(text)+len(p.trail))%3 != 0 {
		text = append(text, '\n') // what follows need not be encoded again
	}
	text = append(text, p.trail...)
	switch p.enc {
	case quoted:
		text = encodeQuoted(text, p.eol, p.rawEOL)
	case base64ed:
		text = wrap(base64.StdEncoding.EncodeToString(text), p.col, p.rawEOL)
		if p.endLine {
			text = append(text, p.rawEOL...)
		}
	}
	return append([]byte(p.before), text...)
}

// plainBlock is two lines below a rule. None begins with what could be a
// boundary, a quotation or a signature, or ends in a space, which would join
// it with the next where format=flowed (RFC 3676).
func (p place) plainBlock(s Stamp) []byte {
	const rule = "________________________________"
	name := p.encodeName("Chat with " + displayName(s) + ":")
	if name == nil {
		name = p.encodeName("Chat with " + clean(s.Login) + ":")
	}
	if name == nil {
		name = []byte("Chat with the sender:")
	}
	return fmt.Appendf(nil, "\n%s\n%s\n%s\n", rule, name, clean(s.URL))
}

// encodeName returns a line in the part's charset, or nil if the charset or
// the transfer encoding cannot hold it.
func (p place) encodeName(line string) []byte {
	b, err := p.charset.NewEncoder().Bytes([]byte(line))
	if err != nil || p.enc == sevenBit && !ascii(b) {
		return nil
	}
	return b
}

// htmlBlock stands alone in any page and any mail client: no class, no image,
// ASCII only.
func htmlBlock(s Stamp) []byte {
	url := entities(clean(s.URL))
	return fmt.Appendf(nil, `<div role="complementary" aria-label="Live chat" lang="en" dir="ltr"
 style="clear:both;margin:24px 0 0;padding:16px 0 0;border-top:1px solid #c9ced6;
 font-family:Arial,Helvetica,sans-serif;font-size:14px;line-height:1.5">
<a href="%s"
 style="display:inline-block;padding:10px 18px;border-radius:6px;
 background-color:#0b57d0;color:#ffffff;font-weight:bold;text-decoration:none">Chat
 now with %s</a>
<div style="margin:8px 0 0;font-size:12px;word-break:break-all">%s</div>
</div>
`, url, entities(displayName(s)), url)
}

// frameBlock is a frameset around that of the page, with a frame of its own for
// the link above it: a page of frames shows nothing else. Readers without frames
// show what is in noframes.
func frameBlock(s Stamp) []byte {
	block := string(htmlBlock(s))
	inURL := strings.NewReplacer("%", "%25", "#", "%23", `"`, "%22", "<", "%3C", ">", "%3E", "\n", "%0A", " ", "%20")
	return fmt.Appendf(nil, "<frameset rows=\"130,*\">\n<frame title=\"Live chat\" src=\"data:text/html,%s\">\n"+
		"<noframes>%s</noframes>\n", inURL.Replace("<!DOCTYPE html><base target=_top>"+block), block)
}

// displayName is the sender's name, or the login, cut to maxName.
func displayName(s Stamp) string {
	name := clean(s.SenderName)
	if name == "" {
		name = clean(s.Login)
	}
	if r := []rune(name); len(r) > maxName {
		name = strings.TrimSpace(string(r[:maxName-1])) + "…"
	}
	return name
}

// entities escapes for HTML and writes what is not ASCII as references.
func entities(v string) string {
	var b strings.Builder
	for _, r := range html.EscapeString(v) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "&#%d;", r)
		}
	}
	return b.String()
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// encodeQuoted encodes text that ends in eol (RFC 2045 section 6.7). A hyphen
// that begins a line is encoded, so that no line looks like a boundary.
func encodeQuoted(text []byte, eol, rawEOL string) []byte {
	const upper = "0123456789ABCDEF"
	out := make([]byte, 0, len(text)+len(text)/4)
	for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte(eol)), []byte(eol)) {
		col := 0
		for i, c := range line {
			n := 1
			if c < ' ' || c > '~' || c == '=' || c == '-' && col == 0 || c == ' ' && i == len(line)-1 {
				n = 3
			}
			if col+n > lineLimit-1 {
				out = append(append(out, '='), rawEOL...)
				col = 0
			}
			if n == 3 || c == '-' && col == 0 {
				out = append(out, '=', upper[c>>4], upper[c&15])
				n = 3
			} else {
				out = append(out, c)
			}
			col += n
		}
		out = append(out, rawEOL...)
	}
	return out
}

// wrap breaks encoded into lines, the first of which begins at column col.
func wrap(encoded string, col int, eol string) []byte {
	var out []byte
	for encoded != "" {
		n := max(0, min(lineLimit-col, len(encoded)))
		out = append(out, encoded[:n]...)
		if encoded = encoded[n:]; encoded != "" {
			out = append(out, eol...)
		}
		col = 0
	}
	return out
}
