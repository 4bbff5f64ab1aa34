// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/words"
)

//go:embed shell.html
var shellHTML string

var shell = template.Must(template.New("shell").Parse(shellHTML))

// view is what the shell shows: data for the script and, for those without
// it, the same in words.
type view struct {
	Lang   string
	Style  string
	Page   string // which page this is: "chat"; empty: one without script
	Script string
	Data   template.JS // JSON that html/template need not escape again
	Title  string
	Head   string
	Lines  []string
	Link   string // where the one link of the page leads
	Label  string
	Post   string // where its one button leads
}

// person is somebody on a card.
type person struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

func personOf(p chat.Participant) person { return person{Name: p.Name, Addr: p.Addr} }

func (p person) String() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Addr
}

// chatData is the page of a link that works.
type chatData struct {
	Page  string   `json:"page"` // "chat"
	Token string   `json:"token"`
	Nonce string   `json:"nonce"`
	Lang  string   `json:"lang"`
	Card  cardData `json:"card"`
	Mine  bool     `json:"mine"` // this browser has claimed the link
	// SignedIn: this browser is signed in as the recipient, which proves the link.
	SignedIn bool   `json:"signed_in,omitempty"`
	Reply    string `json:"reply"` // mailto: to answer by mail

	At time.Time `json:"at"` // now, for readers whose clock is wrong
}

type cardData struct {
	Callee    person       `json:"callee"`
	Recipient person       `json:"recipient"`
	Subject   string       `json:"subject"`
	Date      *time.Time   `json:"date,omitempty"`
	Status    frame.Status `json:"status"`
	Account   bool         `json:"account"`           // the recipient has one here, whose password proves the link
	Prove     bool         `json:"prove"`             // one must prove it before one may come in
	Gone      bool         `json:"gone"`              // the callee has no account here any more
	Waiting   []person     `json:"waiting,omitempty"` // others who are in the conversation now
	Bcc       *bccData     `json:"bcc,omitempty"`     // the recipient was in Bcc
}

// bccData says who learns that a recipient in Bcc is there.
type bccData struct {
	Name   string `json:"name"`
	Others int    `json:"others"` // besides that one
}

// goneData is the page of a link that does not work (any more).
type goneData struct {
	Page   string  `json:"page"` // "gone"
	Lang   string  `json:"lang"`
	Reason string  `json:"reason"`          // "unknown", "expired" or "revoked"
	Whose  string  `json:"whose,omitempty"` // whose link it was
	From   *person `json:"from,omitempty"`  // who wrote the mail it came with
	Reply  string  `json:"reply,omitempty"`
}

// deskData is the desk, signed in or not.
type deskData struct {
	Page    string  `json:"page"` // "desk"
	Lang    string  `json:"lang"`
	Login   *string `json:"login"` // null: not signed in
	Name    string  `json:"name"`
	Account bool    `json:"account"` // whether people change their passwords here
}

// landingData is the page at /.
type landingData struct {
	Page string          `json:"page"` // "landing"
	Lang string          `json:"lang"`
	Demo json.RawMessage `json:"demo"` // null unless this is the demo
}

// offlineData is the page that the service worker keeps for when the server
// cannot be reached.
type offlineData struct {
	Page string `json:"page"` // "offline"
	Lang string `json:"lang"`
}

// chatPage shows a link's card. Whoever follows the link, nothing happens.
func (s *Server) chatPage(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Robots-Tag", "noindex")
	token, lang := r.PathValue("token"), s.language(r)
	if clean, ok := tokenBefore(token); ok {
		http.Redirect(w, r, "/c/"+clean, http.StatusFound)
		return
	}
	say := spoken[lang]
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	card, err := chatrelay.Card{}, chat.ErrUnknown
	if isToken(token) {
		card, err = s.opts.Relay.Card(ctx, token)
	}
	from, reply := personOf(card.Invite.Callee), replyTo(card.Invite)
	gone := func(status int, reason string, data goneData) {
		data.Page, data.Lang, data.Reason = "gone", lang, reason
		v := view{Page: "gone", Title: say.gone[reason], Head: say.gone[reason], Lines: []string{say.goneHint[reason]}}
		if data.From != nil {
			v.Lines = append(v.Lines, fmt.Sprintf(say.from, from))
			v.Link, v.Label = reply, say.answer
		}
		s.page(w, r, status, v, data)
	}
	switch {
	case err == nil:
		data := chatData{
			Page: "chat", Token: token, Nonce: s.nonce(token, time.Now()), Lang: lang, Reply: reply,
			Mine: s.mine(r, token), At: time.Now().UTC(),
			Card: cardData{Callee: from, Recipient: personOf(card.Invite.Recipient),
				Subject: card.Invite.Subject, Status: card.Status,
				Account: card.Account, Prove: card.Prove, Gone: card.Gone, Bcc: bccOf(card)},
		}
		for _, p := range card.Waiting {
			data.Card.Waiting = append(data.Card.Waiting, personOf(p))
		}
		if who, err := s.session(r); err == nil && card.Account {
			data.SignedIn = strings.EqualFold(who.Login, card.Invite.Recipient.Login)
		}
		if !card.Invite.Date.IsZero() {
			data.Card.Date = &card.Invite.Date
		}
		lines := []string{fmt.Sprintf(say.subject, card.Invite.Subject)}
		if card.Gone {
			lines = append(lines, words.In(lang).Say("card.gone", "name", from))
		}
		s.page(w, r, http.StatusOK, view{Page: "chat",
			Title: fmt.Sprintf(say.chatTitle, from), Head: fmt.Sprintf(say.from, from),
			Lines: append(lines, say.needsScript),
			Link:  reply, Label: say.answer,
		}, data)
	case errors.Is(err, chat.ErrExpired), errors.Is(err, chat.ErrRevoked):
		reason := "expired"
		if errors.Is(err, chat.ErrRevoked) {
			reason = "revoked"
		}
		data := goneData{Whose: personOf(card.Invite.Recipient).String()}
		if from.Addr != "" {
			data.From, data.Reply = &from, reply
		}
		gone(http.StatusGone, reason, data)
	case errors.Is(err, chat.ErrUnknown):
		gone(http.StatusNotFound, "unknown", goneData{})
	default:
		s.log.Warn("showing a link", "err", err)
		retryAfter(w, 5*time.Second)
		s.plainPage(w, r, http.StatusServiceUnavailable, "down")
	}
}

