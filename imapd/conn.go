// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/safely"
)

// errEnded ends the library's reading: the last word was said.
var errEnded = errors.New("imapd: the connection ends")

// conn is a client's connection as the library sees it. It stands between the two
// and gives the library one whole line at a time, so that
//
//   - no line, literal or nesting is longer or deeper than it may be, and a
//     literal that is refused is not taken for the next command;
//   - the library has answered everything before when a command is looked at:
//     those that it does not know are answered here, in commands.go;
//   - answers wait until the client's commands are done, and go out together.
//
// One goroutine reads and answers. Another one may write whole responses while the
// first waits for the client: IDLE, and the end of the session.
type conn struct {
	net.Conn           // what is read and written; TLS or not
	base     net.Conn  // as it was accepted
	tls      *tls.Conn // nil: it is not encrypted
	srv      *Server
	session  *session
	remote   netip.Addr
	began    time.Time
	secure   bool   // it is encrypted
	shaken   bool   // and the handshake is done
	left     func() // the connection is closed

	// Of the reading goroutine.
	in      []byte // read from the client and not yet used
	buf     [4 << 10]byte
	ready   []byte // lines for the library
	long    []byte // a line that did not fit into buf, and what was read behind it
	literal int64  // octets of a literal that are to be passed on
	pending int64  // octets of one that the library has not asked the client for
	held    []byte // a literal that the library has not asked for
	holds   bool   // there is one
	inside  bool   // a command: what comes is its rest
	depth   int    // of its parentheses
	append  bool   // it is APPEND
	idle    bool   // it is IDLE
	idles   bool   // session.Idle runs, or did
	failure error

	mu      sync.Mutex
	out     []byte        // responses that wait
	waiting bool          // a read waits for the client, and nothing is half written
	raw     bool          // the next line is no command: SASL, or DONE
	capture *bytes.Buffer // where what the library writes goes instead
	ending  string        // why the session is to end; empty: it is not
	ended   bool          // it was said
}

// outBuffers hold what waits to be written.
var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, maxWaiting+8<<10); return &b }}

// Read gives the library what it may have next. It gets no more than one line or
// literal, so that it has nothing to do when it comes again.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.ready) == 0 && c.literal == 0 && c.failure == nil {
		c.failure = c.next()
	}
	if c.failure != nil {
		return 0, c.failure
	}
	if len(c.ready) > 0 {
		n := copy(p, c.ready)
		c.ready = c.ready[n:]
		return n, nil
	}
	if len(c.in) == 0 {
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p[:min(int64(len(p)), c.literal)], c.in)
	c.in = c.in[n:]
	c.literal -= int64(n)
	return n, nil
}

// next finds the next line for the library.
func (c *conn) next() error {
	for {
		if c.holds || c.pending > 0 { // the library has answered the command without its literal
			if err := c.drop(); err != nil {
				return err
			}
		}
		c.mu.Lock()
		raw := c.raw
		c.raw = false
		c.mu.Unlock()
		c.idles = c.idles || raw && c.idle // the library has begun it
		line, err := c.line()
		if err != nil {
			return err
		}
		if raw {
			c.ready = line
			return nil
		}
		if !c.inside {
			c.depth = 0
			answered, err := c.begin(line)
			if err != nil {
				return err
			}
			if answered {
				continue
			}
		}
		return c.pass(line)
	}
}

// pass gives the library a line of a command, within its bounds. A literal at its
// end is read first: the library has much memory in hand while it waits for one.
func (c *conn) pass(line []byte) error {
	c.inside = false
	size, sync, ok := announced(line)
	if c.depth = deeper(c.depth, line); c.depth > maxDepth {
		return c.bye("Too many parentheses")
	}
	c.ready = line
	if !ok {
		return nil
	}
	c.inside = true
	switch {
	case size <= maxLiteral:
		c.ready = append(bytes.TrimRight(bytes.Clone(line), "+}\r\n"), "}\r\n"...)
		var err error
		c.holds = true
		c.held, err = c.collect(size, sync)
		return err
	case sync && c.append && c.session.account != nil: // the library compares it with the append limit
		c.pending = size
		return nil
	}
	return c.bye("Too long a literal")
}

