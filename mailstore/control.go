// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A running server answers admin commands on a Unix socket in the store's
// folder, since no second process may open the store. A request is one line of
// JSON, for `put` with the body behind it; the reply is one line of JSON, for
// `check` with lines of its progress before it.

const (
	// maxControl is how many admin commands are served at once; more wait.
	maxControl = 8
	// maxControlLine is the octets of a request without a body.
	maxControlLine = 64 << 10
	// controlIdle is how long a connection may wait between requests.
	controlIdle = 5 * time.Minute
	// progressEvery is how often a check tells how far it is.
	progressEvery = 100 * time.Millisecond
)

// Admin is what admin commands do with a store: itself, or one that another
// process has open.
type Admin interface {
	Accounts() ([]string, error)
	CreateAccount(login string, folders ...Folder) error
	DeleteAccount(login string) error
	Stats() (Stats, error)
	Backup(ctx context.Context, dir string) error
	// Import puts size octets of body into one mailbox.
	Import(ctx context.Context, to Recipient, body io.Reader, size int64) error
	Check(ctx context.Context, progress Progress) (*Report, error)
	Close() error
}

var (
	_ Admin = (*Store)(nil)
	_ Admin = (*Remote)(nil)
)

// Import stages the body and puts it into one mailbox.
func (s *Store) Import(ctx context.Context, to Recipient, body io.Reader, size int64) error {
	staged, err := s.Stage(io.LimitReader(body, size))
	if err != nil {
		return err
	}
	defer staged.Abort()
	if staged.Octets() != size {
		return fmt.Errorf("importing: %w", io.ErrUnexpectedEOF)
	}
	return staged.Put(ctx, []Recipient{to})
}

type request struct {
	Op      string     `json:"op"`
	Login   string     `json:"login,omitempty"`
	Dir     string     `json:"dir,omitempty"`
	Folders []Folder   `json:"folders,omitempty"`
	To      *Recipient `json:"to,omitempty"`
	Size    int64      `json:"size,omitempty"`
}

type reply struct {
	Error  string   `json:"error,omitempty"`
	Is     string   `json:"is,omitempty"` // the sentinel that the error wraps
	Logins []string `json:"logins,omitempty"`
	Stats  *Stats   `json:"stats,omitempty"`
	Report *Report  `json:"report,omitempty"`
	Done   *[2]int  `json:"done,omitempty"` // how many of how many: not the reply yet
}

// sentinels are the errors that keep their meaning over the socket.
var sentinels = []error{ErrNoAccount, ErrNoMailbox, ErrExists, ErrValidity, ErrQuota, ErrTooLarge, ErrFull, ErrName, ErrInUse, ErrClosed, os.ErrExist}

// socketPath is the socket's path, relative where the absolute one is longer
// than a Unix socket's may be.
func socketPath(dir string) string {
	path := filepath.Join(dir, "control.sock")
	if len(path) > 100 {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
				return rel
			}
		}
	}
	return path
}

// Control serves admin commands until its listener is closed.
type Control struct {
	s       *Store
	l       net.Listener
	slots   chan struct{}
	serving sync.WaitGroup
}

// ServeControl begins to listen. The store's lock is ours, so a socket that is
// there was left by a process that is gone.
func (s *Store) ServeControl() (*Control, error) {
	path := socketPath(s.dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing a stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening for admin commands: %w", err)
	}
	c := &Control{s: s, l: l, slots: make(chan struct{}, maxControl)}
	c.serving.Go(c.accept)
	return c, nil
}

func (c *Control) accept() {
	for {
		c.slots <- struct{}{}
		conn, err := c.l.Accept()
		if err != nil {
			return // closed
		}
		c.serving.Go(func() {
			defer func() { <-c.slots }()
			defer conn.Close()
			defer context.AfterFunc(c.s.ctx, func() { conn.Close() })()
			c.serve(conn)
		})
	}
}

// Close ends the listener; the connections end with the store's context.
func (c *Control) Close() error {
	err := c.l.Close()
	<-c.slots // accept may wait for one
	c.serving.Wait()
	return err
}

func (c *Control) serve(conn net.Conn) {
	r := bufio.NewReaderSize(conn, maxControlLine)
	enc := json.NewEncoder(conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(controlIdle))
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		var q request
		if err := json.Unmarshal(line, &q); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		body := &io.LimitedReader{R: r, N: q.Size}
		a, err := c.do(&q, body, enc)
		if err != nil {
			a.Error = err.Error()
			for _, s := range sentinels {
				if errors.Is(err, s) {
					a.Is = s.Error()
					break
				}
			}
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return
		}
		if err := enc.Encode(a); err != nil {
			return
		}
	}
}

