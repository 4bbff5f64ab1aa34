// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import "strings"

// page finds where the link of an HTML part goes. It follows the markup as
// browsers do (HTML Living Standard, section 13.2.5), so that an end of the page
// in a script, a title, an attribute or a comment is not taken for one.
type page struct {
	in    markup
	begin spot // of the tag or comment at hand

	name   [12]byte // of the tag, in lower case, as far as it fits
	letter int      // how many there are
	ends   bool     // it is an end tag
	slash  bool     // the last character of it was a slash
	quote  byte     // that ends the attribute's value
	dashes int      // of a comment, in a row; -1 after --!

	raw    string // element whose content is text; empty: none
	hider  string // outermost open element that does not show what is in it; empty: none
	depth  int    // of elements of its name
	hidden spot   // where it begins

	words    bool // something was shown: a frameset that follows is none
	found    spot
	how      foundBy
	finished bool // what follows does not matter

	tree
}

// markup is a state of the tokenizer.
type markup int

const (
	inText      markup = iota
	afterLess          // <
	afterSlash         // </
	inName             // of a tag
	beforeAttr         // in a tag
	inAttr             // in the name of an attribute
	afterAttr          // behind that name
	beforeValue        // after =
	inQuotes           // in a value
	inValue            // in one without quotes
	afterBang          // <!
	afterDash          // <!-
	inComment          // <!--
	inBogus            // what ends at the next >
)

// foundBy is why the link goes to a spot.
type foundBy int

const (
	byNothing  foundBy = iota
	byHTML             // </html>, for want of </body>
	byBody             // </body>
	byFrameset         // a page of frames has no body
)

// rawText are the elements in which markup is text up to their end tag.
// plaintext has none. What browsers with scripts do with noscript, the others do
// not; so it is an element that hides.
const rawText = " script style textarea title xmp iframe noembed noframes plaintext "

// hiding are the elements that, left open, show nothing of what follows.
const hiding = " select template svg math object applet video audio canvas details dialog datalist" +
	" progress meter noscript button rp "

// headOnly are the elements that can stand before a frameset.
const headOnly = " html head meta link base basefont bgsound title style script noscript noframes template "

func among(list, name string) bool { return strings.Contains(list, " "+name+" ") }

// read takes the next character of the text; here is where it is.
func (p *page) read(c byte, here func() spot) {
	if p.finished {
		return
	}
	if p.in != inText && len(p.source) < maxTag {
		p.source = append(p.source, c)
	}
	space := c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f'
	switch p.in {
	case inText:
		switch {
		case c == '<':
			p.in, p.begin = afterLess, here()
			p.source = append(p.source[:0], c)
		case !space && p.hider == "":
			p.words = true
		}
		if p.hider == "" {
			p.write(c, here)
		}
	case afterLess:
		switch {
		case c == '/':
			p.in, p.ends, p.letter = afterSlash, true, 0
		case p.raw != "":
			p.text(c, here)
		case letter(c):
			p.in, p.ends, p.letter = inName, false, 0
			p.spell(c)
		case c == '!':
			p.in = afterBang
		case c == '?':
			p.in = inBogus
		default:
			p.text(c, here)
		}
	case afterSlash:
		switch {
		case letter(c):
			p.in = inName
			p.spell(c)
		case p.raw != "":
			p.text(c, here)
		case c == '>':
			p.in = inText
		default:
			p.in = inBogus
		}
	case inName:
		switch {
		case !space && c != '/' && c != '>':
			p.spell(c)
		case p.raw != "" && (p.raw == "plaintext" || p.tagName() != p.raw):
			p.text(c, here)
		default:
			p.in = beforeAttr
			p.attr(c, space)
		}
	case beforeAttr:
		p.attr(c, space)
	case inAttr:
		switch {
		case space:
			p.in = afterAttr
		case c == '=':
			p.in = beforeValue
		case c == '/' || c == '>':
			p.attr(c, space)
		}
	case afterAttr:
		if c == '=' {
			p.in = beforeValue
		} else {
			p.attr(c, space)
		}
	case beforeValue:
		switch {
		case space:
		case c == '"' || c == '\'':
			p.in, p.quote = inQuotes, c
		case c == '>':
			p.tag()
		default:
			p.in = inValue
		}
	case inQuotes:
		if c == p.quote {
			p.in, p.slash = beforeAttr, false
		}
	case inValue:
		switch {
		case space:
			p.in, p.slash = beforeAttr, false
		case c == '>':
			p.slash = false
			p.tag()
		}
	case afterBang:
		p.in = inBogus
		if c == '-' {
			p.in = afterDash
		} else if c == '>' {
			p.in = inText
		}
	case afterDash:
		p.in = inBogus
		if c == '-' {
			p.in, p.dashes = inComment, 2 // <!--> is whole
		} else if c == '>' {
			p.in = inText
		}
	case inComment:
		switch {
		case c == '>' && (p.dashes >= 2 || p.dashes < 0):
			p.in = inText
		case c == '-':
			p.dashes = max(p.dashes, 0) + 1
		case c == '!' && p.dashes >= 2:
			p.dashes = -1
		default:
			p.dashes = 0
		}
	case inBogus:
		if c == '>' {
			p.in = inText
		}
	}
}

