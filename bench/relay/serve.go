// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/tuning"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
	"github.com/chmail/chmail/web"
)

// The server process reads one request a line and answers with one line.

type request struct {
	Do      string   // "open", "enter", "memory", "profile"
	Rooms   int      // open: so many
	Size    int      // open: members of each
	Members []member // enter
	Path    string   // profile: where it goes; empty: it ends
}

type answer struct {
	Error   string            `json:",omitempty"`
	Address string            `json:",omitempty"` // of the web server; in the first line
	Members []member          `json:",omitempty"`
	Entries []chatrelay.Entry `json:",omitempty"`
	Text    string            `json:",omitempty"`
}

// member is somebody in a room: its owner, or a link and who claimed it.
type member struct{ Room, Login, Token, Claim string }

const (
	owners  = 4 // logins whose rooms these are, each with a granted port
	domain  = "@mall.example"
	parties = 16 // requests to the store at once
)

type server struct {
	rooms  *store.Store
	relay  *chatrelay.Relay
	opened int
	prof   *os.File
}

type noMail struct{}

func (noMail) Send(context.Context, chat.ServerMail) error { return nil }

// serve runs the relay in dir until its input ends.
func serve(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: relay serve DIR ADDRESS")
	}
	dir, addr := args[0], args[1]
	tuning.Server() // as chmaild
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	loginOf := func(a string) string {
		if strings.HasSuffix(a, domain) {
			return a
		}
		return ""
	}
	rooms, err := store.Open(ctx, store.Options{DSN: "sqlite:" + filepath.Join(dir, "rooms.db"), LoginOf: loginOf})
	if err != nil {
		return err
	}
	defer rooms.Close()
	where, err := local.Open(local.Options{Path: filepath.Join(dir, "presence.db"),
		Ranges: presence.HostRanges{{Host: "127.0.0.1", Range: presence.Range{Lo: 24100, Hi: 24199}}}})
	if err != nil {
		return err
	}
	defer where.Close()
	base := &url.URL{Scheme: "https", Host: addr}
	key := bytes.Repeat([]byte{7}, 32)
	opt := chatrelay.Options{Host: "127.0.0.1", Binds: map[string]netip.Addr{"": netip.MustParseAddr("127.0.0.1")},
		WebBase: base.String(), Presence: where,
		Rooms: rooms, Mailer: noMail{}, Key: key, StateDir: dir, Log: log}
	relay, err := chatrelay.New(opt)
	if err != nil {
		return err
	}
	defer relay.Close()
	front, err := web.New(web.Options{Base: base, Relay: relay, Key: key, Log: log,
		SignIns: signin.New(signin.Options{Accounts: nobody{}})})
	if err != nil {
		return err
	}
	crt, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go func() { // until the process ends
		if err := front.ServeTLS(l, &tls.Config{Certificates: []tls.Certificate{crt}}); err != nil {
			log.Error("the front door", "err", err)
		}
	}()
	s := &server{rooms: rooms, relay: relay}
	reply := json.NewEncoder(out)
	if err := reply.Encode(answer{Address: l.Addr().String()}); err != nil {
		return err
	}
	for requests := json.NewDecoder(in); ; {
		var req request
		if err := requests.Decode(&req); err != nil {
			return nil // whoever measures has gone
		}
		a, err := s.answer(ctx, req)
		if err != nil {
			a.Error = err.Error()
		}
		if err := reply.Encode(a); err != nil {
			return err
		}
	}
}

func (s *server) answer(ctx context.Context, req request) (a answer, err error) {
	switch req.Do {
	case "open":
		for range req.Rooms {
			in, err := s.open(ctx, req.Size)
			if err != nil {
				return a, err
			}
			a.Members = append(a.Members, in...)
		}
	case "enter":
		a.Entries = make([]chatrelay.Entry, len(req.Members))
		var wg sync.WaitGroup
		errs := make(chan error, parties)
		for p := range parties {
			wg.Go(func() {
				for i := p; i < len(req.Members); i += parties {
					e, err := s.enter(ctx, req.Members[i])
					if err != nil {
						errs <- err
						return
					}
					a.Entries[i] = e
				}
			})
		}
		wg.Wait()
		select {
		case err = <-errs:
		default:
		}
	case "memory":
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		kept := m.HeapIdle - m.HeapReleased
		debug.FreeOSMemory()
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		a.Text = fmt.Sprintf("in KB: heap %d, garbage %d, free %d, stacks %d, other %d; goroutines %d, collections %d",
			after.HeapAlloc>>10,
			(m.HeapInuse-after.HeapAlloc)>>10, kept>>10, m.StackInuse>>10, (m.Sys-m.HeapSys-m.StackSys)>>10,
			runtime.NumGoroutine(), m.NumGC)
	case "profile":
		err = s.profile(req.Path)
	}
	return a, err
}

// open makes a room of so many members.
func (s *server) open(ctx context.Context, size int) ([]member, error) {
	s.opened++
	owner := fmt.Sprintf("host%d%s", s.opened%owners, domain)
	m := chat.Mail{MessageID: fmt.Sprintf("%d.%d%s", time.Now().UnixNano(), s.opened, domain),
		Subject: "Order", Date: time.Now(),
		Sender: chat.Person{Login: owner, Addr: owner, Name: "Host"}}
	for i := range size - 1 {
		m.Recipients = append(m.Recipients, chat.Person{Addr: fmt.Sprintf("guest%d@far.example", i), Name: "Guest"})
	}
	o, err := s.rooms.OpenFromMail(ctx, m)
	if err != nil {
		return nil, err
	}
	in := []member{{Room: o.Room, Login: owner}}
	for i, r := range m.Recipients {
		claim := make([]byte, 16)
		binary.BigEndian.PutUint64(claim, uint64(s.opened)<<20|uint64(i))
		in = append(in, member{Room: o.Room, Token: o.Invites[r.Addr],
			Claim: base64.RawURLEncoding.EncodeToString(claim)})
	}
	return in, nil
}

func (s *server) enter(ctx context.Context, m member) (chatrelay.Entry, error) {
	if m.Login != "" {
		return s.relay.Enter(ctx, chat.Session{Login: m.Login, Began: time.Now()}, m.Room)
	}
	if e, err := s.relay.Ticket(ctx, m.Token, m.Claim); err == nil {
		return e, nil
	}
	return s.relay.Chat(ctx, m.Token, m.Claim, chatrelay.Claim{})
}

// profile begins a processor profile, or ends it and writes what is in memory.
func (s *server) profile(path string) (err error) {
	if path != "" {
		if s.prof, err = os.Create(path); err != nil {
			return err
		}
		return pprof.StartCPUProfile(s.prof)
	}
	pprof.StopCPUProfile()
	errs := []error{s.prof.Close()}
	for _, what := range []string{"heap", "goroutine"} {
		f, err := os.Create(s.prof.Name() + "." + what)
		if err != nil {
			return err
		}
		runtime.GC()
		errs = append(errs, pprof.Lookup(what).WriteTo(f, 0), f.Close())
	}
	return errors.Join(errs...)
}

// nobody signs in.
type nobody struct{}

func (nobody) Verify(context.Context, string, string) error { return signin.ErrWrong }
