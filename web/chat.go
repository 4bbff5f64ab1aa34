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
	"github.com/chmail/chmail/chatrelay/pass"
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
	After(ctx context.Context, token, claim string, wish chatrelay.Afterwards) error
	Secret(purpose string) ([]byte, error)
}

// isToken reports whether s has the form of a link's token: 128 bits in
// base64url.
func isToken(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 16
}

// tokenBefore is the token with which s begins, where what follows belongs to the
// text that the link stood in: a full stop, a bracket, a word in another script.
func tokenBefore(s string) (token string, ok bool) {
	const length = 22
	if len(s) <= length || !isToken(s[:length]) {
		return "", false
	}
	next := s[length]
	return s[:length], !('0' <= next && next <= '9' || 'a' <= next|0x20 && next|0x20 <= 'z')
}

// chatRequest is the body of the POSTs of a chat page.
type chatRequest struct {
	Nonce string `json:"nonce"`
	Code  string `json:"code"`
	Guest string `json:"guest"`
	// Password of the recipient's account, which proves the link to be theirs.
	Password string `json:"password"`
	Ring     bool   `json:"ring"`
	// Shown: the page has said who learns of a recipient in Bcc.
	Shown bool   `json:"shown"`
	Pass  string `json:"pass"` // with which the page was loaded
	// Of whoever has left:
	Transcript bool   `json:"transcript"`
	Zone       string `json:"zone"`
	Rating     string `json:"rating"`
}

// pass reads the pass that another page of this server gave for a link: the login that
// it proves, empty where it is too old, and whether the link's page is in a frame of
// that one.
func (s *Server) pass(sealed, token string) (p pass.Pass, framed bool) {
	p, err := pass.Open(s.keys.pass, sealed, token, time.Now())
	if errors.Is(err, pass.ErrExpired) {
		p.Login = ""
	}
	return p, len(p.Frames) > 0
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

// prover is the login that proves a link to be its own: that of a pass, the one that is
// signed in at this browser, or the recipient's with the password that came along. Otherwise it
// has answered and reports false.
func (s *Server) prover(w http.ResponseWriter, r *http.Request, token string, req chatRequest) (login string, ok bool) {
	if p, _ := s.pass(req.Pass, token); p.Login != "" {
		return p.Login, true
	}
	if req.Password == "" {
		who, err := s.session(r)
		if err != nil && !errors.Is(err, errNoSession) {
			s.failed(w, err)
			return "", false
		}
		return who.Login, true
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	card, err := s.opts.Relay.Card(ctx, token)
	if err != nil {
		s.failed(w, err)
		return "", false
	}
	if !card.Account {
		refuse(w, http.StatusForbidden, "credentials", "Whoever this link was sent to has no account here.")
		return "", false
	}
	login, err = s.authenticate(r, card.Invite.Recipient.Login, req.Password)
	if err != nil {
		s.signInFailed(w, err, http.StatusForbidden)
		return "", false
	}
	return login, true
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
	login, ok := s.prover(w, r, token, req)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	how := chatrelay.Claim{Code: digits(req.Code), Login: login, Ring: req.Ring, From: s.clientIP(r),
		Shown: req.Shown}
	if s.opts.Guests { // the relay lets in whoever is named here
		how.Guest = guestName(req.Guest)
	}
	entry, err := s.opts.Relay.Chat(ctx, token, claim, how)
	if err != nil {
		s.log.Info("a link was not opened", "link", chat.LinkName(token), "addr", how.From, "login", login, "err", err)
	}
	if errors.Is(err, chat.ErrClaimed) || errors.Is(err, chat.ErrProve) {
		s.unproven(ctx, w, token, err)
		return
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	s.log.Info("a link was opened", "link", chat.LinkName(token), "room", entry.Room, "person", entry.Me,
		"attempt", entry.Attempt, "addr", how.From, "login", login, "code", how.Code != "", "guest", how.Guest != "")
	set := s.setCookie
	if _, framed := s.pass(req.Pass, token); framed {
		set = s.setFramedCookie
	}
	set(w, claimCookie, claim, "/c/", claimTTL)
	set(w, mineCookie, s.keys.mine.Mark(mineText(token, claim)), "/c/"+token, claimTTL)
	answer(w, http.StatusOK, entry)
}

// unproven answers that another browser holds the link (chat.ErrClaimed), or that the
// sender lets nobody in who has not proven whose it is, and what can be done.
func (s *Server) unproven(ctx context.Context, w http.ResponseWriter, token string, why error) {
	card, err := s.opts.Relay.Card(ctx, token)
	if err != nil {
		s.failed(w, err)
		return
	}
	guest := s.opts.Guests && !card.Prove
	no := refusal{To: chat.Masked(card.Invite.Recipient.Addr), Guest: &guest, Account: card.Account,
		Error: "claimed", Text: "Another browser uses this link: confirm with a code from the mailbox it was sent to."}
	if errors.Is(why, chat.ErrProve) {
		no.Error, no.Text = "prove", "Show first that this link is yours: with a code from the mailbox it was sent to."
	}
	answer(w, http.StatusConflict, no)
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
	switch {
	case errors.Is(err, chat.ErrProve):
		s.unproven(ctx, w, token, err)
		return
	case errors.Is(err, chat.ErrUnknown):
		// Either there is no such link, or it is not this browser's, or not any more.
		var card chatrelay.Card
		if card, err = s.opts.Relay.Card(ctx, token); err == nil {
			if card.Invite.Claimed && s.mine(r, token) {
				s.unproven(ctx, w, token, chat.ErrClaimed)
				return
			}
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

// after does what somebody asks for who has left the conversation: a transcript by
// mail, or to say how it went.
func (s *Server) after(w http.ResponseWriter, r *http.Request) {
	token, req, ok := s.begin(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	err := chat.ErrUnknown
	if claim, ok := s.claim(r); ok {
		err = s.opts.Relay.After(ctx, token, claim, chatrelay.Afterwards{
			Transcript: req.Transcript, Lang: s.tongue(r).Lang, Zone: req.Zone, Rating: req.Rating})
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
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
	case errors.Is(err, chat.ErrHidden):
		refuse(w, http.StatusConflict, "bcc", "The others learn of you, a recipient in Bcc: ask first, then send \"shown\".")
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
