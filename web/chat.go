// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
)

// The cookies of a chat. chmail_claim is one secret per browser; chmail_mine,
// one for each link, says which links it has come in through, so that a GET
// needs to ask nobody.
const (
	claimCookie = "chmail_claim"
	mineCookie  = "chmail_mine"
)

// Links is what the pages behind links ask of the relay, which documents each.
type Links interface {
	Card(ctx context.Context, token string) (chatrelay.Card, error)
	Chat(ctx context.Context, token, claim string, how chatrelay.Claim) (chatrelay.Entry, error)
	Ticket(ctx context.Context, token, claim string) (chatrelay.Entry, error)
	SendCode(ctx context.Context, token string) (to string, err error)
	StopUnread(ctx context.Context, token string, stop bool) error
}

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
	s.setCookie(w, mineCookie, s.keys.mine.Mark(mineText(token, claim)), "/c/"+token, claimTTL)
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
		To: chat.Masked(card.Invite.Recipient.Addr), Guest: &s.opts.Guests,
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
		s.log.Warn("asking the relay", "err", err)
		retryAfter(w, 5*time.Second)
		refuse(w, http.StatusServiceUnavailable, "unavailable", "Not possible at the moment: try again soon.")
	}
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
	return ok && err == nil && s.keys.mine.Marks(mark.Value, mineText(token, claim))
}

// mineText is what the mark of a browser in a link's cookie is made of.
func mineText(token, claim string) string { return token + "\x00" + claim }

// guestName is one line of at most maxGuest characters that can be seen.
func guestName(s string) string { return clean.Line(s, maxGuest, 4*maxGuest) }

// digits lets people type "123 456"; it leaves other things for the relay to
// refuse.
func digits(code string) string { return strings.Join(strings.Fields(code), "") }
