// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/clean"
)

// The cookies of a chat. chmail_claim is one secret per browser; chmail_mine,
// one for each link, says which links it has come in through, so that a GET
// needs to ask nobody.
const (
	claimCookie = "chmail_claim"
	mineCookie  = "chmail_mine"
)

// isToken reports whether s has the form of a link's token: 128 bits in
// base64url.
func isToken(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 16
}

// chatRequest is the body of the POSTs of a chat page.
type chatRequest struct {
	Nonce string `json:"nonce"`
	Code  string `json:"code"`
	Guest string `json:"guest"`
	Ring  bool   `json:"ring"`
}

// begin checks what the three POSTs have in common; otherwise it has answered
// and reports false.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) (token string, req chatRequest, ok bool) {
	w.Header().Set("X-Robots-Tag", "noindex")
	token = r.PathValue("token")
	if !isToken(token) {
		s.failed(w, chat.ErrUnknown)
		return token, req, false
	}
	if wait := s.limits.link.Wait(token); wait > 0 {
		tooOften(w, wait)
		return token, req, false
	}
	if !read(w, r, &req) {
		return token, req, false
	}
	if !s.nonceHolds(token, req.Nonce, time.Now()) {
		refuse(w, http.StatusForbidden, "nonce", "Load the page again: what it sent is missing or too old.")
		return token, req, false
	}
	return token, req, true
}

// chat claims a link for this browser and answers with the way in.
func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	token, req, ok := s.begin(w, r)
	if !ok {
		return
	}
	claim, ok := s.claim(r)
	if !ok {
		claim = newClaim()
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	how := chatrelay.Claim{Code: digits(req.Code), Ring: req.Ring, From: s.clientIP(r)}
	if s.opts.Guests { // the relay lets in whoever is named here
		how.Guest = guestName(req.Guest)
	}
	entry, err := s.opts.Relay.Chat(ctx, token, claim, how)
	if errors.Is(err, chat.ErrClaimed) {
		s.claimed(ctx, w, token)
		return
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	s.setCookie(w, claimCookie, claim, "/c/", claimTTL)
	s.setCookie(w, mineCookie, s.mineMark(token, claim), "/c/"+token, claimTTL)
	answer(w, http.StatusOK, entry)
}

// claimed answers that another browser holds the link, and what can be done.
func (s *Server) claimed(ctx context.Context, w http.ResponseWriter, token string) {
	card, err := s.opts.Relay.Card(ctx, token)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusConflict, refusal{
		Error: "claimed", Text: "Another browser uses this link: confirm with a code from the mailbox it was sent to.",
		To: masked(card.Invite.Recipient.Addr), Guest: &s.opts.Guests,
	})
}

// ticket lets a browser that has claimed the link come back.
func (s *Server) ticket(w http.ResponseWriter, r *http.Request) {
	token, _, ok := s.begin(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	entry, err := chatrelay.Entry{}, chat.ErrUnknown
	if claim, ok := s.claim(r); ok {
		entry, err = s.opts.Relay.Ticket(ctx, token, claim)
	}
	if errors.Is(err, chat.ErrUnknown) {
		// Either there is no such link, or it is not this browser's.
		if _, err = s.opts.Relay.Card(ctx, token); err == nil {
			refuse(w, http.StatusForbidden, "claim", "This browser has not come in through this link.")
			return
		}
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, entry)
}

// code mails a confirmation code to the one whose link it is.
func (s *Server) code(w http.ResponseWriter, r *http.Request) {
	token, _, ok := s.begin(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	to, err := s.opts.Relay.SendCode(ctx, token)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, struct {
		To string `json:"to"`
	}{to})
}

// failed says an error of the relay as JSON.
func (s *Server) failed(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, chat.ErrUnknown):
		refuse(w, http.StatusNotFound, "unknown", "There is no such conversation.")
	case errors.Is(err, chat.ErrExpired):
		refuse(w, http.StatusGone, "expired", "The link is too old.")
	case errors.Is(err, chat.ErrRevoked):
		refuse(w, http.StatusGone, "revoked", "The link was taken back.")
	case errors.Is(err, chat.ErrClaimed):
		refuse(w, http.StatusConflict, "claimed", "Another browser uses this link.")
	case errors.Is(err, chat.ErrCode):
		refuse(w, http.StatusForbidden, "code", "The code is wrong, used or too old.")
	case errors.Is(err, chat.ErrFull):
		retryAfter(w, 20*time.Minute) // codes come back within the hour; a full link may not
		refuse(w, http.StatusTooManyRequests, "full", "This link was used too often.")
	default:
		s.opts.Log("asking the relay failed", "error", err)
		retryAfter(w, 5*time.Second)
		refuse(w, http.StatusServiceUnavailable, "unavailable", "Not possible at the moment: try again soon.")
	}
}

