// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mta/queue"
)

// A request is POST /NAME?auth=BLOCK&storage=BLOCK, whose body is one line of
// JSON and, for /mail/import, the message behind it. The answer is lines of
// JSON: how far it is, now and then, and at the end the result or an error.

const (
	// maxConns is how many commands are served at once; more wait.
	maxConns = 8
	// maxLine is the octets of a request without a message.
	maxLine = 1 << 20
	// readTime bounds how long a request's head and its line may take.
	readTime = 10 * time.Second
	// idleTime is how long a connection may wait between requests.
	idleTime = 5 * time.Minute
	// closeTime is how long Close waits for requests to notice that it is over.
	closeTime = 5 * time.Second
	// progressEvery is how often is told how far something is.
	progressEvery = 100 * time.Millisecond
)

// answer is one line of an answer.
type answer struct {
	Done   *[2]int         `json:"done,omitempty"` // how many of how many: not the end yet
	Error  string          `json:"error,omitempty"`
	Is     string          `json:"is,omitempty"` // the sentinel that the error wraps
	Result json.RawMessage `json:"result,omitempty"`
}

// sentinels are the errors that keep their meaning over the socket.
var sentinels = []error{mailstore.ErrNoAccount, mailstore.ErrNoMailbox, mailstore.ErrExists, mailstore.ErrValidity,
	mailstore.ErrQuota, mailstore.ErrTooLarge, mailstore.ErrFull, mailstore.ErrName, mailstore.ErrClosed, os.ErrExist,
	queue.ErrNoMail, queue.ErrNotSuppressed}

// Server answers commands on a Unix socket.
type Server struct {
	owner  *Owner
	log    *slog.Logger
	http   *http.Server
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Serve begins to answer on the socket at path. The state directory is this
// process' (Claim), so that a socket that is there was left by one that is gone.
func Serve(path string, owner *Owner, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	path = short(path)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing a stale socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listening for commands: %w", err), l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{owner: owner, log: log, cancel: cancel}
	s.http = &http.Server{
		Handler:           s.mux(),
		ReadHeaderTimeout: readTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
	s.done.Go(func() {
		if err := s.http.Serve(netutil.LimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("answering commands ended", "err", err)
		}
	})
	return s, nil
}

// short is a socket's path, relative where the absolute one is longer than a
// Unix socket's may be.
func short(path string) string {
	if len(path) > 100 {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
				return rel
			}
		}
	}
	return path
}

// Close ends the requests that run and removes the socket.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.done.Wait()
	return err
}

// none is the result of what returns an error alone, or the arguments of what
// takes none.
type none struct{}

type (
	userArgs    struct{ Login, Password string }
	deviceArgs  struct{ Login, Name string }
	accountArgs struct {
		Login   string
		Folders []mailstore.Folder
	}
	importArgs struct {
		To   mailstore.Recipient
		Size int64
	}
	personArgs struct {
		Who string
		To  Folder
	}
	inviteArgs struct{ Life time.Duration }
	roomArgs   struct{ Room, Who, Link string }
	usersArgs  struct {
		Users []NewUser
		Try   bool
	}
	setArgs struct {
		Login, Reason string
		Disabled      bool
		Quota         *int64
		To            []string
		Keep          bool
	}
	aliasArgs struct {
		Addr    string
		Members []string
	}
	guardArgs struct {
		IP     netip.Addr
		Prefix netip.Prefix
		Rule   reputation.Rule
	}
)

// call is one request.
type call struct {
	*Owner
	body io.Reader // what follows the line
	tell mailstore.Progress
}