func (c *Control) do(q *request, body io.Reader, enc *json.Encoder) (a reply, err error) {
	switch q.Op {
	case "accounts":
		a.Logins, err = c.s.Accounts()
	case "create":
		err = c.s.CreateAccount(q.Login, q.Folders...)
	case "delete":
		err = c.s.DeleteAccount(q.Login)
	case "stats":
		var st Stats
		st, err = c.s.Stats()
		a.Stats = &st
	case "check":
		a.Report, err = c.check(enc)
	case "backup":
		err = c.s.Backup(c.s.ctx, q.Dir)
	case "put":
		if q.To == nil || q.Size < 0 {
			return a, errors.New("put what where?")
		}
		err = c.s.Import(c.s.ctx, *q.To, body, q.Size)
	default:
		err = fmt.Errorf("unknown command %q", q.Op)
	}
	return a, err
}

// check checks the store and tells how far it is, until nobody listens.
func (c *Control) check(enc *json.Encoder) (*Report, error) {
	ctx, cancel := context.WithCancel(c.s.ctx)
	defer cancel()
	told := time.Now()
	return c.s.Check(ctx, func(done, all int) {
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		if enc.Encode(reply{Done: &[2]int{done, all}}) != nil {
			cancel()
		}
	})
}

// Remote is a store that another process has open. One goroutine uses it.
type Remote struct {
	conn net.Conn
	r    *bufio.Reader
}

// Dial asks the process that has the store in dir open.
func Dial(dir string) (*Remote, error) {
	conn, err := net.Dial("unix", socketPath(dir))
	if err != nil {
		return nil, fmt.Errorf("asking the process that has the mail store open: %w", err)
	}
	return &Remote{conn: conn, r: bufio.NewReader(conn)}, nil
}

// Close ends the connection.
func (r *Remote) Close() error { return r.conn.Close() }

// remoteError is an error of the other process.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func (r *Remote) ask(q request, body io.Reader) (reply, error) {
	return r.askWith(q, body, nil)
}

func (r *Remote) askWith(q request, body io.Reader, progress Progress) (reply, error) {
	line, err := json.Marshal(q)
	if err == nil {
		_, err = r.conn.Write(append(line, '\n'))
	}
	if err == nil && body != nil {
		_, err = io.CopyN(r.conn, body, q.Size)
	}
	if err != nil {
		return reply{}, fmt.Errorf("asking the running server: %w", err)
	}
	var a reply
	for {
		if line, err = r.r.ReadBytes('\n'); err == nil {
			a = reply{}
			err = json.Unmarshal(line, &a)
		}
		if err != nil {
			return reply{}, fmt.Errorf("reading the running server's answer: %w", err)
		}
		if a.Done == nil {
			break
		}
		if progress != nil {
			progress(a.Done[0], a.Done[1])
		}
	}
	if a.Error == "" {
		return a, nil
	}
	failure := &remoteError{text: a.Error}
	for _, s := range sentinels {
		if s.Error() == a.Is {
			failure.is = s
		}
	}
	return a, failure
}

func (r *Remote) Accounts() ([]string, error) {
	a, err := r.ask(request{Op: "accounts"}, nil)
	return a.Logins, err
}

func (r *Remote) CreateAccount(login string, folders ...Folder) error {
	_, err := r.ask(request{Op: "create", Login: login, Folders: folders}, nil)
	return err
}

func (r *Remote) DeleteAccount(login string) error {
	_, err := r.ask(request{Op: "delete", Login: login}, nil)
	return err
}

func (r *Remote) Stats() (Stats, error) {
	a, err := r.ask(request{Op: "stats"}, nil)
	if err != nil || a.Stats == nil {
		return Stats{}, err
	}
	return *a.Stats, nil
}

// Check asks the other process to check its store; with ctx the connection ends.
func (r *Remote) Check(ctx context.Context, progress Progress) (*Report, error) {
	defer context.AfterFunc(ctx, func() { r.conn.Close() })()
	a, err := r.askWith(request{Op: "check"}, nil, progress)
	if err != nil {
		return nil, err
	}
	if a.Report == nil {
		return nil, errors.New("the running server does not know how to check: is it an older one?")
	}
	return a.Report, nil
}

// Backup asks for a backup into dir, as the other process sees it.
func (r *Remote) Backup(_ context.Context, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	_, err = r.ask(request{Op: "backup", Dir: abs}, nil)
	return err
}

func (r *Remote) Import(_ context.Context, to Recipient, body io.Reader, size int64) error {
	_, err := r.ask(request{Op: "put", To: &to, Size: size}, body)
	return err
}
