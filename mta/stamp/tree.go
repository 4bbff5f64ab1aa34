// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

const (
	maxTag     = 4 << 10 // octets of a tag that are looked at
	maxOpen    = 200     // elements within one another that are followed
	maxCuts    = 500     // in one part; what follows stays
	maxColumns = 100     // of a table
)

// tree follows the elements and lines of a page as far as a stamp needs: where
// the writer's words end, which table holds the whole page, and which elements hold
// an older stamp and nothing else. However a mail program has changed a stamp, its
// words are within its link, and the link within elements of its own.
type tree struct {
	flow
	finder finder
	after  func() spot

	source   []byte    // of the tag at hand
	elements []element // open ones
	deeper   int       // open ones beyond maxOpen

	// Of the line of text.
	line  []byte
	start spot // where it begins
	free  bool // it begins with an element, and is empty yet

	// Of the word.
	word   []byte
	link   cut
	linked bool

	shown    int // words and pictures that are seen
	unseen   int // open elements that are not seen
	quoting  int // open elements that are quotations
	centered bool
	layout   layout

	anchor anchor
	cuts   []cut
}

// element is an open one.
type element struct {
	name   string
	start  spot
	stays  bool // it is never taken out
	quote  bool
	unseen bool
	ours   bool // it has a link of ours
	button bool // … with words
	other  bool // it has something else
	cuts   int  // how many there were

	shown, columns, widest int // of a table: shown before it, columns of the row, and of the widest one
	table                  bool
}

// layout is a table that holds everything.
type layout struct {
	end     spot // of its last row
	columns int
	shown   int
}

// anchor is an open link of ours.
type anchor struct {
	on    bool
	start spot
	depth int
	text  []byte
}

// followed are the elements of which a stamp may consist, or within which it stands.
const followed = " div p span font table tbody thead tfoot tr td th center section article main header footer" +
	" blockquote pre ul ol li h1 h2 h3 h4 h5 h6 "

// lineBlocks begin and end a line.
const lineBlocks = " div p table tr td th center section article main header footer blockquote pre ul ol li" +
	" h1 h2 h3 h4 h5 h6 body html hr "

// Where mail programs say what is quoted, what is history and what a signature.
var (
	quoteClasses = []string{"gmail_quote", "gmail_quote_container", "gmail_attr", "gmail_extra", "yahoo_quoted",
		"protonmail_quote", "moz-cite-prefix", "moz-forward-container", "zmail_extra", "tutanota_quote"}
	historyIDs = []string{"appendonsend", "divrplyfwdmsg", "x_divrplyfwdmsg", "ms-outlook-mobile-body-separator-line",
		"mail-editor-reference-message-container", "olk_src_body_section", "stopspelling"}
	signClasses = []string{"gmail_signature", "gmail_signature_prefix", "moz-signature", "protonmail_signature_block"}
	signIDs     = []string{"signature", "ms-outlook-mobile-signature", "applemailsignature"}
)

// write takes a character of the text, or the < that ends it.
func (t *tree) write(c byte, here func() spot) {
	if t.anchor.on {
		if len(t.anchor.text) < len("https://") {
			t.anchor.text = append(t.anchor.text, c)
		}
		if c != '<' {
			t.line = keep(t.line, c)
		}
		return
	}
	if link, _, found := t.finder.read(c, here, t.after); found {
		t.link, t.linked = link, true
	}
	if c == '<' || c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' {
		t.endWord()
	} else {
		t.word = keep(t.word, c)
		if !t.quoted() {
			t.count(c)
		}
	}
	if c != '<' {
		t.line = keep(t.line, c)
	}
}

func keep(b []byte, c byte) []byte {
	if len(b) < maxLine {
		b = append(b, c)
	}
	return b
}

// endWord takes a whole word of the text.
func (t *tree) endWord() {
	word, linked := t.word, t.linked
	t.word, t.linked = t.word[:0], false
	if len(blank(word)) == 0 {
		return
	}
	if t.unseen == 0 {
		t.shown++
	}
	t.free = false
	if linked && t.quoted() {
		t.cut(t.link)
		if bytes.HasPrefix(bytes.ToLower(word), []byte(scheme)) {
			t.mark(false)
			return
		}
	}
	t.other()
}

// blank takes out of a word what is not seen.
func blank(word []byte) []byte {
	if !bytes.ContainsAny(word, "&\u00a0\u200b\u200c") {
		return word
	}
	return bytes.TrimFunc([]byte(html.UnescapeString(string(word))), func(r rune) bool {
		return r <= ' ' || r == '\u00a0' || r >= '\u200b' && r <= '\u200f' || r == '\u00ad' || r == '\ufeff'
	})
}

