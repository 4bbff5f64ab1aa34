// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/internal/safely"
)

// errShutdown ends a connection that waits for a command while the server ends.
var errShutdown = errors.New("smtpd: the server shuts down")

// conn is a client's connection as go-smtp sees it: it hands on one command at a
// time, so that a message can be read here and not by go-smtp, and it collects
// replies until the client is waited for. It does what go-smtp does not:
//
//   - TLS is begun here, after which a new conn goes to go-smtp, which so knows
//     nothing of what was said before (RFC 3207 section 4.2)
//   - lines are bounded, and end with CR LF
//   - a message's lines may be of any length, and its end is found also after
//     CR CR LF (go-smtp's dataReader misses it)
//   - time limits, and a bound on commands that lead to nothing
//   - <postmaster> without a domain (RFC 5321 section 4.1.1.3)
//   - codes of replies that RFC 5321 and RFC 4954 have otherwise
type conn struct {
	net.Conn         // TCP, or TLS over it
	srv      *Server // whose connection it is
	ip       netip.Addr
	secure   bool // over TLS
	ctx      context.Context
	cancel   context.CancelFunc
	opened   time.Time
	in       *bufio.Reader
	input    []byte   // what go-smtp reads next: a line, a chunk, the end of a message
	chunk    int64    // octets of BDAT that follow
	message  *message // being read by the session
	transfer transfer // of the chunk or message
	verb     string   // of the last command
	sasl     bool     // the next line is an answer to a challenge
	ended    bool     // the last reply was the last

	detached atomic.Bool  // TLS has taken over
	lingers  atomic.Bool  // the client may still be sending
	idle     atomic.Int32 // commands since something came of one
	signedIn atomic.Bool
	expected atomic.Bool  // a message: there is a recipient
	progress atomic.Int64 // when the last message was taken, or the sign-in; Unix nanoseconds
	draining atomic.Bool
	last     atomic.Pointer[string] // reply after which the connection ends

	mu     sync.Mutex // of what follows
	out    []byte     // replies not yet sent
	silent bool       // go-smtp's greeting was sent before TLS
	closed bool
}

// transfer is how long a message may take: a grace, and longer the more of it came.
type transfer struct {
	began  time.Time
	octets int64
}

func newConn(srv *Server, nc net.Conn, secure, silent bool) *conn {
	now := time.Now()
	c := &conn{Conn: nc, srv: srv, ip: addrOf(nc), secure: secure, silent: silent, opened: now}
	c.ctx, c.cancel = context.WithCancel(srv.ctx)
	c.in = bufio.NewReaderSize(rawReader{c}, bufferSize)
	c.progress.Store(now.UnixNano())
	return c
}

// addrOf is the address of a client; the zero Addr where it has none.
func addrOf(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// rawReader reads from the client, after what was to be told to it.
type rawReader struct{ c *conn }

func (r rawReader) Read(p []byte) (int, error) {
	c := r.c
	if err := c.flush(); err != nil {
		return 0, err
	}
	until := c.patience()
	for {
		if err := c.SetReadDeadline(until); err != nil {
			return 0, err
		}
		if c.draining.Load() && c.transfer.began.IsZero() {
			return 0, errShutdown
		}
		n, err := c.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until) {
			continue // Shutdown woke it up
		}
		c.transfer.octets += int64(n)
		return n, err
	}
}

// patience is until when the client may keep silent.
func (c *conn) patience() time.Time {
	if t := c.transfer; !t.began.IsZero() {
		return t.began.Add(c.srv.opts.DataGrace + time.Duration(t.octets/minRate)*time.Second)
	}
	until := time.Now().Add(c.srv.opts.Idle)
	if limit := time.Unix(0, c.progress.Load()).Add(maxFruitless); limit.Before(until) {
		until = limit
	}
	if c.srv.opts.Submission && !c.signedIn.Load() {
		if limit := c.opened.Add(c.srv.opts.SignInTime); limit.Before(until) {
			until = limit
		}
	}
	return until
}

