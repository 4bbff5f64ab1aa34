// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

const (
	langLife       = 365 * 24 * time.Hour
	registerCookie = "mall_register" // the browser that registered
)

func (s *Server) memberRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /language", s.language)
	mux.HandleFunc("GET /register", s.registerPage)
	mux.HandleFunc("POST /register", s.register)
	mux.HandleFunc("GET /confirm/{link}", s.confirmPage)
	mux.HandleFunc("POST /confirm/{link}", s.confirm)
	mux.HandleFunc("GET /sign-in", s.signInPage)
	mux.HandleFunc("POST /sign-in", s.signIn)
	mux.HandleFunc("POST /sign-out", s.signOut)
	mux.HandleFunc("POST /join", s.join)
}

// entry is what the pages show at which somebody comes in.
type entry struct {
	Form     *form
	Kept     string // the form that waits, sealed
	Next     string // where to go then
	What     template.HTML
	Passkeys bool // members can have them
}

// kept is a form that waits until its sender has signed in.
type kept struct {
	Path   string     `json:"path"`
	Values url.Values `json:"values"`
	Until  time.Time  `json:"until"`
}

// keep seals the form of a request, so that it goes through the browser unchanged.
func (s *Server) keep(path string, values url.Values) string {
	b, err := json.Marshal(kept{path, values, time.Now().Add(mall.ConfirmWithin)})
	if err != nil { // texts
		panic(err)
	}
	return s.keys.kept.Seal(b)
}

// keptForm opens what keep sealed.
func (s *Server) keptForm(sealed string) (k kept, ok bool) {
	b, err := s.keys.kept.Open(sealed)
	return k, err == nil && json.Unmarshal(b, &k) == nil && time.Now().Before(k.Until)
}

// language keeps the language that the reader chose.
func (s *Server) language(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if lang := f.Get("lang"); isLanguage(lang) {
		s.setCookie(w, langCookie, lang, langLife)
		if m := visitor(r).Member; m != nil {
			if err := s.store.SetLang(r.Context(), m.ID, lang); err != nil {
				s.failed(w, r, err)
				return
			}
		}
	}
	see(w, r, localPath(f.Get("back")))
}

// member is the member who asks. Otherwise it has answered: with the page to sign in
// at, which keeps what was typed, or with what becoming a member means.
func (s *Server) member(w http.ResponseWriter, r *http.Request) (mall.Visitor, bool) {
	v, ok := s.login(w, r)
	if ok && v.Member == nil {
		e := entry{Form: blank(), Next: r.URL.RequestURI()}
		s.wait(r, &e)
		s.joinPage(w, r, http.StatusForbidden, e)
		return v, false
	}
	return v, ok
}

// login is the login that asks, member or not, such as staff. Otherwise it has
// answered as member does.
func (s *Server) login(w http.ResponseWriter, r *http.Request) (mall.Visitor, bool) {
	v := visitor(r)
	if v.Login != "" {
		return v, true
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		see(w, r, "/sign-in?next="+url.QueryEscape(r.URL.RequestURI()))
		return v, false
	}
	e := entry{Form: blank(), Next: "/"}
	s.wait(r, &e)
	e.What = tongue(r).HTML("mall.signIn.first")
	s.signInAgain(w, r, http.StatusUnauthorized, e)
	return v, false
}

// wait keeps the form of a request in an entry.
func (s *Server) wait(r *http.Request, e *entry) {
	if r.Body != nil {
		r.Body = http.MaxBytesReader(nil, r.Body, maxForm/2) // sealed, it is to fit into a form
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		return // files are chosen again
	}
	if r.Method == http.MethodPost && r.ParseForm() == nil {
		e.Kept, e.Next = s.keep(r.URL.RequestURI(), r.PostForm), "/"
	}
}

func (s *Server) registerPage(w http.ResponseWriter, r *http.Request) {
	s.registerAgain(w, r, http.StatusOK, entry{Form: blank(), Next: localPath(r.URL.Query().Get("next"))})
}

func (s *Server) registerAgain(w http.ResponseWriter, r *http.Request, status int, e entry) {
	e.Passkeys = s.mall.HasPasskeys()
	s.page(w, r, status, s.tasked(r, page{Title: tongue(r).Say("mall.register"), Template: "register", Data: e},
		"register", s.prefixLoad(r, s.limits.register)))
}