// bccOf says who learns of a recipient in Bcc that they are there; nil: nobody.
func bccOf(card chatrelay.Card) *bccData {
	if len(card.Others) == 0 {
		return nil
	}
	return &bccData{Name: personOf(card.Others[0]).String(), Others: len(card.Others) - 1}
}

// replyTo is a mailto link (RFC 6068) that answers the mail of an invite.
func replyTo(inv chat.Invite) string {
	if inv.Callee.Addr == "" {
		return ""
	}
	subject := inv.Subject
	if len(subject) < 3 || !strings.EqualFold(subject[:3], "re:") {
		subject = "Re: " + subject
	}
	// Percent-encoding throughout: in a mailto, "+" is a plus sign.
	return "mailto:" + strings.ReplaceAll(url.PathEscape(inv.Callee.Addr), "%40", "@") +
		"?subject=" + strings.ReplaceAll(url.QueryEscape(subject), "+", "%20")
}

// offlinePage is fetched by the service worker, which keeps it.
func (s *Server) offlinePage(w http.ResponseWriter, r *http.Request) {
	lang := s.language(r)
	say := spoken[lang]
	s.page(w, r, http.StatusOK, view{Page: "offline", Title: say.desk, Head: say.plain["offline"][0], Lines: say.plain["offline"][1:]},
		offlineData{Page: "offline", Lang: lang})
}

func (s *Server) deskPage(w http.ResponseWriter, r *http.Request) {
	lang := s.language(r)
	data := deskData{Page: "desk", Lang: lang, Account: s.opts.Accounts != nil}
	switch who, err := s.session(r); {
	case err == nil:
		data.Login = &who.Login
		data.Name, _, _ = strings.Cut(who.Login, "@")
		s.keepSession(w, who)
	case !errors.Is(err, errNoSession):
		s.log.Warn("showing the desk", "err", err)
		retryAfter(w, 5*time.Second)
		s.plainPage(w, r, http.StatusServiceUnavailable, "down")
		return
	}
	say := spoken[lang]
	s.page(w, r, http.StatusOK, view{Page: "desk", Title: say.desk, Head: say.desk, Lines: []string{say.needsScript}}, data)
}

func (s *Server) landing(w http.ResponseWriter, r *http.Request) {
	lang := s.language(r)
	data := landingData{Page: "landing", Lang: lang}
	if s.opts.Landing != nil {
		demo, err := s.opts.Landing()
		switch {
		case err != nil:
			s.log.Warn("reading the landing page's data", "err", err)
		case len(demo) > MaxLanding || demo != nil && !json.Valid(demo):
			s.log.Warn("reading the landing page's data", "err", "it is not JSON of at most 64 KiB")
		default:
			data.Demo = demo
		}
	}
	say := spoken[lang]
	s.page(w, r, http.StatusOK, view{Page: "landing", Title: "CHmail", Head: "CHmail", Lines: []string{say.landing},
		Link: "/desk", Label: say.desk}, data)
}

// plainPage is a page without script: an address that leads nowhere, or
// trouble on this side.
func (s *Server) plainPage(w http.ResponseWriter, r *http.Request, status int, what string) {
	say := spoken[s.language(r)]
	s.page(w, r, status, view{Title: say.plain[what][0], Head: say.plain[what][0], Lines: say.plain[what][1:]}, nil)
}

// page answers with the shell. json.Marshal escapes <, >, & and the line
// separators of JavaScript, so data cannot end the script element it is in.
func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, v view, data any) {
	v.Lang, v.Style = s.language(r), s.links.style
	v.Script = s.links.scripts[v.Page+"."+v.Lang]
	if data != nil {
		b, err := json.Marshal(data)
		if err != nil { // raw data was checked, the rest cannot fail
			panic(fmt.Sprintf("encoding a page's data: %v", err))
		}
		v.Data = template.JS(b)
	}
	var b bytes.Buffer
	if err := shell.Execute(&b, v); err != nil {
		panic(fmt.Sprintf("filling in the page shell: %v", err))
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	h.Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
