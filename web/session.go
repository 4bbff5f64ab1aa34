// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Sessions is what the sign-in asks of the relay, which documents each. A
// session is ended there, because it may have devices and be in rooms.
type Sessions interface {
	SignedIn(ctx context.Context, session chat.Session) (bool, error)
	SignOut(ctx context.Context, login string) error
	EndSession(ctx context.Context, session chat.Session, expires time.Time) error
}

// A session of the desk is a sealed cookie, so that it survives a restart, is
// good at every front door that has the same key, and needs no table that an
// attacker could fill. Each request asks the relay whether it has been ended.
const sessionCookie = "chmail_session"

// session is what stands in the cookie.
type session struct {
	chat.Session           // it ends sessionLife after it began
	Used         time.Time `json:"u"` // when the cookie was made; the session ends sessionIdle later
}

// errNoSession: nobody is signed in, or not any more.
var errNoSession = errors.New("not signed in")

// session is the request's session. It errs with errNoSession, or with why
// the relay cannot say whether the session is good.
func (s *Server) session(r *http.Request) (session, error) {
	sealed, isToken := bearer(r)
	if !isToken {
		c, err := r.Cookie(sessionCookie)
		if err != nil {
			return session{}, errNoSession
		}
		sealed = c.Value
	}
	who, err := s.openSession(sealed, time.Now())
	if err == nil && isToken != (who.Device != "") {
		err = errNoSession // a cookie is no token, nor the other way round
	}
	if err != nil {
		return session{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	if good, err := s.opts.Relay.SignedIn(ctx, who.Session); err != nil {
		return session{}, err
	} else if !good {
		return session{}, errNoSession
	}
	return who, nil
}

// openSession reads a cookie or a token, and checks its seal and, unless it is a token, its age.
func (s *Server) openSession(value string, now time.Time) (who session, err error) {
	body, err := s.keys.session.Open(value)
	if err != nil || json.Unmarshal(body, &who) != nil ||
		who.Device == "" && (now.Sub(who.Began) > sessionLife || now.Sub(who.Used) > sessionIdle) {
		return session{}, errNoSession
	}
	return who, nil
}

// loginHeader names, percent-encoded, the login whose desk a page shows. Another tab of the browser may have
// signed in with another login since: the cookie is the browser's, the page is a tab's.
const loginHeader = "CHmail-Login"

// member is the session of the request; otherwise it has answered 401, 409 or 503. A page
// that names another login than the session's is refused, so that it acts for nobody else.
func (s *Server) member(w http.ResponseWriter, r *http.Request) (chat.Session, bool) {
	who, err := s.session(r)
	page, _ := url.PathUnescape(r.Header.Get(loginHeader))
	if page == "" && isSocket(r) { // a WebSocket of a page has no headers
		page = r.URL.Query().Get("login")
	}
	switch {
	case errors.Is(err, errNoSession):
		refuse(w, http.StatusUnauthorized, "sign-in", "Sign in first.")
	case err != nil:
		s.failed(w, err)
	case page != "" && !strings.EqualFold(page, who.Login):
		refuse(w, http.StatusConflict, "other-login", "This browser is signed in with another login.")
	default:
		return who.Session, true
	}
	return chat.Session{}, false
}

// signedIn begins a session. It began before its password was checked: with
// an old password nobody may come in after a new one was set.
func (s *Server) signedIn(w http.ResponseWriter, login string, began time.Time) {
	sealed := s.sealSession(session{chat.Session{Login: login, ID: newClaim(), Began: began}, began})
	s.setCookie(w, sessionCookie, sealed, "/", sessionIdle)
}

// keepSession makes the cookie anew when it is a day old.
func (s *Server) keepSession(w http.ResponseWriter, who session) {
	if now := time.Now(); who.Device == "" && now.Sub(who.Used) > 24*time.Hour {
		who.Used = now
		s.setCookie(w, sessionCookie, s.sealSession(who), "/", sessionIdle)
	}
}

func (s *Server) sealSession(who session) string {
	who.Began, who.Used = who.Began.UTC(), who.Used.UTC()
	b, err := json.Marshal(who)
	if err != nil { // strings and times
		panic(err)
	}
	return s.keys.session.Seal(b)
}

// signOut ends the session of this browser, whose cookie it takes away, or of this program.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	who, err := s.session(r)
	if err == nil {
		// A copy of the cookie may be as new as this moment.
		expires := time.Now().Add(sessionIdle)
		if last := who.Began.Add(sessionLife); last.Before(expires) {
			expires = last
		}
		if who.Device != "" {
			expires = tokenEnd(who.Session)
		}
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		err = s.opts.Relay.EndSession(ctx, who.Session, expires)
	}
	s.forgetSession(w)
	if err != nil && !errors.Is(err, errNoSession) {
		s.failed(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// signOutEverywhere ends all sessions of the login, that of this browser too.
func (s *Server) signOutEverywhere(w http.ResponseWriter, r *http.Request) {
	who, ok := s.member(w, r)
	if !ok || !read(w, r, &struct{}{}) {
		return
	}
	if wait := s.limits.desk.Wait(who.Login); wait > 0 {
		tooOften(w, wait)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	if err := s.opts.Relay.SignOut(ctx, who.Login); err != nil {
		s.failed(w, err)
		return
	}
	s.forgetSession(w)
	w.WriteHeader(http.StatusNoContent)
}

// tokenEnd is until when the end of a token is remembered: a token has no age.
func tokenEnd(of chat.Session) time.Time { return of.Began.AddDate(100, 0, 0) }

func (s *Server) forgetSession(w http.ResponseWriter) {
	s.setCookie(w, sessionCookie, "", "/", -time.Second)
}

// setCookie sets a cookie that scripts cannot read and that other sites'
// requests do not carry. A negative life removes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value, path string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: int(life / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.https,
	})
}

// setFramedCookie sets one for a page in a frame of another site: browsers keep it for
// that site alone. They take it over http only at localhost.
func (s *Server) setFramedCookie(w http.ResponseWriter, name, value, path string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: int(life / time.Second),
		HttpOnly: true, SameSite: http.SameSiteNoneMode, Secure: true, Partitioned: true,
	})
}

// nonce is what a chat page's POST must bring along: proof that the page of
// this very link was loaded within nonceTTL. It is bound to no cookie, since
// a GET sets none; the origin check keeps other sites out.
func (s *Server) nonce(token string, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 36)
	return at + "." + s.keys.nonce.Mark(token+"\x00"+at)
}

func (s *Server) nonceHolds(token, nonce string, now time.Time) bool {
	at, mark, _ := strings.Cut(nonce, ".")
	made, err := strconv.ParseInt(at, 36, 64)
	if err != nil || !s.keys.nonce.Marks(mark, token+"\x00"+at) {
		return false
	}
	age := now.Sub(time.Unix(made, 0))
	return age < nonceTTL && age > -time.Minute // another front door's clock may be ahead
}

// deviceID names one connection of a desk.
func deviceID() string { return "desk-" + strings.ToLower(rand.Text()[:16]) }
