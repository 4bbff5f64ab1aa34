// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	gosmtp "github.com/chmail/go-smtp"
)

var crlf, space = []byte("\r\n"), []byte(" ")

// errTooLarge: more came than a message may have.
var errTooLarge = &gosmtp.SMTPError{Code: 552, EnhancedCode: gosmtp.EnhancedCode{5, 3, 4},
	Message: "The message is too large"}

// message reads a message. Its lines may be of any length; all that it gives end
// with CR LF, and neither CR nor LF stands anywhere else: a lone LF ends a line,
// further CRs before it are dropped, and a CR within a line becomes a space. Of
// DATA, CR LF . CR LF ends it, and nothing else does (RFC 5321 section 4.1.1.4);
// so nobody can hide a second message in one (SMTP smuggling).
type message struct {
	r      *bufio.Reader
	dots   bool  // it comes by DATA, not by BDAT
	within bool  // the next octet does not begin a line
	loose  bool  // the last line ended without CR LF
	crs    int   // CRs that may belong to a line's end
	left   int64 // octets that may still come
	ready  [3][]byte
	err    error // io.EOF: it was read
}

func newMessage(r *bufio.Reader, dots bool, max int64) *message {
	return &message{r: r, dots: dots, left: max}
}

// skip reads to the end, or max octets further.
func (m *message) skip(max int64) error {
	if errors.Is(m.err, errTooLarge) {
		m.err = nil
	}
	m.left = max
	_, err := io.Copy(io.Discard, m)
	return err
}

// Read implements io.Reader.
func (m *message) Read(p []byte) (n int, err error) {
	for {
		for i := range m.ready {
			k := copy(p[n:], m.ready[i])
			m.ready[i] = m.ready[i][k:]
			n += k
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if m.err != nil {
			return 0, m.err
		}
		m.next()
	}
}

// next makes a line ready, or a part of a long one.
func (m *message) next() {
	line, err := m.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	if err != nil {
		m.stop(line, err)
		return
	}
	if m.dots && !m.within && !m.loose && line[0] == '.' {
		if string(line) == ".\r\n" {
			m.err = io.EOF
			return
		}
		line = line[1:]
	}
	if m.left -= int64(len(line)); m.left < 0 {
		m.err = errTooLarge
		return
	}
	body := bytes.TrimRight(bytes.TrimSuffix(line, crlf[1:]), "\r")
	ends := len(line) > 0 && line[len(line)-1] == '\n'
	trailing := len(line) - len(body)
	if ends {
		trailing--
	}
	m.give(body, ends, trailing)
}

// give makes ready what stands between CRs and LF.
func (m *message) give(body []byte, ends bool, crs int) {
	m.ready = [3][]byte{}
	if len(body) > 0 {
		if m.crs > 0 {
			m.ready[0], m.crs = space, 0
		}
		if bytes.IndexByte(body, '\r') >= 0 {
			body = bytes.ReplaceAll(body, crlf[:1], space)
		}
		m.ready[1] = body
	}
	m.crs += crs
	m.within = !ends
	if ends {
		m.ready[2] = crlf
		m.loose = m.crs == 0
		m.crs = 0
	}
}

// stop ends the message where nothing more comes. One that came by BDAT may end
// within a line.
func (m *message) stop(rest []byte, err error) {
	m.err = err
	if !errors.Is(err, io.EOF) {
		return
	}
	if m.dots {
		m.err = io.ErrUnexpectedEOF
		return
	}
	if body := bytes.TrimRight(rest, "\r"); len(body) > 0 || m.within {
		m.give(body, true, 1)
	}
}

// newChunkedMessage is a message that comes by BDAT.
func newChunkedMessage(r io.Reader, max int64) *message {
	return newMessage(bufio.NewReaderSize(r, bufferSize), false, max)
}
