// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
)

const (
	// maxNesting is how deep parts may lie; what lies deeper is one opaque part.
	maxNesting = 64
	// maxParts is how many parts a message may have; the last one has the rest.
	maxParts = 10_000
	// maxField is the octets that are looked at of one field, maxFields those of all
	// fields of one message.
	maxField, maxFields = 64 << 10, 1 << 20
	// fieldCost is the octets that a field takes beside its value.
	fieldCost = 64
)

// extent is the octets of a message from start up to but without end.
type extent struct{ start, end int64 }

func (e extent) len() int64 { return e.end - e.start }

// part is one MIME entity of a message, or the message itself.
type part struct {
	header, body extent // the header has its empty line
	lines        int64  // of the body
	fields       []field
	kind, sub    string // media type, in lower case
	params       []param
	kids         []*part // of a multipart; of a message/rfc822 the one message in it
	multipart    bool
}

type field struct{ name, value string } // the name in lower case, the value unfolded

type param struct{ name, value string }

// field is the value of a field; several of one name are put together, as if they
// were one list.
func (p *part) field(name string) (value string, ok bool) {
	var values []string
	for _, f := range p.fields {
		if f.name == name {
			values = append(values, f.value)
		}
	}
	return strings.Join(values, ", "), len(values) > 0
}

// first is the value of the first field of a name.
func (p *part) first(name string) (string, bool) {
	for _, f := range p.fields {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

// wanted are the fields that ENVELOPE and BODYSTRUCTURE say.
var wanted = map[string]bool{
	"date": true, "subject": true, "from": true, "sender": true, "reply-to": true, "to": true, "cc": true,
	"bcc": true, "in-reply-to": true, "message-id": true,
	"content-type": true, "content-transfer-encoding": true, "content-id": true, "content-description": true,
	"content-disposition": true, "content-language": true, "content-location": true, "content-md5": true,
}

// lineReaders read messages line by line.
var lineReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 8<<10) }}

// frame is a part that is not at its end.
type frame struct {
	part     *part
	boundary string // of a multipart until its end delimiter
	began    int64  // lines before its body
}

// walker finds the parts of a message in one pass. It keeps no more than fields.
type walker struct {
	in     *bufio.Reader
	frames []frame // from the message to the part that is being read
	count  int     // parts
	budget int     // octets of fields that may still be kept

	at      int64 // the position behind what was read
	lines   int64 // ends of lines before it
	ending  int64 // octets of the last one
	header  bool  // the innermost part's header is being read
	current *field
	value   []byte
}

// walk reads a message, or only its header.
func walk(r io.Reader, headerOnly bool) (*part, error) {
	in := lineReaders.Get().(*bufio.Reader)
	in.Reset(r)
	defer func() {
		in.Reset(nil)
		lineReaders.Put(in)
	}()
	w := &walker{in: in, budget: maxFields}
	root := w.open()
	begin := true // of a line
	for {
		chunk, err := in.ReadSlice('\n')
		if len(chunk) > 0 {
			w.take(chunk, begin)
			begin = chunk[len(chunk)-1] == '\n'
		}
		if headerOnly && !(w.header && len(w.frames) == 1) {
			return root, nil
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			w.end(w.at, w.lines)
			return root, nil
		default:
			return nil, err
		}
	}
}

// open begins a part, whose header comes next.
func (w *walker) open() *part {
	p := &part{header: extent{w.at, w.at}}
	w.count++
	w.frames = append(w.frames, frame{part: p})
	w.header = true
	return p
}

// take reads a line, or a piece of a long one.
func (w *walker) take(chunk []byte, begin bool) {
	before, lines, ending := w.at, w.lines, w.ending
	w.at += int64(len(chunk))
	w.ending = 0
	if chunk[len(chunk)-1] == '\n' {
		w.lines++
		w.ending = 1
		if bytes.HasSuffix(chunk, []byte("\r\n")) {
			w.ending = 2
		}
	}
	if begin && chunk[0] == '-' && w.delimiter(chunk, before, lines, ending) {
		return
	}
	if w.header {
		w.headerLine(chunk, begin)
	}
}