func (t *tree) quoted() bool { return t.quoting > 0 || t.old }

func (t *tree) cut(c cut) {
	if len(t.cuts) < maxCuts && !c.from.shifted && !c.to.shifted {
		t.cuts = append(t.cuts, c)
	}
}

// mark says that a link of ours is in the innermost element.
func (t *tree) mark(button bool) {
	if n := len(t.elements); n > 0 {
		t.elements[n-1].ours = true
		t.elements[n-1].button = t.elements[n-1].button || button
	}
}

// other says that something else is in it.
func (t *tree) other() {
	if n := len(t.elements); n > 0 {
		t.elements[n-1].other = true
	}
}

// element takes a tag.
func (p *page) element(name string) {
	if p.ends {
		p.endTag(name)
		return
	}
	switch {
	case name == "a":
		p.anchorTag()
	case name == "br":
		p.newLine(p.after(), false)
	case name == "hr":
		p.newLine(p.begin, true)
		p.picture()
		p.begins(name)
	case name == "img" || name == "input" || name == "object" || name == "svg" || name == "video":
		p.picture()
	case name == "body":
		p.newLine(p.after(), true)
		p.begins(name)
	case among(followed, name):
		p.openTag(name)
	}
}

// picture takes something that is seen and is no word.
func (t *tree) picture() {
	if t.unseen == 0 {
		t.shown++
	}
	t.free = false
	t.other()
}

// attributes of the tag at hand that matter.
type attributes struct {
	id, style, align, href string
	classes                []string
	cite                   bool
	columns                int
}

func (t *tree) attributes() (a attributes) {
	a.columns = 1
	z := html.NewTokenizer(bytes.NewReader(t.source))
	if z.Next(); z.Err() != nil {
		return a
	}
	for _, attr := range z.Token().Attr {
		value := strings.ToLower(attr.Val)
		switch attr.Key {
		case "id":
			a.id = value
		case "class":
			a.classes = strings.Fields(value)
		case "style":
			a.style = strings.Join(strings.Fields(value), "")
		case "align":
			a.align = value
		case "href":
			a.href = attr.Val
		case "type":
			a.cite = a.cite || value == "cite"
		case "cite":
			a.cite = true
		case "name":
			if value == "quote" || value == "messagereplysection" {
				a.cite = true
			}
		case "colspan":
			if n, err := strconv.Atoi(value); err == nil && n > 0 && n <= maxColumns {
				a.columns = n
			}
		}
	}
	return a
}

// begins reads the tag at hand and notes what begins there.
func (p *page) begins(name string) attributes {
	a := p.attributes()
	at := p.begin
	if len(blank(p.line)) == 0 {
		at = p.start
	}
	has := func(list []string) bool {
		return slices.ContainsFunc(a.classes, func(c string) bool { return slices.Contains(list, c) })
	}
	switch {
	// Outlook's header of the mail that is answered.
	case slices.Contains(historyIDs, a.id), strings.Contains(a.style, "border:none;border-top:solid#") &&
		strings.Contains(a.style, "padding:3.0pt0"):
		p.flow.end(at, true)
	case has(signClasses), slices.Contains(signIDs, a.id):
		p.flow.end(at, false)
	}
	a.cite = a.cite && (name == "blockquote" || name == "div") || has(quoteClasses)
	if p.shown == 0 && (name == "center" || a.align == "center" || strings.Contains(a.style, "text-align:center") ||
		strings.Contains(a.style, "margin:auto") || strings.Contains(a.style, "margin:0auto") ||
		strings.Contains(a.style, "margin-left:auto")) {
		p.centered = true
	}
	return a
}