// register takes what a new member typed and mails them a link.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	e := entry{Form: f, Kept: f.Get("kept"), Next: localPath(f.Get("next"))}
	if f.On("switch") { // from the page to sign in at
		e.Form = blank()
		s.registerAgain(w, r, http.StatusOK, e)
		return
	}
	say := tongue(r).Say
	name, addr := personName(r, f), f.Get("email")
	if parsed, err := mail.ParseAddress(addr); err != nil || parsed.Address != addr || len(addr) > 254 {
		f.Fail("email", say("mall.register.address"))
	}
	byKey := f.Get("passkey") != ""
	if err := password.Check(f.Values.Get("password")); err != nil && !byKey {
		f.Fail("password", say("mall.register.password", "n", password.MinLength))
	}
	if !f.OK() {
		s.registerAgain(w, r, http.StatusUnprocessableEntity, e)
		return
	}
	if !s.worked(w, r, f, "register", s.prefixLoad(r, s.limits.register)) {
		s.registerAgain(w, r, http.StatusTooManyRequests, e)
		return
	}
	if wait := s.limits.register.WaitOf(s.clientIP(r)); wait > 0 {
		s.tooOften(w, r, wait)
		return
	}
	reg := mall.Registration{Name: name, Addr: addr, Lang: tongue(r).Lang, Password: f.Values.Get("password"),
		Consents: s.consents(r, f), IP: s.clientIP(r), Kept: e.Kept, Next: e.Next}
	if byKey {
		reg.Password, reg.Ticket, reg.Response = "", f.Get("ticket"), f.Get("passkey")
	}
	browser, err := s.mall.Register(r.Context(), reg)
	var refused *chat.RefusedError
	switch {
	case errors.As(err, &refused):
		f.Fail("email", say("mall.register.refused"))
		s.registerAgain(w, r, http.StatusUnprocessableEntity, e)
	case errors.Is(err, mall.ErrPasskey):
		f.Fail("password", say("mall.passkey.failed"))
		s.registerAgain(w, r, http.StatusUnprocessableEntity, e)
	case err != nil:
		s.failed(w, r, err)
	default:
		s.setCookie(w, registerCookie, browser, mall.ConfirmWithin)
		s.notice(w, r, http.StatusOK, "sent", "address", addr)
	}
}

// personName is the name that somebody typed, without what cannot be seen.
func personName(r *http.Request, f *form) string {
	typed := f.Get("name")
	name := clean.Name(typed)
	if name == "" || utf8.RuneCountInString(typed) > clean.MaxName {
		f.Fail("name", tongue(r).Say("mall.register.name", "n", clean.MaxName))
	}
	return name
}

// consents are the ticked ones, with the words that were read.
func (s *Server) consents(r *http.Request, f *form) (given []mall.Agreement) {
	for _, what := range []string{store.ConsentPublicity, store.ConsentRecord} {
		if f.On(what) {
			given = append(given, mall.Agreement{What: what, Wording: tongue(r).Say("mall.consent." + what)})
		}
	}
	return given
}

// confirmPage changes nothing: scanners follow every link.
func (s *Server) confirmPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Referrer-Policy", "no-referrer")
	pending, err := s.mall.Pending(r.Context(), r.PathValue("link"))
	if errors.Is(err, store.ErrUnknown) {
		s.notice(w, r, http.StatusGone, "used")
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("mall.confirm"), Template: "confirm", Data: pending})
}

func (s *Server) confirm(w http.ResponseWriter, r *http.Request) {
	browser := ""
	if c, err := r.Cookie(registerCookie); err == nil {
		browser = c.Value
	}
	login, cookie, waited, err := s.mall.Confirm(r.Context(), r.PathValue("link"), browser)
	switch {
	case errors.Is(err, store.ErrUnknown):
		s.notice(w, r, http.StatusGone, "used")
		return
	case err != nil:
		s.failed(w, r, err)
		return
	case cookie == "": // another browser than the one that registered
		s.signInAgain(w, r, http.StatusOK, entry{Form: blank("login", login), Next: "/",
			What: tongue(r).HTML("mall.confirmed", "login", login)})
		return
	}
	s.setCookie(w, registerCookie, "", -time.Second)
	s.setCookie(w, sessionCookie, cookie, store.SessionIdle)
	s.goOn(w, r, waited.Kept, waited.Next)
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	s.signInAgain(w, r, http.StatusOK, entry{Form: blank(), Next: localPath(r.URL.Query().Get("next"))})
}