// collect reads a literal, and asks the client for it where it waits to be asked.
func (c *conn) collect(size int64, sync bool) ([]byte, error) {
	if sync {
		if err := c.respond([]byte("+ Ready for literal data\r\n")); err != nil {
			return nil, err
		}
	}
	literal := make([]byte, 0, size)
	for int64(len(literal)) < size {
		if len(c.in) == 0 {
			if err := c.fill(); err != nil {
				return nil, err
			}
		}
		n := min(int(size)-len(literal), len(c.in))
		literal = append(literal, c.in[:n]...)
		c.in = c.in[n:]
	}
	return literal, nil
}

// drop reads over what is left of a command that the library has refused.
func (c *conn) drop() error {
	refused := c.holds
	c.inside, c.holds, c.held, c.pending = false, false, nil, 0
	for refused { // else the client was not asked for the literal, and says nothing of it
		line, err := c.line()
		if err != nil {
			return err
		}
		size, sync, ok := announced(line)
		if !ok || sync {
			return nil
		}
		if size > maxLiteral {
			return c.bye("Too long a literal")
		}
		if _, err := c.collect(size, false); err != nil {
			return err
		}
	}
	return nil
}

// announced reads the announcement of a literal at the end of a line (RFC 3501
// section 4.3, RFC 7888).
func announced(line []byte) (size int64, sync, ok bool) {
	line = bytes.TrimRight(line, "\r\n")
	if !bytes.HasSuffix(line, []byte("}")) {
		return 0, false, false
	}
	line = line[:len(line)-1]
	sync = !bytes.HasSuffix(line, []byte("+"))
	line = bytes.TrimSuffix(line, []byte("+"))
	open := bytes.LastIndexByte(line, '{')
	if open < 0 || len(line)-open > 20 {
		return 0, false, false
	}
	size, err := strconv.ParseInt(string(line[open+1:]), 10, 64)
	if err != nil || size < 0 || line[open+1] == '+' {
		return 0, false, false
	}
	return size, sync, true
}

// deeper counts the open parentheses of a line outside of quoted strings; the most
// of them, where those are too many.
func deeper(depth int, line []byte) int {
	quoted := false
	most := depth
	for i := 0; i < len(line); i++ {
		switch ch := line[i]; {
		case ch == '\\':
			i++
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '(':
			if depth++; depth > most {
				most = depth
			}
		case ch == ')':
			depth--
		}
	}
	if most > maxDepth {
		return most
	}
	return depth
}

