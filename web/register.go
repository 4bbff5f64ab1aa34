// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/work"
	"github.com/chmail/chmail/web/mailclient"
)

// ErrTaken: there is such a login already.
var ErrTaken = errors.New("the login is taken")

// Registration lets people make logins of their own.
type Registration struct {
	Domain  string // of the logins
	Invited bool   // only with an invitation
	// Create makes an account. ErrTaken; password.ErrUnfit.
	Create func(ctx context.Context, login, password string) error
}

const maxInvitation = 90 * 24 * time.Hour // until an invitation ends

var localPart = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$`)

// reserved are names that others take for the server's own (RFC 2142 and custom).
var reserved = strings.Fields(`abuse admin administrator autoconfig autodiscover billing bounce chmail complaints contact daemon ftp
	help host hostmaster imap info list mail mailer-daemon majordomo marketing news no-reply nobody noc noreply
	null operator pop pop3 postmaster register reply root sales security shop smtp spam staff support sysadmin system
	test usenet uucp webmaster www`)

// registerForm is the form with which somebody makes a login.
type registerForm struct {
	Name, Domain, Invitation string
	Invited                  bool
	Work                     string // a task; empty: none is asked for
	Problem                  string
}

// registerForm is an empty form; nil: nobody registers here.
func (s *Server) registerForm(r *http.Request) *registerForm {
	reg := s.opts.Registration
	if reg == nil {
		return nil
	}
	return &registerForm{Domain: reg.Domain, Invited: reg.Invited, Invitation: r.FormValue("invitation"),
		Work: s.work.Task(s.registerWork(r))}
}

// registerWork is whose work counts, and how much is asked for: the more people of a prefix
// have just tried, the more it is. This machine is not counted.
func (s *Server) registerWork(r *http.Request) (who string, bits int) {
	ip := s.clientIP(r)
	prefix := limit.Prefix(ip).String()
	if ip.IsLoopback() {
		return "register " + prefix, 0
	}
	left, burst, _ := s.limits.register.Left(prefix)
	return "register " + prefix, work.Bits(left, burst)
}

// register makes a login, and shows how its owner goes on.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	reg := s.opts.Registration
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); reg == nil || err != nil {
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
	}
	say := s.tongue(r).Say
	form := s.registerForm(r)
	form.Name = strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))
	form.Name = strings.TrimSuffix(form.Name, "@"+reg.Domain)
	fail := func(status int, key string, values ...any) {
		form.Problem = say("setup.register."+key, values...)
		s.showDownload(w, r, status, form)
	}
	login := form.Name + "@" + reg.Domain
	given, invited := openCode(s.keys.invite, r.PostFormValue("invitation"), time.Now())
	who, bits := s.registerWork(r)
	switch {
	case !localPart.MatchString(form.Name) || strings.Contains(form.Name, ".."):
		fail(http.StatusBadRequest, "name")
		return
	case password.CheckFor(login, r.PostFormValue("password")) != nil:
		fail(http.StatusBadRequest, "password")
		return
	case reg.Invited && (!invited || given.Login != ""):
		fail(http.StatusForbidden, "invitation")
		return
	case bits > 0 && !s.work.Done(who, r.PostFormValue("work")):
		fail(http.StatusTooManyRequests, "work")
		return
	}
	// Whoever asks for names, to learn which are taken, comes to this end soon.
	if wait := s.limits.register.WaitOf(s.clientIP(r)); wait > 0 {
		retryAfter(w, wait)
		fail(http.StatusTooManyRequests, "often", "n", int(wait/time.Minute)+1)
		return
	}
	if slices.Contains(reserved, form.Name) {
		fail(http.StatusConflict, "taken")
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), signInTimeout)
	defer cancel()
	if reg.Invited {
		switch first, err := s.opts.Relay.UseCode(ctx, given.ID, given.Until); {
		case err != nil:
			s.log.Warn("using an invitation", "err", err)
			s.downPage(w, r)
			return
		case !first:
			fail(http.StatusForbidden, "invitation")
			return
		}
	}
	if err := reg.Create(ctx, login, r.PostFormValue("password")); err != nil {
		if reg.Invited {
			if err := s.opts.Relay.ReturnCode(ctx, given.ID); err != nil {
				s.log.Warn("giving an invitation back", "err", err)
			}
		}
		if errors.Is(err, ErrTaken) {
			fail(http.StatusConflict, "taken")
			return
		}
		s.log.Error("registering a login", "err", err)
		s.downPage(w, r)
		return
	}
	s.log.Info("a login was registered", "login", login, "addr", s.clientIP(r))
	s.signedIn(w, login, time.Now())
	s.showSetup(w, r, login, true)
}

// Invite makes an invitation to register, as the address of the page.
func (s *Server) Invite(life time.Duration) (link string, err error) {
	switch reg := s.opts.Registration; {
	case reg == nil:
		return "", errors.New("nobody registers here: set `registration invite DOMAIN` in the block web first")
	case life <= 0 || life > maxInvitation:
		return "", errors.New("an invitation is good for 90 days at most")
	case s.keys.invite == nil:
		return "", errors.New("the server has not started yet: try again soon")
	}
	code := newCode(s.keys.invite, "", time.Now().Add(life))
	return s.origin() + "/download?invitation=" + url.QueryEscape(code) + "#register", nil
}

// origin is the address of these pages.
func (s *Server) origin() string { return s.opts.Base.Scheme + "://" + s.opts.Base.Host }

// setupView is the page /setup: how the mail program and the program are set up.
type setupView struct {
	Login, Host string
	Servers     []mailclient.Server
	Fresh       bool   // it was registered just now
	Link        string // with a code that signs a program in
	Minutes     int
	QR          string // the dark squares of a QR code, as a path of SVG
	Size        int    // of the QR code with its margin, in squares
}

// setupPage shows who is signed in how to set up their computer.
func (s *Server) setupPage(w http.ResponseWriter, r *http.Request) {
	who, err := s.session(r)
	switch {
	case errors.Is(err, errNoSession) || err == nil && who.Device != "":
		say := s.tongue(r).Say
		s.page(w, r, http.StatusUnauthorized, shown{title: say("setup.title"), template: "notice", with: notice{
			Head: say("setup.title"), Lines: []string{say("setup.signIn")},
			Link: "/desk", Label: say("landing.signIn")}})
	case err != nil:
		s.log.Warn("showing the setup page", "err", err)
		s.downPage(w, r)
	default:
		s.showSetup(w, r, who.Login, false)
	}
}

func (s *Server) showSetup(w http.ResponseWriter, r *http.Request, login string, fresh bool) {
	view := setupView{Login: login, Fresh: fresh, Minutes: int(setupLife / time.Minute),
		Link: s.origin() + "/setup#" + s.setupCode(login)}
	if mail := s.opts.MailPrograms; mail != nil {
		view.Host = mail.Host
		for _, m := range mail.Servers() {
			if !slices.ContainsFunc(view.Servers, func(o mailclient.Server) bool { return o.Protocol == m.Protocol }) {
				view.Servers = append(view.Servers, m)
			}
		}
	}
	code, err := qr.Encode(view.Link, qr.M)
	if err != nil { // a link is shorter than a code may be
		panic(err)
	}
	view.QR, view.Size = modulesOf(code), code.Size+8
	s.page(w, r, http.StatusOK, shown{title: s.tongue(r).Say("setup.title"), template: "setup", with: view, more: true})
}

// modulesOf draws the dark squares of a QR code, with the margin of 4 that it needs.
func modulesOf(code *qr.Code) string {
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+4, y+4)
			}
		}
	}
	return path.String()
}
