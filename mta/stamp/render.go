// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"html"
	"regexp"
	"strings"

	"golang.org/x/text/encoding"

	"github.com/chmail/chmail/internal/words"
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
	columns int  // of the table into which the stamp goes, as a row; 0: into none
	above   bool // of text: something follows
	blank   bool // … and an empty line is above
	inline  bool // of text: the line goes on
	enc     transfer
	charset encoding.Encoding
	before  string   // raw: ends the line, soft or hard, that the edit is in
	text    [][]byte // decoded bytes, and nil for the stamp
	trail   []byte   // decoded bytes that were taken out and come last
	whole   bool     // base64: the edit is of whole quanta, since others follow
	eol     string   // of the decoded text
	rawEOL  string
	col     int // of a base64 line
	endLine bool
}

// put adds bytes to the text.
func (p *place) put(b []byte) {
	if len(b) > 0 {
		p.text = append(p.text, bytes.Clone(b))
	}
}

// render returns the raw bytes to insert.
func (p place) render(s Stamp, t words.Tongue) []byte {
	var text []byte
	for _, piece := range p.text {
		if piece == nil && s.URL != "" {
			piece = bytes.ReplaceAll(p.stamp(s, t), []byte("\n"), []byte(p.eol))
		}
		text = append(text, piece...)
	}
	pad := p.eol // what follows need not be encoded again
	switch {
	case p.html:
		pad = "\n"
	case p.inline:
		pad = " "
	}
	for p.whole && (len(text)+len(p.trail))%3 != 0 {
		text = append(text, pad...)
	}
	text = append(text, p.trail...)
	switch p.enc {
	case quoted:
		if len(text) > 0 {
			text = encodeQuoted(text, p.eol, p.rawEOL)
		}
	case base64ed:
		text = wrap(base64.StdEncoding.EncodeToString(text), p.col, p.rawEOL)
		if p.endLine && len(text) > 0 {
			text = append(text, p.rawEOL...)
		}
	}
	return append([]byte(p.before), text...)
}

// stamp is the stamp in the text.
func (p place) stamp(s Stamp, t words.Tongue) []byte {
	switch {
	case p.frames:
		return frameBlock(s, t)
	case p.columns > 0:
		return fmt.Appendf(nil, "<tr><td colspan=\"%d\" style=\"padding:0 16px 24px\">\n%s</td></tr>\n",
			p.columns, htmlBlock(s, t))
	case p.html:
		return htmlBlock(s, t)
	}
	return p.plainBlock(s, t)
}

// plainBlock is four lines: a rule, what the link is, what it does, and the link last,
// so that all of it is found again in what is quoted. None begins with what could be
// a boundary, a quotation or a signature, or ends in a space, which would join
// it with the next where format=flowed (RFC 3676).
func (p place) plainBlock(s Stamp, t words.Tongue) []byte {
	const rule = "________________________________"
	lead, end := "\n", ""
	if p.above {
		end = "\n"
		if p.blank {
			lead = ""
		}
	}
	login := s
	login.SenderName, login.Text = "", ""
	english := words.In("en")
	name, hint := p.encode(caption(s, t)), p.encode(t.Say("stamp.hint")+":")
	if name == nil || hint == nil {
		name, hint = p.encode(caption(s, english)), []byte(english.Say("stamp.hint")+":")
	}
	if name == nil {
		name = p.encode(caption(login, english))
	}
	if name == nil {
		name = []byte(english.Say("stamp.sender"))
	}
	return fmt.Appendf(nil, "%s%s\n%s\n%s\n%s\n%s", lead, rule, name, hint, clean(s.URL), end)
}

// encode returns a line in the part's charset, or nil if the charset or the
// transfer encoding cannot hold it.
func (p place) encode(line string) []byte {
	b, err := p.charset.NewEncoder().Bytes([]byte(line))
	if err != nil || p.enc == sevenBit && !ascii(b) {
		return nil
	}
	return b
}

// caption are the words on the link.
func caption(s Stamp, t words.Tongue) string {
	name := displayName(s)
	if text := clean(s.Text); text != "" {
		return strings.ReplaceAll(text, "{name}", name)
	}
	return t.Say("stamp.chat", "name", name)
}

// Words of stamps that are quoted without their rule.
var saids = func() *regexp.Regexp {
	all := []string{`Chat with .{1,100}`} // of stamps made before there was a catalogue
	for _, lang := range words.Languages {
		t := words.In(lang)
		for _, text := range []string{t.Say("stamp.chat", "name", "\x00"), t.Say("stamp.hint"), t.Say("stamp.sender")} {
			all = append(all, strings.ReplaceAll(regexp.QuoteMeta(text), "\x00", ".{1,100}"))
		}
	}
	return regexp.MustCompile(`^[*\s]*(?:` + strings.Join(all, "|") + `)[*\s]*[:：]?$`)
}()

// said says whether a line is of a stamp's words.
func said(line string) bool { return saids.MatchString(strings.TrimSpace(line)) }

// htmlBlock stands alone in any page and any mail client: no class, no image,
// ASCII only. All its words are within the link, so that they are found again however
// a mail program changes the rest.
func htmlBlock(s Stamp, t words.Tongue) []byte {
	url := entities(clean(s.URL))
	return fmt.Appendf(nil, `<div role="complementary" aria-label="%s" lang="%s" dir="ltr"
 style="clear:both;margin:24px 0;padding:16px 0 0;border-top:1px solid #c9d4d0;text-align:left;
 font-family:Arial,Helvetica,sans-serif;font-size:12px;line-height:1.5">
<a href="%s"
 style="color:#4a5a54;text-decoration:none"><span
 style="display:inline-block;padding:10px 18px;border-radius:6px;background-color:#0d6b5b;color:#ffffff;
 font-size:14px;font-weight:bold">%s</span><br>
%s<br>
<span style="color:#0d6b5b;text-decoration:underline;word-break:break-all">%s</span></a>
</div>
`, entities(t.Say("stamp.label")), t.Lang, url, entities(caption(s, t)), entities(t.Say("stamp.hint")+"."), url)
}

// frameBlock is a frameset around that of the page, with a frame of its own for
// the link above it: a page of frames shows nothing else. Readers without frames
// show what is in noframes.
func frameBlock(s Stamp, t words.Tongue) []byte {
	block := string(htmlBlock(s, t))
	inURL := strings.NewReplacer("%", "%25", "#", "%23", `"`, "%22", "<", "%3C", ">", "%3E", "\n", "%0A", " ", "%20")
	return fmt.Appendf(nil, "<frameset rows=\"150,*\">\n<frame title=\"%s\" src=\"data:text/html,%s\">\n"+
		"<noframes>%s</noframes>\n", entities(t.Say("stamp.label")),
		inURL.Replace("<!DOCTYPE html><base target=_top>"+block), block)
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