// text says that what looked like a tag is none.
func (p *page) text(c byte, here func() spot) {
	p.in = inText
	p.words = p.words || p.hider == ""
	p.read(c, here)
}

// attr takes a character of a tag outside its name and its values.
func (p *page) attr(c byte, space bool) {
	switch {
	case c == '>':
		p.tag()
	case space:
		p.slash = false
		p.in = beforeAttr
	case c == '/':
		p.slash = true
		p.in = beforeAttr
	default:
		p.slash = false
		p.in = inAttr
	}
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// spell adds a character to the tag's name.
func (p *page) spell(c byte) {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	if p.letter < len(p.name) {
		p.name[p.letter] = c
	}
	p.letter++
	p.slash = false
}

func (p *page) tagName() string {
	if p.letter > len(p.name) {
		return ""
	}
	return string(p.name[:p.letter])
}

// tag takes a whole tag.
func (p *page) tag() {
	p.in = inText
	name := p.tagName()
	if p.hider == "" {
		p.element(name)
	}
	switch {
	case p.ends:
		p.raw = ""
		p.end(name)
	case p.slash && (p.hider == "svg" || p.hider == "math" || p.hider == "" && (name == "svg" || name == "math")):
		// Only there a tag can end its own element.
	case among(rawText, name):
		p.raw = name
		p.open(name)
	case name == "frameset" && p.hider == "" && !p.words:
		p.found, p.how, p.finished = p.begin, byFrameset, true
	case among(hiding, name):
		p.open(name)
	}
	if p.hider == "" && !p.ends && !among(headOnly, name) {
		p.words = true
	}
}

// open notes an element that hides what is in it.
func (p *page) open(name string) {
	switch p.hider {
	case "":
		p.hider, p.depth, p.hidden = name, 1, p.begin
	case name:
		p.depth++
	}
}

// end takes an end tag.
func (p *page) end(name string) {
	switch {
	case p.hider != "":
		if name == p.hider {
			if p.depth--; p.depth == 0 {
				p.hider = ""
			}
		}
	case name == "body":
		p.found, p.how = p.begin, byBody
	case name == "html" && p.how != byBody: // the link goes before </body>, not after it
		p.found, p.how = p.begin, byHTML
	}
}

// place is where the link goes: above what is quoted, into the table that holds the
// whole page, to the end of the page, else before what was opened and never
// closed, so that it does not become a part of that. ok is false where it goes to
// the end of the text.
func (p *page) place() (at spot, columns int, ok bool) {
	switch {
	case p.how == byFrameset:
		return p.found, 0, true
	case p.above.ok:
		return p.above.at, 0, true
	case p.layout.columns > 0 && p.layout.shown == p.shown:
		return p.layout.end, p.layout.columns, true
	case p.how != byNothing:
		return p.found, 0, true
	case p.hider != "":
		return p.hidden, 0, true
	case p.in > afterLess:
		return p.begin, 0, true
	}
	return spot{}, 0, false
}
