// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// element is an open element of HTML.
type element struct {
	name  string
	quote bool   // its content is a quotation
	skip  bool   // its content is not to be read
	pre   bool   // its white space counts
	href  string // of a link
	from  int    // of a link: where its text begins
}

// reader turns HTML into text. It reads tokens one by one, so that HTML of
// whatever shape takes no more than its length.
type reader struct {
	out                strings.Builder
	open               []element
	named              map[string]int // how many of a name are open
	quotes, skips, pre int
	line               bool // something stands in the line
	blank              bool // an empty line precedes
	space              bool // white space to write before the next word
}

// textOf returns HTML as text: a line a block, quotations behind "> ", links
// with their addresses. What is not to be read, as scripts, is left out, and
// so are the signatures that mail programs mark.
func textOf(source string) string {
	r := reader{blank: true, named: make(map[string]int)}
	z := html.NewTokenizer(strings.NewReader(source))
	z.SetMaxBuf(maxPart)
	for {
		switch z.Next() {
		case html.ErrorToken: // the end, or too large
			return r.out.String()
		case html.TextToken:
			if r.skips == 0 {
				r.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			if r.start(z.Token()) {
				return r.out.String()
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			r.end(string(name))
		}
	}
}

// hidden are elements whose content is not to be read.
var hidden = []string{"script", "style", "head", "title", "template", "noscript", "svg", "math", "object", "iframe",
	"textarea", "select", "button", "audio", "video", "noembed", "noframes", "xmp"}

// blocks are elements that begin and end a line.
var blocks = []string{"address", "article", "aside", "blockquote", "center", "dd", "div", "dl",
	"dt", "fieldset", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol",
	"p", "pre", "section", "table", "tr", "ul", "body"}

var void = []string{"area", "base", "br", "col", "embed", "hr", "img",
	"input", "link", "meta", "source", "track", "wbr"}

// implied are elements whose end tag may be left out before another of them.
var implied = []string{"p", "li", "dd", "dt", "tr", "td", "th"}

// Where mail programs say what is history and what a signature.
var (
	quoteClasses = []string{"gmail_quote", "gmail_quote_container", "gmail_attr", "yahoo_quoted", "protonmail_quote",
		"moz-cite-prefix", "zmail_extra", "tutanota_quote"}
	historyIDs = []string{"appendonsend", "divrplyfwdmsg", "x_divrplyfwdmsg",
		"mail-editor-reference-message-container", "olk_src_body_section", "stopspelling"}
	signClasses = []string{"gmail_signature", "gmail_signature_prefix", "moz-signature"}
	signIDs     = []string{"signature", "ms-outlook-mobile-signature", "applemailsignature"}
)

// start opens an element. It says whether all that follows is not to be
// read: history, or elements deeper within one another than any mail's.
func (r *reader) start(t html.Token) (stop bool) {
	name := t.Data
	if n := len(r.open); n > 0 && r.open[n-1].name == name && slices.Contains(implied, name) {
		r.end(name)
	}
	e := element{name: name, pre: name == "pre" || name == "listing", quote: name == "blockquote",
		skip: slices.Contains(hidden, name), from: -1}
	var id, class, style, alt string
	emoji := false
	for _, a := range t.Attr {
		switch a.Key {
		case "id":
			id = strings.ToLower(a.Val)
		case "class":
			class = strings.ToLower(a.Val)
		case "style":
			style = strings.ToLower(strings.ReplaceAll(a.Val, " ", ""))
		case "hidden":
			e.skip = true
		case "href":
			if name == "a" && web(a.Val) {
				e.href, e.from = a.Val, r.out.Len()
			}
		case "alt":
			alt = a.Val
		case "data-emoji", "goomoji":
			emoji = true
		}
	}
	if slices.Contains(historyIDs, id) {
		return r.skips == 0
	}
	classes := strings.Fields(class)
	has := func(c string) bool { return slices.Contains(classes, c) }
	e.quote = e.quote || slices.ContainsFunc(quoteClasses, has)
	e.skip = e.skip || slices.ContainsFunc(signClasses, has) || slices.Contains(signIDs, id) ||
		strings.Contains(style, "display:none")
	if r.skips == 0 {
		switch {
		case name == "br":
			r.newline()
		case name == "img" && emoji:
			r.text(alt)
		case name == "td" || name == "th":
			r.space = true
		case slices.Contains(blocks, name):
			r.fresh()
			if name == "p" && !has("msonormal") && !strings.Contains(style, "margin:0") {
				r.paragraph()
			}
		}
	}
	switch {
	// A tag of Microsoft Office, such as <o:p/>, has no atom.
	case slices.Contains(void, name), t.Type == html.SelfClosingTagToken && t.DataAtom == 0:
		return false
	case len(r.open) >= maxOpen:
		return true
	}
	if e.quote && r.skips == 0 {
		r.fresh()
	}
	r.count(e, 1)
	r.open = append(r.open, e)
	r.named[name]++
	if name == "li" && r.skips == 0 {
		r.text("- ")
	}
	return false
}

// end closes the innermost element of the name, and those within it.
func (r *reader) end(name string) {
	if r.named[name] == 0 {
		return
	}
	i := len(r.open) - 1
	for r.open[i].name != name {
		i--
	}
	for len(r.open) > i {
		e := r.open[len(r.open)-1]
		r.open = r.open[:len(r.open)-1]
		r.named[e.name]--
		if r.skips == 0 {
			if e.href != "" {
				r.link(e)
			}
			if e.quote || slices.Contains(blocks, e.name) {
				r.fresh()
			}
		}
		r.count(e, -1)
	}
}

func (r *reader) count(e element, n int) {
	if e.quote {
		r.quotes += n
	}
	if e.skip {
		r.skips += n
	}
	if e.pre {
		r.pre += n
	}
}

// text writes text, its white space collapsed unless it counts.
func (r *reader) text(s string) {
	for len(s) > 0 {
		i := strings.IndexAny(s, " \t\r\n\f")
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			r.word(s[:i])
		}
		if i == len(s) {
			return
		}
		switch c := s[i]; {
		case r.pre == 0:
			r.space = true
		case c == '\n':
			r.newline()
		case c != '\r':
			r.word(string(c))
		}
		s = s[i+1:]
	}
}

func (r *reader) word(s string) {
	if !r.line && r.quotes > 0 {
		r.out.WriteString("> ")
	}
	if r.space && r.line {
		r.out.WriteByte(' ')
	}
	r.out.WriteString(s)
	r.line, r.blank, r.space = true, false, false
}

// newline ends the line, which may be empty.
func (r *reader) newline() {
	if !r.line && r.quotes > 0 {
		r.out.WriteString(">")
	}
	r.out.WriteByte('\n')
	r.blank = !r.line
	r.line, r.space = false, false
}

// fresh begins a line.
func (r *reader) fresh() {
	if r.line {
		r.newline()
		r.blank = false
	}
	r.space = false
}

// paragraph leaves an empty line.
func (r *reader) paragraph() {
	if !r.blank {
		r.newline()
		r.blank = true
	}
}

// link writes a link's address where its text does not tell it.
func (r *reader) link(e element) {
	if e.from < 0 || e.from > r.out.Len() {
		return
	}
	shown := strings.TrimSpace(r.out.String()[e.from:])
	bare := func(s string) string {
		for _, p := range []string{"https://", "http://", "mailto:"} {
			s = strings.TrimPrefix(s, p)
		}
		return strings.TrimSuffix(s, "/")
	}
	if shown != "" && !strings.Contains(shown, bare(e.href)) && len(e.href) < 2048 {
		r.space = true
		r.word("(" + e.href + ")")
	}
}

// web says whether a link leads where a person would follow it.
func web(href string) bool {
	low := strings.ToLower(href)
	return !strings.ContainsAny(href, " \t\r\n") &&
		(strings.HasPrefix(low, "https://") || strings.HasPrefix(low, "http://") || strings.HasPrefix(low, "mailto:"))
}
