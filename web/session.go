// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A session of the desk is a signed cookie, so that it survives a restart and
// is good at every front door that has the same key, without a table that an
// attacker could fill. What a cookie cannot do is end early: sign-out puts the
// session's id into a bounded set of this process, and the browser forgets
// the cookie. After a restart only somebody who had copied the cookie before
// the sign-out could use it, until it ends by itself; to end all sessions at
// once, replace the key.
const sessionCookie = "chmail_session"

// session is who is signed in.
type session struct {
	login string
	id    string    // 128 random bits
	began time.Time // signed in; it ends sessionLife later
	used  time.Time // the cookie was made; it ends sessionIdle later
}

// sessionJSON is how a session stands in its cookie; times are Unix seconds.
type sessionJSON struct {
	Login string `json:"l"`
	ID    string `json:"i"`
	Began int64  `json:"b"`
	Used  int64  `json:"u"`
}

// session is the request's session, if it has one that holds.
func (s *Server) session(r *http.Request) (session, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	return s.openSession(c.Value, time.Now())
}

func (s *Server) openSession(value string, now time.Time) (session, bool) {
	text, ok := s.unseal(s.keys.session, value)
	if !ok {
		return session{}, false
	}
	var j sessionJSON
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return session{}, false
	}
	who := session{login: j.Login, id: j.ID, began: time.Unix(j.Began, 0), used: time.Unix(j.Used, 0)}
	if now.Sub(who.began) > sessionLife || now.Sub(who.used) > sessionIdle || s.revoked.Has(who.id) {
		return session{}, false
	}
	return who, true
}

// signedIn begins a session.
func (s *Server) signedIn(w http.ResponseWriter, login string) {
	now := time.Now()
	s.setSession(w, session{login: login, id: newClaim(), began: now, used: now})
}

// keepSession makes the cookie anew when it is a day old.
func (s *Server) keepSession(w http.ResponseWriter, who session) {
	if now := time.Now(); now.Sub(who.used) > 24*time.Hour {
		who.used = now
		s.setSession(w, who)
	}
}

func (s *Server) setSession(w http.ResponseWriter, who session) {
	b, err := json.Marshal(sessionJSON{who.login, who.id, who.began.Unix(), who.used.Unix()})
	if err != nil { // strings and numbers
		panic(err)
	}
	text := base64.RawURLEncoding.EncodeToString(b)
	s.setCookie(w, sessionCookie, text+"."+seal(s.keys.session, text), "/", sessionIdle)
}

// endSession revokes a session and takes its cookie away.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	if who, ok := s.session(r); ok {
		s.revoked.Change(who.id, func(gone *bool) { *gone = true })
	}
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

// nonce is what a chat page's POST must bring along: proof that the page of
// this very link was loaded within nonceTTL. It is bound to no cookie, since
// a GET sets none; the origin check keeps other sites out.
func (s *Server) nonce(token string, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 36)
	return at + "." + seal(s.keys.nonce, token+"\x00"+at)
}

func (s *Server) nonceHolds(token, nonce string, now time.Time) bool {
	at, mark, _ := strings.Cut(nonce, ".")
	made, err := strconv.ParseInt(at, 36, 64)
	if err != nil || !same(mark, seal(s.keys.nonce, token+"\x00"+at)) {
		return false
	}
	age := now.Sub(time.Unix(made, 0))
	return age < nonceTTL && age > -time.Minute // another front door's clock may be ahead
}

// unseal checks "base64url text.mark" and returns the text decoded.
func (s *Server) unseal(key []byte, value string) (string, bool) {
	text, mark, ok := strings.Cut(value, ".")
	if !ok || !same(mark, seal(key, text)) {
		return "", false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	return string(b), err == nil
}

// seal is the HMAC-SHA-256 of text.
func seal(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// same compares two marks in a time that tells nothing.
func same(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// deviceID names one connection of a desk.
func deviceID() string { return "desk-" + strings.ToLower(rand.Text()[:16]) }
