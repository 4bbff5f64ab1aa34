// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"regexp"
	"strings"
)

// stampLines are how many lines of an older stamp stand above its link, below the rule.
const stampLines = 6

// rule begins a stamp in text.
var rule = regexp.MustCompile(`^_{10,}$`)

// plain follows a text/plain part line by line: where the writer's words end, and
// where older stamps are.
type plain struct {
	flow
	finder finder
	here   func() spot
	after  func() spot

	text  []byte // of the line, at most maxLine octets
	long  bool   // there was more
	start spot   // of the line
	begun bool
	links []cut // in the line
	cuts  []cut
}

// read takes the next character.
func (p *plain) read(c byte) {
	if !p.begun {
		p.begun, p.start = true, p.here()
	}
	if _, link, found := p.finder.read(c, p.here, p.after); found {
		p.link(link)
	}
	if c == '\n' {
		p.end(p.after())
		return
	}
	if len(p.text) < maxLine {
		p.text = append(p.text, c)
	} else {
		p.long = true
	}
	if p.text[0] != '>' {
		p.count(c)
	}
}

func (p *plain) link(l cut) {
	if len(p.links) < maxCuts {
		p.links = append(p.links, l)
	}
}

// finish ends the last line, which no line end has ended.
func (p *plain) finish(end spot) {
	at := func() spot { return end }
	if _, link, found := p.finder.read('\n', at, at); found {
		p.link(link)
	}
	if p.begun {
		p.end(end)
	}
}

// end takes the whole line; next is where the next one begins.
func (p *plain) end(next spot) {
	l := line{start: p.start, text: seen(p.decode(p.text))}
	links, long := p.links, p.long
	p.text, p.links, p.long, p.begun = p.text[:0], nil, false, false
	p.put(l, false)
	if len(links) == 0 {
		return
	}
	l = p.recent[len(p.recent)-1]
	quoted := l.depth > 0 || p.old
	from, stamped := p.stamp(l, long)
	switch {
	case len(p.cuts)+len(links) > maxCuts:
	case stamped, quoted && !long && bare(l.rest):
		p.cuts = append(p.cuts, cut{from: from, to: next})
		p.recent = nil // the next stamp begins behind this one
	case quoted:
		p.cuts = append(p.cuts, links...)
	}
}

// stamp says whether a line with a link is the last of a stamp, and where that
// begins: at the rule, with the empty line above it. Without a rule it is at most the
// line itself, and the words that belong to it.
func (p *plain) stamp(l line, long bool) (from spot, ok bool) {
	from = l.start
	if long || !bare(l.rest) {
		return from, false
	}
	for i := len(p.recent) - 2; i >= 0 && i >= len(p.recent)-2-stampLines; i-- {
		above := p.recent[i]
		if above.depth != l.depth || above.rest == "" {
			break
		}
		if rule.MatchString(above.rest) {
			from = above.start
			if i > 0 && p.recent[i-1].rest == "" && p.recent[i-1].depth == l.depth {
				from = p.recent[i-1].start
			}
			return from, true
		}
		if said(above.rest) {
			from = above.start
		}
	}
	return from, false
}

// bare says whether a line has a link of ours and nothing beside it but our words.
func bare(rest string) bool {
	at := strings.Index(strings.ToLower(rest), scheme)
	if at < 0 {
		return false
	}
	link := strings.TrimRight(rest[at:], " >])*")
	before := strings.TrimRight(rest[:at], " <[(*")
	return !strings.ContainsAny(link, " \t") && (before == "" || said(before))
}