func (s *Server) mux() *http.ServeMux {
	m := http.NewServeMux()
	for name, h := range map[string]http.Handler{
		"/users/list": plain(s, shortTime, (*Owner).Logins),
		"/users/may-add": handle(s, shortTime, func(ctx context.Context, c call, a userArgs) (none, error) {
			return none{}, c.MayAdd(ctx, a.Login)
		}),
		"/users/add": handle(s, shortTime, func(ctx context.Context, c call, a userArgs) (none, error) {
			return none{}, c.AddUser(ctx, a.Login, a.Password)
		}),
		"/users/password": handle(s, shortTime, func(ctx context.Context, c call, a userArgs) (none, error) {
			return none{}, c.SetPassword(ctx, a.Login, a.Password)
		}),
		"/users/remove": handle(s, 0, func(ctx context.Context, c call, a userArgs) (none, error) {
			return none{}, c.RemoveUser(ctx, a.Login)
		}),
		"/users/accounts": plain(s, 0, (*Owner).Accounts),
		"/users/add-all": handle(s, 0, func(ctx context.Context, c call, a usersArgs) ([]Refusal, error) {
			return c.AddUsers(ctx, a.Users, a.Try)
		}),
		"/users/disable": handle(s, shortTime, func(ctx context.Context, c call, a setArgs) (none, error) {
			return none{}, c.Disable(ctx, a.Login, a.Disabled, a.Reason)
		}),
		"/users/quota": handle(s, shortTime, func(ctx context.Context, c call, a setArgs) (none, error) {
			return none{}, c.SetQuota(ctx, a.Login, a.Quota)
		}),
		"/users/forward": handle(s, shortTime, func(ctx context.Context, c call, a setArgs) (none, error) {
			return none{}, c.Forward(ctx, a.Login, a.To, a.Keep)
		}),
		"/domains/list": plain(s, shortTime, (*Owner).Domains),
		"/domains/add": handle(s, shortTime, func(ctx context.Context, c call, a aliasArgs) (none, error) {
			return none{}, c.AddDomain(ctx, a.Addr)
		}),
		"/domains/remove": handle(s, shortTime, func(ctx context.Context, c call, a aliasArgs) (none, error) {
			return none{}, c.RemoveDomain(ctx, a.Addr)
		}),
		"/aliases/list": plain(s, shortTime, (*Owner).Aliases),
		"/aliases/add": handle(s, shortTime, func(ctx context.Context, c call, a aliasArgs) (none, error) {
			return none{}, c.AddAlias(ctx, a.Addr, a.Members)
		}),
		"/aliases/remove": handle(s, shortTime, func(ctx context.Context, c call, a aliasArgs) (none, error) {
			return none{}, c.RemoveAlias(ctx, a.Addr, a.Members)
		}),
		"/app-passwords/list": handle(s, shortTime,
			func(ctx context.Context, c call, a deviceArgs) ([]apppassword.Password, error) {
				return c.AppPasswords(ctx, a.Login)
			}),
		"/app-passwords/add": handle(s, shortTime, func(ctx context.Context, c call, a deviceArgs) (string, error) {
			return c.AddAppPassword(ctx, a.Login, a.Name)
		}),
		"/app-passwords/revoke": handle(s, shortTime, func(ctx context.Context, c call, a deviceArgs) (none, error) {
			return none{}, c.RevokeAppPassword(ctx, a.Login, a.Name)
		}),
		"/guard/list": plain(s, shortTime, (*Owner).GuardList),
		"/guard/why": handle(s, shortTime, func(ctx context.Context, c call, a guardArgs) ([]reputation.Standing, error) {
			return c.GuardWhy(ctx, a.IP)
		}),
		"/guard/add": handle(s, shortTime, func(ctx context.Context, c call, a guardArgs) (none, error) {
			return none{}, c.GuardAdd(ctx, a.Rule, a.IP)
		}),
		"/guard/remove": handle(s, shortTime, func(ctx context.Context, c call, a guardArgs) (int, error) {
			return c.GuardRemove(ctx, a.Prefix)
		}),
		"/who":        plain(s, shortTime, (*Owner).Who),
		"/grants":     plain(s, shortTime, (*Owner).Grants),
		"/hosts":      plain(s, shortTime, (*Owner).Hosts),
		"/mail/stats": plain(s, 0, (*Owner).Stats),
		"/mail/account": handle(s, shortTime, func(_ context.Context, c call, a accountArgs) (none, error) {
			return none{}, c.CreateAccount(a.Login, a.Folders...)
		}),
		"/mail/import": handle(s, 0, func(ctx context.Context, c call, a importArgs) (none, error) {
			return none{}, c.Import(ctx, a.To, c.body, a.Size)
		}),
		"/mail/check": handle(s, 0, func(ctx context.Context, c call, _ none) (*mailstore.Report, error) {
			return c.Check(ctx, c.tell)
		}),
		"/mail/export": handle(s, 0, func(ctx context.Context, c call, x MailExport) (MailExported, error) {
			return c.ExportMail(ctx, x, c.tell)
		}),
		"/person/rooms": handle(s, shortTime, func(ctx context.Context, c call, a personArgs) (int, error) {
			return c.Rooms(ctx, a.Who)
		}),
		"/person/export": handle(s, 0, func(ctx context.Context, c call, a personArgs) (*Exported, error) {
			return c.Export(ctx, a.Who, a.To)
		}),
		"/person/erase": handle(s, 0, func(ctx context.Context, c call, a personArgs) (chat.Erased, error) {
			return c.Erase(ctx, a.Who)
		}),
		"/rooms/list": handle(s, shortTime, func(ctx context.Context, c call, a roomArgs) ([]Room, error) {
			return c.ListRooms(ctx, a.Who)
		}),
		"/rooms/revoke": handle(s, shortTime, func(ctx context.Context, c call, a roomArgs) (none, error) {
			return none{}, c.RevokeLink(ctx, a.Link)
		}),
		"/rooms/remove": handle(s, shortTime, func(ctx context.Context, c call, a roomArgs) (chat.Participant, error) {
			return c.RemovePerson(ctx, a.Room, a.Who)
		}),
		"/queue/list": handle(s, shortTime, func(ctx context.Context, c call, a queueArgs) ([]queue.Mail, error) {
			return c.Queued(ctx, a.Of)
		}),
		"/queue/show": handle(s, shortTime, func(ctx context.Context, c call, a queueArgs) (QueuedMail, error) {
			return c.ShowQueued(ctx, a.Of)
		}),
		"/queue/change": handle(s, 0, func(ctx context.Context, c call, a queueArgs) (int, error) {
			return c.ChangeQueued(ctx, a.Action, a.Of)
		}),
		"/suppress/list": plain(s, shortTime, (*Owner).Suppressed),
		"/suppress/remove": handle(s, shortTime, func(ctx context.Context, c call, a queueArgs) (none, error) {
			return none{}, c.Unsuppress(ctx, a.Of)
		}),
		"/mall/rotate-keys": plain(s, 0, (*Owner).RotateMallKeys),
		"/invite": handle(s, shortTime, func(ctx context.Context, c call, a inviteArgs) (string, error) {
			return c.Invite(ctx, a.Life)
		}),
		"/backup": handle(s, 0, func(ctx context.Context, c call, to Folder) (none, error) {
			return none{}, c.Backup(ctx, to)
		}),
	} {
		m.Handle("POST "+name, h)
	}
	return m
}