func (p *page) openTag(name string) {
	p.implied(name)
	if among(lineBlocks, name) {
		switch name {
		case "td", "th": // nothing stands before a cell, within its table
			p.free = false
			p.newLine(p.after(), true)
			p.free = false
		case "tr":
		default:
			p.newLine(p.begin, true)
		}
	}
	e := element{name: name, start: p.begin, cuts: len(p.cuts), shown: p.shown}
	a := p.begins(name)
	e.quote = a.cite || name == "blockquote" && p.attribution() < len(p.recent)
	e.unseen = strings.Contains(a.style, "display:none") || strings.Contains(a.style, "visibility:hidden") ||
		strings.Contains(a.style, "mso-hide:all")
	// A cell that is taken out would move the others of its row.
	e.stays = e.quote || name == "blockquote" || among(" td th tbody thead tfoot ", name)
	e.table = name == "table"
	if i := slices.IndexFunc(p.elements, isTable); i >= 0 && !e.table {
		table := &p.elements[lastTable(p.elements)]
		switch name {
		case "tr":
			table.columns = 0
		case "td", "th":
			table.columns += a.columns
			table.widest = max(table.widest, table.columns)
		}
	}
	if e.quote {
		p.flow.quote(p.start)
		p.quoting++
	}
	if e.unseen {
		p.unseen++
	}
	if len(p.elements) == maxOpen {
		p.other()
		p.deeper++
		if e.quote {
			p.quoting--
		}
		if e.unseen {
			p.unseen--
		}
		return
	}
	p.elements = append(p.elements, e)
}

func isTable(e element) bool { return e.table }

func lastTable(open []element) int {
	i := len(open) - 1
	for i >= 0 && !open[i].table {
		i--
	}
	return i
}

// implied closes an element whose end tag may be left out before another.
func (p *page) implied(name string) {
	n := len(p.elements)
	if n == 0 {
		return
	}
	switch last := p.elements[n-1].name; {
	case last == "p" && among(lineBlocks, name),
		(last == "td" || last == "th") && (name == "td" || name == "th" || name == "tr"),
		last == "tr" && name == "tr", last == "li" && name == "li":
		p.shut(p.begin, false)
		p.implied(name)
	}
}

func (p *page) endTag(name string) {
	switch {
	case name == "a":
		p.endAnchor(p.after())
		return
	case !among(followed, name):
		return
	case p.deeper > 0:
		p.deeper--
		return
	}
	i := len(p.elements) - 1
	for i >= 0 && p.elements[i].name != name {
		if p.elements[i].table && !among(" table tbody thead tfoot tr td th ", name) {
			return // nothing in a table ends what the table is in
		}
		i--
	}
	if i < 0 {
		return
	}
	for len(p.elements) > i+1 {
		p.shut(p.begin, false)
	}
	p.shut(p.after(), true)
	if among(lineBlocks, name) {
		p.newLine(p.after(), true)
	}
}

// shut closes the innermost element; whole: its own end tag does.
func (p *page) shut(after spot, whole bool) {
	if p.anchor.on && p.anchor.depth >= len(p.elements) { // it was never closed
		p.anchor = anchor{}
		p.other()
	}
	e := p.elements[len(p.elements)-1]
	p.elements = p.elements[:len(p.elements)-1]
	if e.quote {
		p.quoting--
	}
	if e.unseen {
		p.unseen--
	}
	if e.table && whole && e.shown == 0 && p.centered && !p.ended && p.layout.shown < p.shown {
		p.layout = layout{end: p.begin, columns: max(1, e.widest), shown: p.shown}
	}
	switch {
	case e.other || !e.ours:
		if e.other {
			p.other()
		}
	case e.quote:
		p.other()
	case e.stays:
		p.mark(e.button)
	case !p.quoted() && !e.button:
		p.other() // a link that the writer has put there
	case whole && e.start.shifted == after.shifted && !after.shifted:
		p.cuts = p.cuts[:e.cuts]
		p.cut(cut{from: e.start, to: after})
		p.mark(e.button)
	default:
		p.mark(e.button)
	}
}

// anchorTag takes the start of a link.
func (p *page) anchorTag() {
	p.endAnchor(p.begin)
	if a := p.attributes(); p.finder.own.leads(a.href) {
		p.anchor = anchor{on: true, start: p.begin, depth: len(p.elements), text: p.anchor.text[:0]}
	}
}

// endAnchor takes the end of a link.
func (p *page) endAnchor(after spot) {
	if !p.anchor.on {
		return
	}
	a := p.anchor
	p.anchor = anchor{text: a.text}
	p.shown++
	p.free = false
	button := !strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(a.text))), scheme)
	if p.quoted() {
		p.cut(cut{from: a.start, to: after})
	}
	p.mark(button)
}

// newLine ends the line of text. The next one begins at a spot; while it is empty it
// begins with the outermost of the elements that begin there.
func (t *tree) newLine(at spot, block bool) {
	text := seen(html.UnescapeString(t.decode(t.line)))
	empty := text == ""
	t.line = t.line[:0]
	switch {
	case !empty || !block:
		t.put(line{start: t.start, text: text}, t.quoted())
	case t.free:
		return
	}
	t.start, t.free = at, block
}