// line reads a line, which stays good until the next call.
func (c *conn) line() ([]byte, error) {
	limit := maxLine
	if c.session.account == nil {
		limit = maxLineBefore
	}
	c.long = nil
	for {
		if end := bytes.IndexByte(c.in, '\n'); end >= 0 {
			line := c.in[:end+1]
			c.in = c.in[end+1:]
			if c.long != nil {
				line = append(c.long, line...)
			}
			if len(line) > limit {
				return nil, c.bye("Too long a line")
			}
			return line, nil
		}
		if len(c.long)+len(c.in) > limit {
			return nil, c.bye("Too long a line")
		}
		if len(c.in) > 0 {
			c.long = append(c.long, c.in...)
			c.in = nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// fill sends what waits and reads what the client says next.
func (c *conn) fill() error {
	if err := c.pause(); err != nil {
		return err
	}
	n, err := c.Conn.Read(c.buf[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	if n > 0 {
		c.in = c.buf[:n]
		return nil
	}
	if c.ended {
		return errEnded
	}
	if errors.Is(err, net.ErrClosed) || err == nil {
		return io.EOF
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		_ = c.sayBye("Autologout, nothing was said for too long")
		return errEnded
	}
	return err
}

// pause sends what waits before a read that may take long.
func (c *conn) pause() error {
	if c.tls != nil && !c.shaken {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.flush(); err != nil {
		return err
	}
	if c.ending != "" {
		_ = c.sayBye(c.ending)
		return errEnded
	}
	deadline := time.Now().Add(idleTimeout)
	switch {
	case c.session.account == nil:
		deadline = c.began.Add(loginTimeout)
	case c.inside:
		deadline = time.Now().Add(commandTimeout)
	}
	if err := c.Conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	c.waiting = true
	return nil
}

func (c *conn) handshake() error {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	if err := c.tls.HandshakeContext(ctx); err != nil {
		c.srv.Log.Debug("imapd: TLS handshake failed", "addr", c.remote, "err", err)
		return err
	}
	c.secure, c.shaken = true, true
	return nil
}

// Write takes what the library writes: always whole responses.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.capture != nil {
		return c.capture.Write(p)
	}
	if bytes.HasPrefix(p, []byte("+")) && c.asks() {
		return len(p), nil
	}
	return len(p), c.put(c.rewrite(p))
}

// asks notes that the library waits for more, and reports whether it is there.
func (c *conn) asks() (there bool) {
	switch {
	case c.holds:
		c.ready, c.held, c.holds = c.held, nil, false
		return true
	case c.pending > 0:
		c.literal, c.pending = c.pending, 0
	default:
		c.raw = true // SASL, or IDLE
	}
	return false
}

// rewrite mends two things of the library's responses: capabilities are those of
// commands.go, and what it cannot parse is the client's fault, not the server's.
func (c *conn) rewrite(p []byte) []byte {
	if line, ok := bytes.CutSuffix(p, []byte(" NO [SERVERBUG] Internal server error\r\n")); ok {
		return append(append([]byte(nil), line...), " BAD Syntax error in the command\r\n"...)
	}
	head, rest, ok := bytes.Cut(p, []byte("[CAPABILITY "))
	if _, text, closed := bytes.Cut(rest, []byte("]")); ok && closed && bytes.HasSuffix(head, []byte(" OK ")) {
		return fmt.Appendf(nil, "%s[CAPABILITY %s]%s", head, strings.Join(c.capabilities(), " "), text)
	}
	return p
}

// put adds a response, or a part of one, to what waits; mu is held.
func (c *conn) put(p []byte) error {
	if len(p) >= maxWaiting {
		if err := c.flush(); err != nil {
			return err
		}
		return c.send(p)
	}
	if c.out == nil {
		c.out = (*outBuffers.Get().(*[]byte))[:0]
	}
	c.out = append(c.out, p...)
	if c.waiting || len(c.out) >= maxWaiting {
		return c.flush()
	}
	return nil
}

// respond writes a response of our own, or a part of one. Only the goroutine that
// reads does so, between two reads.
func (c *conn) respond(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(p)
}

// responder is a conn as who writes literals wants it.
type responder struct{ c *conn }

func (r responder) Write(p []byte) (int, error) {
	if err := r.c.respond(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush sends what waits; mu is held.
func (c *conn) flush() error {
	if c.out == nil {
		return nil
	}
	out := c.out
	c.out = nil
	err := c.send(out)
	if cap(out) <= 2*maxWaiting {
		out = out[:0]
		outBuffers.Put(&out)
	}
	return err
}

func (c *conn) send(p []byte) error {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.Conn.Write(p)
	return err
}

// bye ends the connection with a last word, from the goroutine that reads.
func (c *conn) bye(why string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.sayBye(why)
	return errEnded
}

// sayBye says the last word; mu is held.
func (c *conn) sayBye(why string) error {
	if c.ended {
		return nil
	}
	c.ended = true
	metricByes.Inc()
	err := c.put([]byte("* BYE " + why + "\r\n"))
	return errors.Join(err, c.flush())
}

// end ends the session soon: at once while it waits for the client, else after the
// command it is in, or when the patience is over. It does not block.
func (c *conn) end(why string, patience time.Duration) {
	go func() { // ends when the connection's buffer is free, at the latest when it is closed
		defer safely.Recover(c.srv.Log, "imap end")
		timer := time.AfterFunc(patience, func() { _ = c.base.Close() })
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ending == "" {
			c.ending = why
		}
		if c.waiting {
			timer.Stop()
			_ = c.Conn.SetWriteDeadline(time.Now().Add(patience))
			_ = c.sayBye(c.ending)
			_ = c.Conn.Close()
		}
	}()
}

// Close closes the connection; the library does so at the end of its goroutine.
func (c *conn) Close() error {
	c.mu.Lock()
	_ = c.flush()
	c.mu.Unlock()
	err := c.Conn.Close()
	c.left()
	return err
}

// SetReadDeadline, SetWriteDeadline and SetDeadline are the library's: the
// connection has its own times.
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
func (c *conn) SetDeadline(time.Time) error      { return nil }