// did notes that the connection led to something.
func (c *conn) did() {
	c.progress.Store(time.Now().UnixNano())
	c.idle.Store(0)
}

// endAfter ends the connection after the reply that go-smtp writes now, and one
// more.
func (c *conn) endAfter(reply string) { c.last.Store(&reply) }

// drain wakes up a connection that waits for a command, so that it ends.
func (c *conn) drain() {
	c.draining.Store(true)
	_ = c.SetReadDeadline(time.Now()) // it fails where it is closed
}

// Read implements io.Reader for go-smtp. go-smtp recovers from no panic of it.
func (c *conn) Read(p []byte) (n int, err error) {
	err = io.ErrUnexpectedEOF
	defer safely.Recover(c.srv.opts.Log, "smtp connection")
	for len(c.input) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, c.input)
	c.input = c.input[n:]
	return n, nil
}

// next finds what go-smtp reads next.
func (c *conn) next() error {
	switch {
	case c.ended || c.isClosed(): // go-smtp goes on after QUIT, and has no session then
		return io.EOF
	case c.message != nil:
		c.endMessage()
		return nil
	case c.chunk > 0:
		return c.nextOfChunk()
	}
	c.transfer = transfer{}
	if last := c.last.Load(); last != nil {
		return c.end(*last)
	}
	line, err := c.readLine()
	switch {
	case errors.Is(err, errShutdown):
		return c.end("421 4.3.2 The server shuts down")
	case errors.Is(err, errLineEndless):
		return c.end("500 5.5.2 Line too long")
	case errors.Is(err, errLineTooLong):
		return c.refuse("500 5.5.2 Line too long")
	case errors.Is(err, errLineEnd):
		return c.refuse("500 5.5.2 Lines end with CR LF")
	case err != nil:
		return err
	}
	if c.sasl {
		c.sasl, c.input = false, line
		return nil
	}
	return c.command(line)
}

// end says a last reply.
func (c *conn) end(reply string) error {
	c.reply(reply)
	c.ended = true
	c.lingers.Store(true)
	return io.EOF
}

// refuse answers a line that go-smtp does not see.
func (c *conn) refuse(reply string) error {
	if c.sasl { // go-smtp waits for an answer to a challenge: this one breaks it off
		c.sasl, c.input = false, []byte("*\r\n")
		return nil
	}
	c.reply(reply)
	return c.count()
}

// count counts a command that leads to no message by itself.
func (c *conn) count() error {
	if c.idle.Add(1) > maxIdleCommands {
		c.srv.opts.Reputation.Fault(c.ip, reputation.BadProtocol)
		return c.end("421 4.7.0 Too many commands without a message")
	}
	return nil
}

var (
	errLineTooLong = errors.New("smtpd: line too long")
	errLineEndless = errors.New("smtpd: line without an end")
	errLineEnd     = errors.New("smtpd: line without CR LF")
)

// readLine reads a command with its CR LF. A line that is too long is read to its end.
func (c *conn) readLine() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	octets, max := len(line), maxLine
	if c.sasl || len(line) > 5 && strings.EqualFold(string(line[:5]), "AUTH ") {
		max = maxAuthLine
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		long := bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			if line, err = c.in.ReadSlice('\n'); len(long) <= max {
				long = append(long, line...)
			}
			if octets += len(line); octets > maxSkipped {
				return nil, errLineEndless
			}
		}
		line = long
	}
	switch {
	case err != nil:
		return nil, err
	case octets > max:
		return nil, errLineTooLong
	case len(line) < 2 || line[len(line)-2] != '\r' || bytes.IndexByte(line, '\r') != len(line)-2:
		return nil, errLineEnd
	}
	return line, nil
}

