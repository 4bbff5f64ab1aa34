// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"strings"
	"sync"

	"github.com/emersion/go-message/textproto"
)

// scanner walks through a body line by line. A line longer than its buffer
// comes in pieces.
type scanner struct {
	at     int64
	open   []string // boundaries with their two hyphens, outermost first
	where  where
	header []byte // of the part, so far
	eol    string // of the first line
	held   string // a line end that the next boundary may claim
	leaf   *leaf  // the part's, if it is one to stamp
	plain  bool   // the first text/plain was met
	html   bool   // the first text/html was met
	own    own
	lang   string // of the mail
	stamp  bool   // the link goes into the part
	stamps int    // parts into which it goes
	hangul int    // characters of the writer
	latin  int
	edits  []edit
	reason string // set when no edit may be made
}

type where int

const (
	inBody   where = iota // of a leaf, or of a multipart that is not looked into
	inHeader              // of a part
	between               // preamble or epilogue
)

// begin takes the message's header and says whether its body must be read.
func (s *scanner) begin(h textproto.Header) bool {
	s.entity(h, true)
	return s.reason == "" && (s.leaf != nil || len(s.open) > 0)
}

func (s *scanner) plan() *Plan {
	if s.reason != "" {
		return &Plan{reason: s.reason}
	}
	p := &Plan{lang: s.lang, edits: s.edits}
	if s.stamps == 0 {
		p.reason = ReasonNoText
	}
	if writesKorean(s.hangul, s.latin) {
		p.script = "ko"
	}
	return p
}

// entity decides what to do with a header's body. multipart/digest is never looked
// into, so a part without a type is text/plain (RFC 2045 section 5.2).
func (s *scanner) entity(h textproto.Header, top bool) {
	s.where, s.leaf = inBody, nil
	for _, key := range []string{"Content-Type", "Content-Transfer-Encoding", "Content-Disposition"} {
		if len(h.Values(key)) > 1 {
			s.reason = ReasonMalformed
			return
		}
	}
	enc := word(h.Get("Content-Transfer-Encoding"))
	media, params := "text/plain", map[string]string(nil)
	if v := h.Get("Content-Type"); v != "" {
		var err error
		media, params, err = mime.ParseMediaType(uncomment(v))
		if err != nil {
			media = word(v)
			if strings.HasPrefix(media, "multipart") || top {
				s.reason = ReasonMalformed
			}
			if !sealedType(media) {
				return
			}
		}
	}
	switch {
	case sealedType(media):
		s.reason = ReasonSealed
	case media == "multipart/alternative", media == "multipart/mixed", media == "multipart/related":
		s.multipart(params["boundary"], enc)
	case params["name"] != "" || attached(h):
	case media == "text/plain":
		s.stamp, s.plain = !s.plain, true
		s.leaf = newLeaf(false, enc, params["charset"], s.at, s.own)
	case media == "text/html":
		s.stamp, s.html = !s.html, true
		s.leaf = newLeaf(true, enc, params["charset"], s.at, s.own)
	}
}

func sealedType(media string) bool {
	switch media {
	case "multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// attached says whether a part is a file rather than something to read: it has the
// name of one, or a disposition that is not inline (RFC 2183 section 2.8).
func attached(h textproto.Header) bool {
	v := uncomment(h.Get("Content-Disposition"))
	if v == "" {
		return false
	}
	disposition, params, err := mime.ParseMediaType(v)
	return err != nil || disposition != "inline" || params["filename"] != "" || params["name"] != ""
}

// uncomment takes the comments out of a structured field (RFC 5322 section 3.2.2).
func uncomment(v string) string {
	if !strings.Contains(v, "(") {
		return v
	}
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '\\' && i+1 < len(v) && (quoted || depth > 0):
			i++
			if depth == 0 {
				b.WriteString(v[i-1 : i+1])
			}
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		case c == ')' && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return strings.TrimSpace(b.String())
}

// multipart opens a boundary that no reader can take for another (RFC 2046 section 5.1.1).
func (s *scanner) multipart(boundary, enc string) {
	s.where = between
	delimiter := "--" + boundary
	bad := boundary == "" || len(boundary) > maxBoundary || len(s.open) == maxDepth ||
		strings.TrimRight(boundary, " \t") != boundary || strings.ContainsAny(boundary, "\r\n")
	for _, o := range s.open {
		bad = bad || strings.HasPrefix(o, delimiter) || strings.HasPrefix(delimiter, o)
	}
	switch enc {
	case "", "7bit", "8bit", "binary":
	default:
		bad = true
	}
	if bad {
		s.reason = ReasonMalformed
	}
	s.open = append(s.open, delimiter)
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, bufferSize) }}