// delimiter looks for the boundary of a multipart: the longest one that the line
// begins with, and of equal ones the innermost (RFC 2046 section 5.1).
func (w *walker) delimiter(line []byte, at, lines, ending int64) bool {
	rest, ok := bytes.CutPrefix(line, []byte("--"))
	if !ok {
		return false
	}
	rest = bytes.TrimRight(rest, "\r\n")
	found := -1
	for i := len(w.frames) - 1; i >= 0; i-- {
		b := w.frames[i].boundary
		if b != "" && (found < 0 || len(b) > len(w.frames[found].boundary)) && bytes.HasPrefix(rest, []byte(b)) {
			found = i
		}
	}
	if found < 0 {
		return false
	}
	last := bytes.HasPrefix(rest[len(w.frames[found].boundary):], []byte("--"))
	if !last && w.count >= maxParts {
		return false
	}
	w.finish(found+1, at, lines, ending)
	w.header = false
	if last {
		w.frames[found].boundary = ""
		return true
	}
	parent := w.frames[found].part
	parent.kids = append(parent.kids, w.open())
	return true
}

// finish ends the parts from frame n on before a delimiter; the line end before it
// belongs to the delimiter.
func (w *walker) finish(n int, at, lines, ending int64) {
	if w.header { // the line end before it is the header's
		ending = 0
	}
	w.endHeader(at)
	// An empty body has no line end to give away.
	end := max(at-ending, w.frames[len(w.frames)-1].part.body.start)
	for _, f := range w.frames[n:] {
		f.part.body.end = end
		f.part.lines = max(0, lines-f.began)
		if end < at && f.part.lines > 0 {
			f.part.lines--
		}
	}
	w.frames = w.frames[:n]
}

// end ends all parts at the end of the message.
func (w *walker) end(at, lines int64) {
	w.endHeader(at)
	for _, f := range w.frames {
		f.part.body.end = at
		f.part.lines = max(0, lines-f.began)
	}
}

// endHeader ends a header that has no empty line.
func (w *walker) endHeader(at int64) {
	if !w.header {
		return
	}
	w.keep()
	w.header = false
	f := &w.frames[len(w.frames)-1]
	f.part.header.end = at
	f.part.body = extent{at, at}
	f.began = w.lines
	w.classify()
}

// headerLine reads a line of a header, or a piece of a long one.
func (w *walker) headerLine(chunk []byte, begin bool) {
	text := bytes.TrimRight(chunk, "\r\n")
	if begin && len(text) == 0 && w.ending > 0 {
		w.bodyBegins()
		return
	}
	if begin && text[0] != ' ' && text[0] != '\t' {
		w.keep()
		name, value, ok := bytes.Cut(text, []byte(":"))
		if !ok || len(name) > 100 {
			return // not a field: it stays where it is, and is not looked at
		}
		lower := strings.ToLower(string(bytes.TrimRight(name, " \t")))
		if !wanted[lower] {
			return
		}
		w.current = &field{name: lower}
		text = value
	}
	if w.current != nil {
		w.value = append(w.value, text[:min(len(text), maxField-len(w.value))]...)
	}
}

// keep puts the field that was read to its part.
func (w *walker) keep() {
	if w.current == nil {
		return
	}
	if w.budget -= len(w.value) + fieldCost; w.budget >= 0 {
		w.current.value = strings.Trim(strings.ReplaceAll(string(w.value), "\t", " "), " \r\n")
		p := w.frames[len(w.frames)-1].part
		p.fields = append(p.fields, *w.current)
	}
	w.current, w.value = nil, w.value[:0]
}

// bodyBegins ends a header at its empty line.
func (w *walker) bodyBegins() {
	w.keep()
	w.header = false
	f := &w.frames[len(w.frames)-1]
	f.part.header.end = w.at
	f.part.body = extent{w.at, w.at}
	f.began = w.lines
	w.classify()
	switch {
	case f.part.multipart:
	case f.part.kind == "message" && (f.part.sub == "rfc822" || f.part.sub == "global"):
		if len(w.frames) >= maxNesting || w.count >= maxParts {
			f.part.kind, f.part.sub, f.part.params = "application", "octet-stream", nil
			return
		}
		outer := f.part
		outer.kids = []*part{w.open()}
	}
}

// classify reads what the innermost part is.
func (w *walker) classify() {
	f := &w.frames[len(w.frames)-1]
	p := f.part
	value, _ := p.first("content-type")
	p.kind, p.sub, p.params = parseType(value)
	if p.kind == "multipart" {
		for _, param := range p.params {
			if param.name == "boundary" && f.boundary == "" {
				f.boundary = strings.TrimRight(param.value, " ")
			}
		}
		if len(w.frames) >= maxNesting {
			f.boundary = ""
			p.kind, p.sub, p.params = "application", "octet-stream", nil
			return
		}
		p.multipart = f.boundary != ""
	}
	if p.kind == "" || p.kind == "multipart" && !p.multipart { // RFC 2045 section 5.2
		p.kind, p.sub, p.params = "text", "plain", nil
		if n := len(w.frames); n > 1 && w.frames[n-2].part.multipart && w.frames[n-2].part.sub == "digest" {
			p.kind, p.sub = "message", "rfc822" // RFC 2046 section 5.1.5
		}
	}
}

