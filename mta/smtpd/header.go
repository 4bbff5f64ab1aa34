// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// Fields that keep lines which are no header fields.
const (
	mailboxLine   = "X-Mailbox-Line: "     // "From host Tue …" of an mbox; Postfix calls it so too
	malformedLine = "X-Malformed-Header: " // another line between fields
)

// readHeader reads a message's header, and returns the rest of the message. It takes
// what other mail servers take, and loses nothing:
//
//   - lines of an mbox ("From " and ">From ") become fields
//   - so does another line without a name and a colon, if a field follows it
//   - otherwise such a line is where the body begins
//   - a space between name and colon goes
//
// Lines of r end with CR LF.
func readHeader(r io.Reader, max int64) (textproto.Header, io.Reader, error) {
	br := bufio.NewReaderSize(r, bufferSize)
	h := headerReader{r: br, left: max}
	for h.rest == nil {
		line, err := h.line()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return textproto.Header{}, nil, err
		}
		if len(line) == len(crlf) {
			h.blank = true
			break
		}
		if err := h.take(line); err != nil {
			return textproto.Header{}, nil, err
		}
	}
	var header textproto.Header
	for i := len(h.fields) - 1; i >= 0; i-- { // each is added on top
		header.AddRaw(h.fields[i])
	}
	if h.doubtful != nil { // nothing follows that would make it a field
		h.rest = h.doubtful
		if h.blank {
			h.rest = append(h.rest, crlf...)
		}
	}
	return header, io.MultiReader(bytes.NewReader(h.rest), br), nil
}

type headerReader struct {
	r        *bufio.Reader
	left     int64
	fields   [][]byte
	doubtful []byte // a line that is no field; what follows it tells what it is
	blank    bool   // an empty line ended the header after it
	rest     []byte // where the body begins; nil: not yet
}

var (
	errHeaderTooLarge = refusal(552, 5, 3, 4, "The message's header is too large")
	errTooManyFields  = refusal(552, 5, 3, 4, "The message's header has too many fields")
)

// line reads a line with its CR LF. It is the caller's.
func (h *headerReader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := h.r.ReadSlice('\n')
		if h.left -= int64(len(part)); h.left < 0 {
			return nil, errHeaderTooLarge
		}
		line = append(line, part...)
		if err == nil {
			return line, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// take takes a line that is not empty.
func (h *headerReader) take(line []byte) error {
	if len(h.fields) >= maxFields {
		return errTooManyFields
	}
	name, value, isField := fieldOf(line)
	continues := line[0] == ' ' || line[0] == '\t'
	switch {
	case h.doubtful != nil && isField:
		h.fields = append(h.fields, append([]byte(malformedLine), h.doubtful...))
		h.doubtful = nil
		h.add(line, name, value)
	case h.doubtful != nil:
		h.rest = append(h.doubtful, line...)
		h.doubtful = nil
	case continues && len(h.fields) > 0:
		last := &h.fields[len(h.fields)-1]
		*last = append(*last, line...)
	case isField:
		h.add(line, name, value)
	case strings.HasPrefix(strings.TrimLeft(string(line[:min(len(line), 64)]), ">"), "From "):
		h.fields = append(h.fields, append([]byte(mailboxLine), line...))
	case len(h.fields) > 0:
		h.doubtful = line
	default: // there is no header
		h.rest = line
	}
	return nil
}

func (h *headerReader) add(line, name, value []byte) {
	if len(name)+1+len(value) != len(line) { // a space stood before the colon
		line = bytes.Join([][]byte{name, value}, []byte(":"))
	}
	h.fields = append(h.fields, line)
}

// fieldOf splits a line into name and value, if it begins a field (RFC 5322
// section 2.2; section 4.5 allows the space).
func fieldOf(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, nil, false
	}
	return name, value, true
}
