// SPDX-License-Identifier: GPL-3.0-or-later

// Package stamp puts the chat link and the CHmail-* fields into a message.
//
// It works in two passes. Scan reads the body once and plans the edits as offsets into
// the raw body: the link in the first text/plain part and in the first text/html part,
// and what is taken out of these and all other texts. A Plan's Reader then copies the body and makes
// the edits on its way, so that everything else is the same byte for byte by
// construction. A plan knows nothing of a recipient: it is made once a message
// and read once a copy. Both passes need the same small memory whatever the
// size of the message, of a line or of a part.
//
// Where the link goes: above the signature and above what is quoted (flow.go); else
// at the end of text/plain, and in text/html into the table that holds the whole
// page (tree.go), before the last </body> or </html> (page.go), or at the end.
//
// What is taken out: the stamps of this server that are quoted, so that they do not
// pile up, and no link travels to somebody else. A stamp is known by its link: in text
// with the words above it up to the rule (plain.go), in HTML with the element that
// holds nothing else (tree.go). In what is not quoted only a whole stamp goes.
//
// In base64 the quanta at the ends of an edit are replaced by whole ones, so that
// nothing after it has to be encoded again. Quoted-printable gets encoded lines
// between soft breaks.
//
// Signed or encrypted mail, and mail whose MIME structure two readers could
// understand differently, gets no edit at all.
package stamp

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/internal/words"
)

// Limits. A message beyond them gets the header fields only.
const (
	maxDepth    = 16       // multiparts within each other
	maxBoundary = 200      // bytes; RFC 2046 section 5.1.1 allows 70
	maxHeader   = 16 << 10 // bytes of one part's header
	bufferSize  = 8 << 10  // of both passes; a boundary line is shorter
	maxName     = 80       // characters of the sender's name that are shown
	lineLimit   = 76       // RFC 2045 section 6.7 and 6.8
)

// Reasons why a body gets no link though a stamp is wanted.
const (
	ReasonSealed    = "signed or encrypted"
	ReasonMalformed = "malformed MIME"
	ReasonNoText    = "no text part that can hold it"
)

// Source opens the raw body from its beginning; it is called once a pass.
type Source func() (io.ReadCloser, error)

// Plan is where a body gets its link, and what is taken out of it.
type Plan struct {
	reason string
	lang   string // of the mail: "en" or "ko"; empty: not known
	script string // "ko" where the writer writes so, else empty
	edits  []edit // by offset
}

// edit replaces del raw bytes at an offset.
type edit struct {
	at, del int64
	cuts    bool // something is taken out
	p       place
}

// Reason says why the body is left as it is, or is empty.
func (p *Plan) Reason() string { return p.reason }

// Scan plans the edits of a body; base begins the links of this server, and is empty
// where older ones stay. An error is one of reading the body; a malformed message is none.
func Scan(h textproto.Header, open Source, base string) (*Plan, error) {
	s := &scanner{own: ownOf(base), lang: languageOf(h)}
	if !s.begin(h) {
		return s.plan(), nil
	}
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if err := s.scan(r); err != nil {
		return nil, err
	}
	return s.plan(), nil
}

// Copy is the body of one recipient's copy.
type Copy struct {
	edits []edit
	texts [][]byte // what each edit inserts
}

// Copy makes the edits for a stamp. Without a URL nothing is put in.
func (p *Plan) Copy(s Stamp) *Copy {
	c := &Copy{}
	tongue := words.In(p.Language(s.Lang))
	for _, e := range p.edits {
		if s.URL != "" || e.cuts {
			c.edits = append(c.edits, e)
			c.texts = append(c.texts, e.p.render(s, tongue))
		}
	}
	return c
}

// Language is that of the stamp: the mail's, else the sender's, else that in which the
// writer writes.
func (p *Plan) Language(sender string) string {
	return cmp.Or(p.lang, sender, p.script, words.Languages[0])
}

// Cuts says whether something is taken out.
func (p *Plan) Cuts() bool {
	return slices.ContainsFunc(p.edits, func(e edit) bool { return e.cuts })
}

// languageOf is the language that a mail says it is in (RFC 3282), of those that
// CHmail speaks.
func languageOf(h textproto.Header) string {
	first, _, _ := strings.Cut(h.Get("Content-Language"), ",")
	base, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(first)), "-")
	if slices.Contains(words.Languages, base) {
		return base
	}
	return ""
}

// Growth is by how many bytes the body is longer than it was; less than 0: shorter.
func (c *Copy) Growth() (n int64) {
	for i, e := range c.edits {
		n += int64(len(c.texts[i])) - e.del
	}
	return n
}

// Reader reads the stamped body from raw, which it closes.
func (c *Copy) Reader(raw io.ReadCloser) io.ReadCloser {
	return &reader{raw: raw, edits: c.edits, texts: c.texts}
}

// Write is both passes at once: it writes the stamped body to w and returns
// the stamped header.
func Write(w io.Writer, h textproto.Header, open Source, base string, s Stamp) (textproto.Header, error) {
	p, err := Scan(h, open, base)
	if err != nil {
		return h, err
	}
	raw, err := open()
	if err != nil {
		return h, err
	}
	r := p.Copy(s).Reader(raw)
	defer r.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r, make([]byte, bufferSize)); err != nil {
		return h, err
	}
	return Header(h, s), nil
}

// errShort: the body is shorter than it was in the first pass.
var errShort = errors.New("stamp: the body changed between its two readings")

// reader copies raw and makes the edits on its way.
type reader struct {
	raw   io.ReadCloser
	at    int64 // offset in raw
	edits []edit
	texts [][]byte // of the edits
	text  []byte   // of the one that is made, not read yet
}

func (r *reader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for len(r.text) == 0 && len(r.edits) > 0 && r.at == r.edits[0].at {
		e := r.edits[0]
		if _, err := io.CopyN(io.Discard, r.raw, e.del); err != nil {
			return 0, short(err)
		}
		r.at += e.del
		r.text = r.texts[0]
		r.edits, r.texts = r.edits[1:], r.texts[1:]
	}
	if len(r.text) > 0 {
		n := copy(b, r.text)
		r.text = r.text[n:]
		return n, nil
	}
	if len(r.edits) > 0 {
		b = b[:min(int64(len(b)), r.edits[0].at-r.at)]
	}
	n, err := r.raw.Read(b)
	r.at += int64(n)
	if err == io.EOF && len(r.edits) > 0 {
		if n > 0 {
			return n, nil // the next Read edits, or finds the body short
		}
		err = errShort
	}
	return n, err
}

func (r *reader) Close() error { return r.raw.Close() }

func short(err error) error {
	if err == io.EOF {
		return errShort
	}
	return err
}