// chatSocket is the WebSocket carrier of a room; the ticket in its first
// frame says whose, so pages of the other relays may open it too.
func (s *Server) chatSocket(w http.ResponseWriter, r *http.Request) {
	if !s.ownPage(r) && !s.opts.Relay.OwnOrigin(r.Header.Get("Origin")) {
		refuse(w, http.StatusForbidden, "origin", "This request came from another site.")
		return
	}
	s.socket(w, r, "room", func(ctx context.Context, c carrier.Conn) { s.opts.Relay.ServeRoom(ctx, c) })
}

// ownPage says whether a page of this front door sent the request, or a program,
// which names no origin. A proxy may have rewritten Host.
func (s *Server) ownPage(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && (strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, s.opts.Base.Host))
}

// socket upgrades a request whose origin was checked and serves it until it is over or
// the server goes away. A goroutine of its own does that: net/http's has grown
// a large stack in the TLS handshake, and holds on to the request.
func (s *Server) socket(w http.ResponseWriter, r *http.Request, kind string, serve func(context.Context, carrier.Conn)) {
	if !s.open() {
		refuse(w, http.StatusServiceUnavailable, "shutdown", "The server goes away: connect again.")
		return
	}
	c, err := carrier.Upgrade(w, r, s.clientIP(r))
	if err != nil {
		s.sockets.Done()
		return // Upgrade has answered
	}
	socketsOpen.WithLabelValues(kind).Inc()
	go func() { // ends with the connection; Shutdown waits for it
		defer s.sockets.Done()
		defer socketsOpen.WithLabelValues(kind).Dec()
		defer c.Close("over")
		serve(s.ctx, c)
	}()
}

// claim is the secret of this browser.
func (s *Server) claim(r *http.Request) (string, bool) {
	c, err := r.Cookie(claimCookie)
	if err != nil || !isToken(c.Value) {
		return "", false
	}
	return c.Value, true
}

func newClaim() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// mine reports whether this browser came in through the link.
func (s *Server) mine(r *http.Request, token string) bool {
	claim, ok := s.claim(r)
	mark, err := r.Cookie(mineCookie)
	return ok && err == nil && same(mark.Value, s.mineMark(token, claim))
}

func (s *Server) mineMark(token, claim string) string {
	return seal(s.keys.mine, token+"\x00"+claim)
}

// masked shows enough of an address for its owner to know it: c…@mall.example.
func masked(addr string) string {
	_, first := utf8.DecodeRuneInString(addr)
	if at := strings.LastIndexByte(addr, '@'); at >= first && at > 0 {
		return addr[:first] + "…" + addr[at:]
	}
	return "…"
}

// guestName is one line of at most maxGuest characters that can be seen.
func guestName(s string) string { return clean.Line(s, maxGuest, 4*maxGuest) }

// digits lets people type "123 456"; it leaves other things for the relay to
// refuse.
func digits(code string) string { return strings.Join(strings.Fields(code), "") }
