// SPDX-License-Identifier: GPL-3.0-or-later

package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/mta/queue"
)

// Timeouts and limits. RFC 5321 section 4.5.3.2 has longer ones, which would let a server
// that hangs hold a lane for an hour.
const (
	connectTime = 30 * time.Second
	commandTime = 2 * time.Minute
	chunkTime   = 3 * time.Minute  // for a write of the mail to go out
	finalTime   = 10 * time.Minute // for the answer to the mail
	maxAnswers  = 256 << 10        // octets that a server may say in answer to one command
)

// client is a connection to a server.
type client struct {
	conn   net.Conn
	text   *textproto.Conn
	read   *limited
	server string
	ext    map[string]string // of EHLO, upper case
}

// limited ends a connection whose server says too much.
type limited struct {
	io.ReadWriteCloser
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("the server's answer is too long")
	}
	n, err := l.ReadWriteCloser.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

// connect waits for a server's greeting and greets it.
func connect(conn net.Conn, server, host string) (*client, error) {
	c := &client{server: server}
	c.use(conn)
	if _, err := c.answer(220, commandTime); err != nil {
		return nil, err
	}
	return c, c.hello(host)
}

func (c *client) use(conn net.Conn) {
	c.conn, c.read = conn, &limited{ReadWriteCloser: conn}
	c.text = textproto.NewConn(c.read)
}

func (c *client) hello(host string) error {
	c.ext = map[string]string{}
	text, err := c.ask(250, "EHLO %s", host)
	if refused := (*textproto.Error)(nil); errors.As(err, &refused) && refused.Code/100 == 5 {
		_, err = c.ask(250, "HELO %s", host)
		return err
	}
	_, lines, _ := strings.Cut(text, "\n")
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.ext[strings.ToUpper(name)] = value
	}
	return err
}

// startTLS changes to TLS. handshook: the server agreed, and what failed is TLS.
func (c *client) startTLS(ctx context.Context, setup *tls.Config, host string) (handshook bool, err error) {
	if _, err := c.ask(220, "STARTTLS"); err != nil {
		return false, err
	}
	if c.text.R.Buffered() > 0 { // what came before TLS may be anybody's
		return true, errors.New("the server spoke before TLS began")
	}
	conn := tls.Client(c.conn, setup)
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return true, err
	}
	c.use(conn)
	return false, c.hello(host)
}

func (c *client) has(extension string) bool {
	_, ok := c.ext[extension]
	return ok
}

// ask sends a command and returns the answer's text. The error is a *textproto.Error
// where the answer has another code.
func (c *client) ask(want int, format string, args ...any) (string, error) {
	line := fmt.Sprintf(format, args...)
	if strings.ContainsAny(line, "\r\n") {
		return "", &textproto.Error{Code: 553, Msg: "5.1.3 An address with a line's end"}
	}
	if err := c.conn.SetDeadline(time.Now().Add(commandTime)); err != nil {
		return "", err
	}
	if err := c.text.PrintfLine("%s", line); err != nil {
		return "", err
	}
	return c.answer(want, commandTime)
}

func (c *client) answer(want int, within time.Duration) (string, error) {
	c.read.left = maxAnswers
	if err := c.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	_, text, err := c.text.ReadResponse(want)
	return text, err
}

// data sends the mail and returns the server's answer.
func (c *client) data(content io.Reader) (string, error) {
	if _, err := c.ask(354, "DATA"); err != nil {
		return "", err
	}
	w := c.text.DotWriter()
	if _, err := io.Copy(slow{w, c.conn}, content); err != nil {
		return "", fmt.Errorf("sending the mail: %w", err) // the writer is not closed: the mail has no end
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return c.answer(250, finalTime)
}

// slow gives each write its time.
type slow struct {
	io.Writer
	conn net.Conn
}

func (s slow) Write(b []byte) (int, error) {
	if err := s.conn.SetDeadline(time.Now().Add(chunkTime)); err != nil {
		return 0, err
	}
	return s.Writer.Write(b)
}

// quit says good-bye.
func (c *client) quit() {
	_ = c.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if c.text.PrintfLine("QUIT") == nil {
		c.read.left = maxAnswers
		_, _, _ = c.text.ReadResponse(221)
	}
	c.conn.Close()
}

// endWith breaks the connection when the context ends, until the function it returns is
// called.
func (c *client) endWith(ctx context.Context) func() bool {
	conn := c.conn
	return context.AfterFunc(ctx, func() { conn.Close() })
}

func (c *client) address() string {
	host, _, _ := net.SplitHostPort(c.conn.RemoteAddr().String())
	return host
}

var enhanced = regexp.MustCompile(`^([245])\.(\d{1,3})\.(\d{1,3})[ \n]`)

// said makes an answer of what a server said.
func said(code int, text string) queue.Answer {
	a := queue.Answer{Code: code}
	if m := enhanced.FindStringSubmatch(text + " "); m != nil {
		for i := range a.Enhanced {
			a.Enhanced[i], _ = strconv.Atoi(m[i+1])
		}
		lines := strings.Split(text, "\n") // each may begin with the code
		for i, line := range lines {
			lines[i] = strings.TrimSpace(strings.TrimPrefix(line, strings.TrimSpace(m[0])))
		}
		text = strings.Join(lines, " ")
	}
	a.Text = text
	return a
}