func (s *Server) signInAgain(w http.ResponseWriter, r *http.Request, status int, e entry) {
	e.Passkeys = s.mall.HasPasskeys()
	s.page(w, r, status, s.tasked(r, page{Title: tongue(r).Say("mall.signIn"), Template: "sign-in", Data: e},
		"sign in", s.wrongLoads(r, e.Form)...))
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	e := entry{Form: f, Kept: f.Get("kept"), Next: localPath(f.Get("next"))}
	loads := s.wrongLoads(r, f)
	if !s.worked(w, r, f, "sign in", loads...) {
		s.signInAgain(w, r, http.StatusTooManyRequests, e)
		return
	}
	var login, cookie string
	var err error
	if f.Get("passkey") != "" {
		login, cookie, err = s.mall.PasskeySignIn(r.Context(), f.Get("ticket"), f.Get("passkey"))
	} else {
		login, cookie, err = s.mall.SignIn(r.Context(), f.Get("login"), f.Values.Get("password"), s.clientIP(r))
	}
	if errors.Is(err, mall.ErrPasskey) || errors.Is(err, signin.ErrWrong) {
		for _, l := range loads {
			if l.key != "" {
				l.of.Wait(l.key)
			}
		}
	}
	var busy *signin.BusyError
	var disabled *signin.DisabledError
	switch {
	case errors.As(err, &busy):
		s.tooOften(w, r, busy.After)
		return
	case errors.As(err, &disabled):
		f.Fail("password", tongue(r).Say("addresses.disabled"))
		s.signInAgain(w, r, http.StatusUnprocessableEntity, e)
		return
	case errors.Is(err, mall.ErrPasskey):
		f.Fail("password", tongue(r).Say("mall.passkey.failed"))
		s.signInAgain(w, r, http.StatusUnprocessableEntity, e)
		return
	case errors.Is(err, signin.ErrWrong):
		f.Fail("password", tongue(r).Say("mall.signIn.wrong"))
		s.signInAgain(w, r, http.StatusUnprocessableEntity, e)
		return
	case err != nil:
		s.failed(w, r, err)
		return
	}
	s.setCookie(w, sessionCookie, cookie, store.SessionIdle)
	_, err = s.store.MemberByLogin(r.Context(), login)
	if errors.Is(err, store.ErrUnknown) && !strings.HasPrefix(e.Next,
		"/console") { // whoever works in a shop need not buy
		e.Form = blank()
		s.joinPage(w, r, http.StatusOK, e)
		return
	}
	s.goOn(w, r, e.Kept, e.Next)
}

// wrongLoads are what wrong sign-ins count for: the client's prefix, and the login.
func (s *Server) wrongLoads(r *http.Request, f *form) []load {
	return []load{s.prefixLoad(r, s.limits.wrong), {s.limits.wrong, strings.ToLower(f.Get("login"))}}
}

// goOn offers the form that waited, or goes to where its reader was.
func (s *Server) goOn(w http.ResponseWriter, r *http.Request, sealed, next string) {
	if k, ok := s.keptForm(sealed); ok {
		s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("mall.kept"), Template: "kept", Data: k})
		return
	}
	see(w, r, localPath(next))
}

// joinPage asks the owner of an account whether they want to be a member.
func (s *Server) joinPage(w http.ResponseWriter, r *http.Request, status int, e entry) {
	s.page(w, r, status, page{Title: tongue(r).Say("mall.join"), Template: "join", Data: e})
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	v := visitor(r)
	if v.Login == "" {
		see(w, r, "/sign-in")
		return
	}
	e := entry{Form: f, Kept: f.Get("kept"), Next: localPath(f.Get("next"))}
	if v.Member == nil {
		name := personName(r, f)
		if !f.OK() {
			s.joinPage(w, r, http.StatusUnprocessableEntity, e)
			return
		}
		err := s.mall.Join(r.Context(), v.Login, mall.Registration{Name: name, Lang: tongue(r).Lang,
			Consents: s.consents(r, f), IP: s.clientIP(r)})
		if err != nil && !errors.Is(err, store.ErrTaken) { // pressed twice
			s.failed(w, r, err)
			return
		}
	}
	s.goOn(w, r, e.Kept, e.Next)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		if err := s.mall.EndSession(r.Context(), c.Value); err != nil {
			s.failed(w, r, err)
			return
		}
	}
	s.setCookie(w, sessionCookie, "", -time.Second)
	see(w, r, "/")
}