// command looks at a command before go-smtp does.
func (c *conn) command(line []byte) error {
	if reputation.Foreign(line) {
		c.srv.opts.Reputation.Fault(c.ip, reputation.Probe)
		return c.end("421 4.7.0 This is a mail server")
	}
	text := string(line[:len(line)-2])
	verb, arg, _ := strings.Cut(text, " ")
	c.verb, c.input = strings.ToUpper(verb), line
	switch c.verb {
	case "STARTTLS":
		c.input = nil
		return c.startTLS()
	case "EHLO", "HELO":
		if len(arg) > maxDomain {
			c.input = nil
			return c.refuse("501 5.5.4 The name is too long")
		}
		if err := c.count(); err != nil {
			c.input = nil
			return err
		}
	case "BDAT":
		c.chunk = chunkSize(arg)
		if !c.expected.Load() && c.chunk > 0 {
			return c.skipChunk()
		}
	case "MAIL":
		if err := c.count(); err != nil {
			c.input = nil
			return err
		}
		c.input = []byte(clampSize(text) + "\r\n")
	case "RCPT":
		c.input = []byte(fullPostmaster(text) + "\r\n")
	case "DATA":
	default:
		if err := c.count(); err != nil {
			c.input = nil
			return err
		}
	}
	return nil
}

// chunkSize is how many octets follow a BDAT command, as go-smtp sees it (RFC 3030).
func chunkSize(arg string) int64 {
	args := strings.Fields(arg)
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[1], "LAST") {
		return 0
	}
	n, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return 0
	}
	return int64(n)
}

// clampSize makes a SIZE that go-smtp cannot read one that it refuses as too large.
func clampSize(text string) string {
	fields := strings.Split(text, " ")
	for i, f := range fields {
		if len(f) > len("SIZE=")+9 && strings.EqualFold(f[:5], "SIZE=") && strings.Trim(f[5:], "0123456789") == "" {
			fields[i] = "SIZE=4294967295"
		}
	}
	return strings.Join(fields, " ")
}

// fullPostmaster gives the one recipient that may stand without a domain one that
// go-smtp reads: session.Rcpt takes it away again.
func fullPostmaster(text string) string {
	const path = "<postmaster>"
	i := strings.Index(strings.ToLower(text), path)
	if i < 0 || strings.TrimSpace(strings.ToUpper(text[:i])) != "RCPT TO:" {
		return text
	}
	return text[:i] + "<" + postmasterHere + ">" + text[i+len(path):]
}

// skipChunk answers a chunk that nobody asked for. It follows all the same (RFC 3030
// section 2).
func (c *conn) skipChunk() error {
	n := c.chunk
	c.chunk, c.input = 0, nil
	const answer = "503 5.5.1 Missing RCPT TO command."
	if n > maxSkipped {
		return c.end(answer)
	}
	if _, err := c.in.Discard(int(n)); err != nil {
		return err
	}
	return c.refuse(answer)
}

func (c *conn) nextOfChunk() error {
	if c.transfer.began.IsZero() {
		c.transfer = transfer{began: time.Now()}
	}
	if _, err := c.in.Peek(1); err != nil {
		return err
	}
	part, err := c.in.Peek(int(min(c.chunk, int64(c.in.Buffered()))))
	if err != nil {
		return err
	}
	c.input = part
	c.chunk -= int64(len(part))
	_, err = c.in.Discard(len(part)) // they stay where they are until the next read
	return err
}

// beginMessage is the message that follows DATA. go-smtp never sees it.
func (c *conn) beginMessage() io.Reader {
	c.transfer = transfer{began: time.Now()}
	c.message = newMessage(c.in, true, c.srv.opts.MaxSize)
	return c.message
}

// endMessage skips what the session did not read, and lets go-smtp find an end.
func (c *conn) endMessage() {
	m := c.message
	c.message = nil
	switch err := m.skip(c.srv.opts.MaxSize); {
	case errors.Is(err, errTooLarge):
		c.endAfter("421 4.3.4 The message is far too large")
	case err != nil:
		c.endAfter("421 4.4.2 The message did not come to its end")
	}
	c.transfer = transfer{}
	c.input = []byte(".\r\n")
}