// scan reads the body to its end, or to where it is known that nothing may be
// edited.
func (s *scanner) scan(r io.Reader) error {
	single := len(s.open) == 0
	br := readers.Get().(*bufio.Reader)
	br.Reset(r)
	defer func() {
		br.Reset(nil)
		readers.Put(br)
	}()
	begins := true
	for s.reason == "" {
		piece, err := br.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return err
		}
		if n := len(piece); err == bufio.ErrBufferFull && piece[n-1] == '\r' {
			// A line end stays in one piece. UnreadByte cannot fail after a read.
			_ = br.UnreadByte()
			piece = piece[:n-1]
		}
		if len(piece) > 0 {
			s.piece(piece, begins)
		}
		begins = err == nil
		if err == io.EOF {
			break
		}
	}
	if s.reason != "" {
		return nil
	}
	s.release()
	if !single && (len(s.open) > 0 || s.where != between) {
		s.reason = ReasonMalformed
		return nil
	}
	s.endLeaf()
	return nil
}

// release gives the part the line end that no boundary claimed.
func (s *scanner) release() {
	if s.held == "" {
		return
	}
	if s.leaf != nil && s.where == inBody {
		s.leaf.write([]byte(s.held))
	}
	s.held = ""
}

// piece takes a line, or a piece of one that is too long for the buffer.
func (s *scanner) piece(b []byte, begins bool) {
	line, end := b, ""
	if n := len(b); b[n-1] == '\n' {
		if end = "\n"; n > 1 && b[n-2] == '\r' {
			end = "\r\n"
		}
		line = b[:n-len(end)]
		if s.eol == "" {
			s.eol = end
		}
	}
	if begins && len(s.open) > 0 && bytes.HasPrefix(line, []byte("--")) && s.boundary(line, end) {
		s.at += int64(len(b))
		return
	}
	s.release()
	switch s.where {
	case inHeader:
		s.headerLine(b, begins && len(line) == 0)
		return
	case inBody:
		if s.leaf != nil {
			s.leaf.write(line)
		}
		s.held = end
	case between:
		s.held = end
	}
	s.at += int64(len(b))
}

// boundary handles a line that begins with two hyphens, and says whether it
// was a delimiter. A line that only begins like one is taken for malformed,
// because readers differ there.
func (s *scanner) boundary(line []byte, end string) bool {
	for i := len(s.open) - 1; i >= 0; i-- {
		rest, ok := bytes.CutPrefix(line, []byte(s.open[i]))
		if !ok {
			continue
		}
		rest, closes := bytes.CutPrefix(rest, []byte("--"))
		clean := len(bytes.TrimRight(rest, " \t")) == 0
		// Readers take the first line's end for all (and an outer delimiter
		// inside an open multipart for its end, or not).
		if !clean || i != len(s.open)-1 || s.where == inHeader || (end == "" && !closes) ||
			(end != "" && end != s.eol) || (s.held != "" && s.held != s.eol) {
			s.reason = ReasonMalformed
			return true
		}
		s.held = ""
		s.endLeaf()
		s.where = inHeader
		s.header = s.header[:0]
		if closes {
			s.open = s.open[:i]
			s.where = between
			s.held = end
		}
		return true
	}
	return false
}

// headerLine gathers a part's header and reads it when it ends.
func (s *scanner) headerLine(b []byte, ends bool) {
	s.at += int64(len(b))
	if s.header = append(s.header, b...); len(s.header) > maxHeader {
		s.reason = ReasonMalformed
		return
	}
	if !ends {
		return
	}
	h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(s.header)))
	if err != nil && !errors.Is(err, io.EOF) {
		s.reason = ReasonMalformed
		return
	}
	s.entity(h, false)
}

// endLeaf plans the edit of the part that has just ended.
func (s *scanner) endLeaf() {
	if s.leaf == nil {
		return
	}
	eol := s.eol
	if eol == "" {
		eol = "\r\n"
	}
	if s.leaf.sealed {
		s.reason = ReasonSealed
	}
	edits := s.leaf.edits(eol, s.stamp)
	s.edits = append(s.edits, edits...)
	if s.stamp && len(edits) > 0 {
		s.stamps++
		hangul, latin := s.leaf.script()
		s.hangul, s.latin = s.hangul+hangul, s.latin+latin
	}
	s.leaf = nil
}
