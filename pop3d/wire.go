// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxCommandLine is the octets of a command with its CRLF (RFC 2449
	// section 4). A longer one is answered -ERR and skipped.
	maxCommandLine = 255
	// maxAuthLine is the octets of a SASL response with its CRLF: two logins
	// and a password of 250 octets each in base64.
	maxAuthLine = 1024
	// maxTokenLine is the same for a bearer token, of which some have kilobytes.
	maxTokenLine = 16 << 10
	// maxDiscard is how far the end of an over-long line is looked for; then
	// the connection is closed.
	maxDiscard = 64 << 10
	// writeBuffer is what a session collects before it writes; pooled.
	writeBuffer = 32 << 10
	// writeTimeout is the longest that one buffer may take to go out.
	writeTimeout = time.Minute
)

var (
	errLineTooLong = errors.New("pop3d: line too long")
	errSyntax      = errors.New("pop3d: not a command")
)

var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, writeBuffer) }}

// wire is one connection's lines in and replies out. The read buffer is as
// small as the line that is waited for may be; the write buffer is borrowed
// while there is something to say.
type wire struct {
	conn net.Conn      // plaintext, or TLS over it
	w    *bufio.Writer // nil while nothing waits to be written
	r, n int           // buf[r:n] was received and not read yet
	buf  []byte
}

// readLine returns the next line without its end, which is CRLF or a bare LF,
// valid until the next call. A line of more than limit octets is skipped and
// answered with errLineTooLong.
func (c *wire) readLine(limit int) ([]byte, error) {
	for scanned := 0; ; {
		if i := bytes.IndexByte(c.buf[c.r+scanned:c.n], '\n'); i >= 0 {
			line := c.buf[c.r : c.r+scanned+i+1]
			c.r += len(line)
			if len(line) > limit {
				return nil, errLineTooLong
			}
			return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
		}
		scanned = c.n - c.r
		if scanned >= limit {
			return nil, c.discardLine()
		}
		waiting := c.buf[c.r:c.n]
		if len(c.buf) != limit {
			c.buf = make([]byte, limit)
		}
		copy(c.buf, waiting)
		c.r, c.n = 0, scanned
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *wire) discardLine() error {
	for discarded := 0; discarded < maxDiscard; {
		if i := bytes.IndexByte(c.buf[c.r:c.n], '\n'); i >= 0 {
			c.r += i + 1
			return errLineTooLong
		}
		discarded += c.n - c.r
		c.r, c.n = 0, 0
		if err := c.fill(); err != nil {
			return err
		}
	}
	return errors.New("pop3d: reading: endless line")
}

// fill reads more. Nothing is held back from a client that waits for it:
// everything said so far goes out first.
func (c *wire) fill() error {
	if err := c.flush(); err != nil {
		return err
	}
	n, err := c.conn.Read(c.buf[c.n:])
	c.n += n
	if n > 0 {
		return nil
	}
	return err
}

// discardInput forgets what was received and not read, and says whether there was any.
func (c *wire) discardInput() bool {
	some := c.r < c.n
	c.r, c.n = 0, 0
	return some
}

// Write sends p within writeTimeout; the write buffer calls it.
func (c *wire) Write(p []byte) (int, error) {
	if err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.conn.Write(p)
}

// out is the write buffer. It keeps its first error until flush.
func (c *wire) out() *bufio.Writer {
	if c.w == nil {
		c.w = writers.Get().(*bufio.Writer)
		c.w.Reset(c)
	}
	return c.w
}

// flush sends what was said and gives the buffer back.
func (c *wire) flush() error {
	if c.w == nil {
		return nil
	}
	err := c.w.Flush()
	c.w.Reset(nil)
	writers.Put(c.w)
	c.w = nil
	return err
}

func (c *wire) ok(text string) { c.reply("+OK ", text) }

// fail answers -ERR; text may begin with a response code (RFC 2449 section 8).
func (c *wire) fail(text string) { c.reply("-ERR ", text) }

func (c *wire) reply(parts ...string) {
	w := c.out()
	for _, part := range parts {
		_, _ = w.WriteString(part) // the buffer keeps the error
	}
	_, _ = w.WriteString("\r\n")
}

// pair says two numbers, or a number and a UIDL, as LIST, UIDL and STAT do.
func pair(n int, second string) string { return strconv.Itoa(n) + " " + second }

// parseCommand splits a line into its keyword in capitals and the rest as it
// stands: a password may hold spaces (RFC 1939 section 7, PASS).
func parseCommand(line []byte) (verb, arg string, err error) {
	for _, b := range line {
		if b < ' ' || b == 0x7F {
			return "", "", errSyntax
		}
	}
	verb, arg, _ = strings.Cut(string(line), " ")
	if len(verb) < 3 || len(verb) > 4 { // RFC 1939 section 3
		return "", "", errSyntax
	}
	return strings.ToUpper(verb), arg, nil
}

// dotWriter sends a message as RFC 1939 section 3 says: lines end with CRLF,
// a dot that begins a line is doubled, and a line of one dot ends it.
type dotWriter struct {
	w      *bufio.Writer
	inLine bool  // the last octet written did not end a line
	cr     bool  // it was a CR
	octets int64 // taken
}

func (d *dotWriter) Write(p []byte) (int, error) {
	size := len(p)
	d.octets += int64(size)
	for len(p) > 0 {
		if !d.inLine && p[0] == '.' {
			_ = d.w.WriteByte('.') // the buffer keeps the error
		}
		n, bare := d.asIs(p)
		_, err := d.w.Write(p[:n])
		if bare {
			_, err = d.w.WriteString("\r\n")
			n++
		}
		if err != nil {
			return size, err
		}
		p = p[n:]
	}
	return size, nil
}

// asIs returns how many octets go out as they are: up to a line that begins
// with a dot, or a bare LF. It notes where that leaves the line.
func (d *dotWriter) asIs(p []byte) (n int, bare bool) {
	for n < len(p) {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			d.inLine, d.cr = true, p[len(p)-1] == '\r'
			return len(p), false
		}
		end := n + i
		hasCR := d.cr
		if end > 0 {
			hasCR = p[end-1] == '\r'
		}
		d.inLine, d.cr = false, false
		if !hasCR {
			return end, true
		}
		if n = end + 1; n < len(p) && p[n] == '.' {
			break
		}
	}
	return n, false
}

// end finishes the last line and says that the message is complete.
func (d *dotWriter) end() error {
	switch {
	case d.inLine && d.cr:
		_ = d.w.WriteByte('\n')
	case d.inLine:
		_, _ = d.w.WriteString("\r\n")
	}
	_, err := d.w.WriteString(".\r\n")
	return err
}

// copyTop copies the header, the empty line and the first lines of the body.
func copyTop(dst io.Writer, src io.Reader, lines int) error {
	buf := make([]byte, 4<<10)
	inHeader, empty := true, true // empty: the line so far holds nothing but CR
	for {
		n, err := src.Read(buf)
		end := 0
		for end < n && (inHeader || lines > 0) {
			part := buf[end:n]
			i := bytes.IndexByte(part, '\n')
			if i >= 0 {
				part = part[:i+1]
			}
			end += len(part)
			empty = empty && len(bytes.TrimRight(part, "\r\n")) == 0
			if i < 0 {
				break
			}
			if inHeader {
				inHeader = !empty
			} else {
				lines--
			}
			empty = true
		}
		if _, err := dst.Write(buf[:end]); err != nil {
			return err
		}
		if err == io.EOF || !inHeader && lines <= 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