// handle reads the arguments, calls do within a time (0: as long as it takes),
// and writes the answer. The context ends with the connection and the server.
func handle[A, R any](s *Server, within time.Duration, do func(context.Context, call, A) (R, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if within > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, within)
			defer cancel()
		}
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(time.Now().Add(readTime))
		body := bufio.NewReaderSize(r.Body, 64<<10)
		line, err := readLine(body)
		var args A
		if err == nil {
			err = json.Unmarshal(line, &args)
		}
		if err != nil {
			http.Error(w, fmt.Sprintf("reading the arguments: %v", err), http.StatusBadRequest)
			return
		}
		_, message := any(args).(importArgs)
		if !message {
			_, _ = body.Peek(1) // the end: from here on the server notices when the command goes
		}
		_ = control.SetReadDeadline(time.Time{})
		out := json.NewEncoder(w)
		var told time.Time // the first is told at once
		tell := func(done, all int) {
			if time.Since(told) < progressEvery {
				return
			}
			told = time.Now()
			_ = out.Encode(answer{Done: &[2]int{done, all}})
			_ = control.Flush()
		}
		q := r.URL.Query()
		owner := s.owner.with(Choice{Auth: q.Get("auth"), Storage: q.Get("storage")})
		result, err := do(ctx, call{owner, body, tell}, args)
		if message {
			if _, drained := io.Copy(io.Discard, body); drained != nil {
				return // who does not send a message to its end waits for no answer
			}
		}
		var last answer
		if err == nil {
			last.Result, err = json.Marshal(result)
		}
		if err != nil {
			last = answer{Error: err.Error()}
			for _, sentinel := range sentinels {
				if errors.Is(err, sentinel) {
					last.Is = sentinel.Error()
					break
				}
			}
			s.log.Info("a command failed", "command", r.URL.Path, "err", err)
		}
		_ = out.Encode(last)
	})
}

// plain is handle for what takes no arguments.
func plain[R any](s *Server, within time.Duration, do func(*Owner, context.Context) (R, error)) http.Handler {
	return handle(s, within, func(ctx context.Context, c call, _ none) (R, error) { return do(c.Owner, ctx) })
}

// readLine reads the line that a request begins with.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("they are more than %d octets", maxLine)
		case err == nil:
			return bytes.TrimSpace(line), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