// startTLS answers STARTTLS, and hands the connection on when it is secure.
func (c *conn) startTLS() error {
	switch {
	case c.secure:
		c.reply("503 5.5.1 TLS is on already")
		return c.count()
	case c.srv.opts.TLS == nil:
		c.reply("502 5.5.1 TLS is not available")
		return c.count()
	}
	c.reply("220 2.0.0 Ready to start TLS")
	if err := c.flush(); err != nil {
		return err
	}
	secure, err := c.srv.handshake(c.Conn)
	if err != nil {
		return err
	}
	c.detached.Store(true) // what was read after STARTTLS goes with it: it was not encrypted
	c.srv.forget(c)
	c.srv.handOver(newConn(c.srv, secure, true, true))
	return io.EOF
}

// handshake begins TLS as the server.
func (s *Server) handshake(nc net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, handshakeTime)
	defer cancel()
	secure := tls.Server(nc, s.opts.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("smtpd: beginning TLS: %w", err)
	}
	return secure, nil
}

// reply collects a reply of our own.
func (c *conn) reply(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(append(c.out, text...), "\r\n"...)
}

// Write implements io.Writer for go-smtp, which writes line by line.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.silent {
		c.silent = false
		c.mu.Unlock()
		return len(p), nil
	}
	line := corrected(string(p))
	c.sasl = strings.HasPrefix(line, "334 ") || strings.HasPrefix(line, "334\r")
	c.out = append(c.out, line...)
	if strings.HasPrefix(line, "250-PIPELINING\r\n") {
		switch {
		case c.secure:
			c.out = append(c.out, "250-REQUIRETLS\r\n"...)
		case c.srv.opts.TLS != nil:
			c.out = append(c.out, "250-STARTTLS\r\n"...)
		}
	}
	full := len(c.out) >= bufferSize
	c.mu.Unlock()
	if full {
		return len(p), c.flush()
	}
	return len(p), nil
}

// corrections are beginnings of go-smtp's replies, and what the RFCs have instead.
var corrections = []struct{ from, to string }{
	{"502 5.5.1 ", "503 5.5.1 "}, // bad sequence of commands: RFC 5321 section 4.2.2
	{"502 5.5.4 Missing parameter", "501 5.5.4 Missing parameter"},
	{"500 5.5.4 Unknown ", "555 5.5.4 Unknown "}, // RFC 5321 section 4.1.1.11
	{"500 5.5.4 Malformed AUTH", "501 5.5.4 Malformed AUTH"},
	{"454 4.7.0 Invalid base64", "501 5.5.2 Invalid base64"}, // RFC 4954 section 4
}

func corrected(line string) string {
	if len(line) < 4 || line[0] < '4' || strings.Contains(line, " not implemented") {
		return line
	}
	for _, c := range corrections {
		if rest, ok := strings.CutPrefix(line, c.from); ok {
			return c.to + rest
		}
	}
	return line
}

// flush sends the replies that were collected.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	if c.closed {
		return net.ErrClosed
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := c.Conn.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > 2*bufferSize {
		c.out = nil
	}
	return err
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close sends what is left to say, and closes the connection.
func (c *conn) Close() error {
	c.cancel()
	c.srv.forget(c)
	if c.detached.Load() {
		return nil
	}
	_ = c.SetWriteDeadline(time.Now().Add(lastWriteTime)) // also of a write that is under way
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	if !closed && len(c.out) > 0 {
		_, _ = c.Conn.Write(c.out) // the client may be gone
		c.out = nil
	}
	c.mu.Unlock()
	if closed {
		return nil
	}
	if c.lingers.Load() {
		c.linger()
	}
	return c.Conn.Close()
}

// linger lets a client read the last reply: TCP would throw it away if more of the
// client were unread when the connection is closed.
func (c *conn) linger() {
	type halfCloser interface{ CloseWrite() error }
	half, ok := c.Conn.(halfCloser)
	if bounded, is := c.Conn.(interface{ NetConn() net.Conn }); !ok && is {
		half, ok = bounded.NetConn().(halfCloser)
	}
	if !ok || half.CloseWrite() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, maxLinger)) // whatever it is
}