// isMessage says whether a part has a message in it.
func (p *part) isMessage() bool { return !p.multipart && len(p.kids) == 1 }

// find finds a part by the numbers of a section (RFC 3501 section 6.4.5); nil if
// there is none.
func (p *part) find(numbers []int) *part {
	for i, n := range numbers {
		if i > 0 && p.isMessage() {
			p = p.kids[0]
		} else if i > 0 && !p.multipart {
			return nil
		}
		switch {
		case p.multipart && n >= 1 && n <= len(p.kids):
			p = p.kids[n-1]
		case !p.multipart && n == 1: // the one part of a message that is no multipart
		default:
			return nil
		}
	}
	return p
}

// parseType reads Content-Type and Content-Disposition (RFC 2045 section 5.1),
// whatever else is in them: a value without quotes ends at its first blank.
func parseType(s string) (kind, sub string, params []param) {
	t := tokens{s: s}
	kind = strings.ToLower(t.token())
	if t.next('/') {
		sub = strings.ToLower(t.token())
	}
	for len(params) < 100 && t.skipTo(';') {
		name := strings.ToLower(t.token())
		if name == "" || !t.next('=') {
			continue
		}
		params = append(params, param{name, t.value()})
	}
	return kind, sub, join(params)
}

// join puts the pieces of parameter values together (RFC 2231 section 3). Where
// one is in a charset, the value is as of one parameter NAME*.
func join(params []param) []param {
	var out []param
	at := make(map[string]int)
	for _, p := range params {
		base, extended := strings.CutSuffix(p.name, "*")
		name, number, pieces := strings.Cut(base, "*")
		if n, err := strconv.Atoi(number); !pieces || err != nil || n < 0 {
			out = append(out, p)
			continue
		}
		i, seen := at[name]
		if !seen {
			i = len(out)
			at[name] = i
			out = append(out, param{name: name})
			if extended {
				out[i].name += "*"
			}
		}
		out[i].value += p.value
	}
	return out
}

// tokens reads structured fields.
type tokens struct {
	s  string
	at int
}

// blank skips blanks and comments, which may be nested.
func (t *tokens) blank() {
	depth := 0
	for ; t.at < len(t.s); t.at++ {
		switch ch := t.s[t.at]; {
		case ch == '(':
			depth++
		case depth > 0 && ch == ')':
			depth--
		case depth > 0 && ch == '\\':
			t.at++
		case depth == 0 && ch != ' ' && ch != '\t' && ch != '\r' && ch != '\n':
			return
		}
	}
	t.at = min(t.at, len(t.s))
}

// token reads what stands up to a special or a blank (RFC 2045 section 5.1).
func (t *tokens) token() string {
	t.blank()
	start := t.at
	for t.at < len(t.s) && t.s[t.at] > ' ' && strings.IndexByte(`()<>@,;:\"/[]?=`, t.s[t.at]) < 0 {
		t.at++
	}
	return t.s[start:t.at]
}

// value reads a parameter's value; one without quotes may have all but ; and blanks.
func (t *tokens) value() string {
	t.blank()
	if t.at < len(t.s) && t.s[t.at] == '"' {
		return t.quoted()
	}
	start := t.at
	for t.at < len(t.s) && t.s[t.at] > ' ' && t.s[t.at] != ';' && t.s[t.at] != '(' {
		t.at++
	}
	return t.s[start:t.at]
}

// quoted reads a quoted string.
func (t *tokens) quoted() string {
	var b strings.Builder
	for t.at++; t.at < len(t.s) && t.s[t.at] != '"'; t.at++ {
		if t.s[t.at] == '\\' && t.at+1 < len(t.s) {
			t.at++
		}
		b.WriteByte(t.s[t.at])
	}
	t.at = min(t.at+1, len(t.s))
	return b.String()
}

// next reads one octet, if it comes next.
func (t *tokens) next(ch byte) bool {
	t.blank()
	if t.at < len(t.s) && t.s[t.at] == ch {
		t.at++
		return true
	}
	return false
}

// skipTo goes on behind the next such octet outside of quotes and comments.
func (t *tokens) skipTo(ch byte) bool {
	for {
		t.blank()
		switch {
		case t.at >= len(t.s):
			return false
		case t.s[t.at] == ch:
			t.at++
			return true
		case t.s[t.at] == '"':
			t.quoted()
		default:
			t.at++
		}
	}
}
