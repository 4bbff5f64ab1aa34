// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"context"
	"embed"
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
	"github.com/chmail/chmail/chatrelay/pass"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/web/mailclient"
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates are the pages in each language.
var templates = func() map[string]*template.Template {
	all := make(map[string]*template.Template)
	for _, lang := range words.Languages {
		all[lang] = template.Must(template.New(lang).Funcs(template.FuncMap{"say": words.In(lang).HTML}).
			ParseFS(templateFiles, "templates/*.html"))
	}
	return all
}()

// shown is a page that is to be served.
type shown struct {
	title    string
	template string // which shows it, and what that needs
	with     any
	script   string // which takes it over: "chat"; empty: none
	more     bool   // it shows more than a card
	data     any    // what the script needs
}

// shell is what the template around every page needs.
type shell struct {
	Lang, Page, Script, Title string
	Card                      template.CSS // all that a card's first paint needs: no request comes before it
	Style                     string       // address of the rest; empty: the page is a card
	Data                      template.JS  // JSON that html/template need not escape again
	Body                      template.HTML
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

// long has the address behind the name.
func (p person) long() string {
	if p.Name == "" {
		return p.Addr
	}
	return p.Name + " (" + p.Addr + ")"
}

// Initials are those that view/avatar.ts shows.
func (p person) Initials() string { return clean.Initials(p.String()) }

// Hue is the colour that view/avatar.ts gives to an address.
func (p person) Hue() uint32 {
	var hash uint32
	for _, c := range p.Addr {
		hash = hash*31 + uint32(c)
	}
	return hash % 8
}

// chatData is what the script of a chat page needs.
type chatData struct {
	Token  string       `json:"token"`
	Callee person       `json:"callee"`
	Reply  string       `json:"reply"` // mailto: to answer by mail
	Mine   bool         `json:"mine"`  // this browser has claimed the link
	Nonce  string       `json:"nonce"`
	Status frame.Status `json:"status"`
	// Waiting are others who are in the conversation now.
	Waiting []person  `json:"waiting,omitempty"`
	At      time.Time `json:"at"` // now, for readers whose clock is wrong
	// SignedIn: this browser is signed in as the recipient, which proves the link.
	SignedIn bool `json:"signed_in,omitempty"`
	// Pass is that with which the page was loaded, and Do what it says is done at once.
	Pass string `json:"pass,omitempty"`
	Do   string `json:"do,omitempty"`
}

// chatStart is what a chat page begins with: also where the script and the style
// of the conversation are, and the script that asks whose the link is.
type chatStart struct {
	chatData
	Talk  string `json:"talk"`
	Gate  string `json:"gate"`
	Style string `json:"style"`
}

// cardView is what a link's card shows.
type cardView struct {
	Callee       person
	As           string // who the reader will be
	SignedIn     bool   // as which they are signed in
	Subject      string
	Date, Day    string // empty: not known
	Status, Mood string // the key of the status, and its colour
	Waiting      string // who is in the conversation now; empty: nobody else
	Mine         bool
	Gone         bool // the callee has no account here any more
	Reply        template.URL
	// Learns of a recipient in Bcc that they are there, as do More others.
	Learns string
	More   int
}

// notice is a page that says something and offers a way on.
type notice struct {
	Head   string
	Lines  []string
	Advice string
	Bell   bool
	Retry  bool
	Link   template.URL // where the one link of the page leads
	Label  string
	Post   string // where the one button of the page leads
	Whose  string // whose link it was
}

// deskData is the desk, signed in or not; GET /desk/me answers it too.
type deskData struct {
	Login   *string `json:"login"` // null: not signed in
	Name    string  `json:"name"`
	Account bool    `json:"account"` // whether people change their passwords here
	// Mail is how one's mail program is set up; nil: that is not known.
	Mail *mailProgram `json:"mail,omitempty"`
}

// mailProgram is what a mail program is told.
type mailProgram struct {
	Host    string              `json:"host"`
	Servers []mailclient.Server `json:"servers"`
}

// landingData is what the script of the demo's page at / needs.
type landingData struct {
	Demo json.RawMessage `json:"demo"`
}

// card asks the relay for a link's card, and whether there is one.
func (s *Server) card(r *http.Request) (chatrelay.Card, error) {
	token := r.PathValue("token")
	if !isToken(token) {
		return chatrelay.Card{}, chat.ErrUnknown
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	return s.opts.Relay.Card(ctx, token)
}

// chatPage shows a link's card. Whoever follows the link, nothing happens.
func (s *Server) chatPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Robots-Tag", "noindex")
	if clean, ok := tokenBefore(r.PathValue("token")); ok {
		http.Redirect(w, r, "/c/"+clean, http.StatusFound)
		return
	}
	card, err := s.card(r)
	switch {
	case err == nil:
		data := s.chatData(r, card)
		if p, framed := s.pass(data.Pass, data.Token); framed {
			framedBy(w.Header(), p.Frames)
		}
		view := cardView{
			Callee: data.Callee, As: personOf(card.Invite.Recipient).long(), SignedIn: data.SignedIn,
			Subject: card.Invite.Subject, Mine: data.Mine, Reply: template.URL(data.Reply), Gone: card.Gone,
		}
		if n := len(card.Others); n > 0 {
			view.Learns, view.More = personOf(card.Others[0]).String(), n-1
		}
		if view.Status, view.Mood = statusKey(card.Status); len(data.Waiting) > 0 {
			var names []string
			for _, p := range data.Waiting {
				names = append(names, p.String())
			}
			view.Waiting, view.Mood = strings.Join(names, ", "), "good"
		}
		if date := card.Invite.Date; !date.IsZero() {
			// The script writes it as the reader's place and language have it.
			view.Date, view.Day = date.UTC().Format(time.RFC3339), date.UTC().Format("2006-01-02")
		}
		tongue := s.tongue(r)
		s.page(w, r, http.StatusOK, shown{title: tongue.Say("chat.title", "name", data.Callee), template: "chat", with: view,
			script: "chat", data: chatStart{data, s.assets.Link("talk." + tongue.Lang + ".js"),
				s.assets.Link("gate." + tongue.Lang + ".js"), s.assets.Link("app.css")}})
	case errors.Is(err, chat.ErrExpired):
		s.gonePage(w, r, http.StatusGone, "expired", card.Invite)
	case errors.Is(err, chat.ErrRevoked):
		s.gonePage(w, r, http.StatusGone, "revoked", card.Invite)
	case errors.Is(err, chat.ErrUnknown):
		s.fault(r, reputation.Forged)
		s.gonePage(w, r, http.StatusNotFound, "unknown", chat.Invite{})
	default:
		s.log.Warn("showing a link", "err", err)
		s.downPage(w, r)
	}
}

func (s *Server) chatData(r *http.Request, card chatrelay.Card) chatData {
	token := r.PathValue("token")
	data := chatData{
		Token: token, Nonce: s.nonce(token, time.Now()), Reply: replyTo(card.Invite), Mine: s.mine(r, token),
		At: time.Now().UTC(), Callee: personOf(card.Invite.Callee), Status: card.Status,
	}
	for _, p := range card.Waiting {
		data.Waiting = append(data.Waiting, personOf(p))
	}
	if who, err := s.session(r); err == nil && card.Account {
		data.SignedIn = strings.EqualFold(who.Login, card.Invite.Recipient.Login)
	}
	if sealed := r.URL.Query().Get("pass"); sealed != "" {
		if p, err := pass.Open(s.keys.pass, sealed, token, time.Now()); err == nil {
			data.Pass, data.Do = sealed, p.Do
			data.SignedIn = data.SignedIn || p.Login != "" && strings.EqualFold(p.Login, card.Invite.Recipient.Login)
		}
	}
	return data
}

// chatState answers what a chat page needs anew: a nonce, and whether the
// person is there.
func (s *Server) chatState(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Robots-Tag", "noindex")
	// An add-on of a mail program asks too, without cookies: who knows the link may know this.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	card, err := s.card(r)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, s.chatData(r, card))
}

// statusKey is the message of a status, without times, which only the reader's
// browser can write; and the colour of its dot.
func statusKey(status frame.Status) (key, mood string) {
	switch {
	case status.State == frame.Available && status.Busy:
		return "status.availableBusy", "good"
	case status.State == frame.Available:
		return "status.available", "good"
	case status.State == frame.Off:
		return "status.off", "quiet"
	case status.State == frame.Closed:
		return "status.closed", "quiet"
	}
	return "status." + status.State, "busy"
}

// gonePage is the page of a link that does not work (any more).
func (s *Server) gonePage(w http.ResponseWriter, r *http.Request, status int, reason string, inv chat.Invite) {
	say, key := s.tongue(r).Say, "gone."+reason
	n := notice{Head: say(key + ".title"), Advice: say(key + ".todo"), Lines: []string{say(key + ".what"), say(key + ".means")}}
	if from := personOf(inv.Callee); from.Addr != "" {
		n.Lines[0] = say(key+".whatOf", "name", from)
		n.Link, n.Label = template.URL(replyTo(inv)), say("chat.byMail")
	}
	if status == http.StatusGone {
		n.Whose = personOf(inv.Recipient).String()
	}
	s.page(w, r, status, shown{title: n.Head, template: "notice", with: n})
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

// offlinePage is fetched by the service worker, which keeps it for when the
// server cannot be reached.
func (s *Server) offlinePage(w http.ResponseWriter, r *http.Request) {
	say := s.tongue(r).Say
	s.page(w, r, http.StatusOK, shown{title: say("desk.title"), template: "notice", script: "offline", with: notice{
		Head: say("offline.title"), Lines: []string{say("offline.what")}, Advice: say("offline.means"), Bell: true, Retry: true,
	}})
}

func (s *Server) deskPage(w http.ResponseWriter, r *http.Request) {
	data, err := s.deskData(w, r)
	if err != nil {
		s.downPage(w, r)
		return
	}
	s.page(w, r, http.StatusOK, shown{title: s.tongue(r).Say("desk.title"), template: "desk", with: data, script: "desk",
		data: data, more: true})
}

// me answers who is signed in.
func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	data, err := s.deskData(w, r)
	if err != nil {
		s.failed(w, err)
		return
	}
	answer(w, http.StatusOK, data)
}

func (s *Server) deskData(w http.ResponseWriter, r *http.Request) (deskData, error) {
	data := deskData{Account: s.opts.Accounts != nil}
	who, err := s.session(r)
	if errors.Is(err, errNoSession) {
		return data, nil
	}
	if err != nil {
		s.log.Warn("showing the desk", "err", err)
		return data, err
	}
	data.Login = &who.Login
	data.Name, _, _ = strings.Cut(who.Login, "@")
	if s.opts.MailPrograms != nil {
		data.Mail = &mailProgram{Host: s.opts.MailPrograms.Host, Servers: s.opts.MailPrograms.Servers()}
	}
	s.keepSession(w, who)
	return data, nil
}

// landing is the page at /: of the demo, what to try, which its script shows;
// otherwise the way to the desk.
func (s *Server) landing(w http.ResponseWriter, r *http.Request) {
	say := s.tongue(r).Say
	page := shown{title: "CHmail", template: "notice", with: notice{Head: "CHmail", Lines: []string{say("landing.what")},
		Link: "/desk", Label: say("landing.signIn")}}
	if s.opts.Landing != nil {
		demo, err := s.opts.Landing()
		switch {
		case err != nil:
			s.log.Warn("reading the landing page's data", "err", err)
		case len(demo) > MaxLanding || demo != nil && !json.Valid(demo):
			s.log.Warn("reading the landing page's data", "err", "it is not JSON of at most 64 KiB")
		case demo != nil:
			page.template, page.script, page.data, page.more = "landing", "landing", landingData{Demo: demo}, true
		}
	}
	s.page(w, r, http.StatusOK, page)
}

// downPage is the page while the relay does not answer.
func (s *Server) downPage(w http.ResponseWriter, r *http.Request) {
	retryAfter(w, downRetry)
	s.plainPage(w, r, http.StatusServiceUnavailable, "down")
}

// plainPage is a page without script: an address that leads nowhere, or
// trouble on this side.
func (s *Server) plainPage(w http.ResponseWriter, r *http.Request, status int, what string) {
	say := s.tongue(r).Say
	n := notice{Head: say("plain." + what + ".title"), Lines: []string{say("plain." + what + ".what")}}
	if what == "missing" {
		n.Link, n.Label = "/", say("plain.home")
	}
	s.page(w, r, status, shown{title: n.Head, template: "notice", with: n})
}

// tongue is the language that the browser likes best.
func (s *Server) tongue(r *http.Request) words.Tongue {
	return words.In(r.Header.Get("Accept-Language"))
}

// page answers with a page. json.Marshal escapes <, >, & and the line
// separators of JavaScript, so data cannot end the script element it is in.
func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, p shown) {
	lang := s.tongue(r).Lang
	around := shell{Lang: lang, Card: s.cardStyle, Page: p.script, Title: p.title,
		Script: s.assets.Link(p.script + "." + lang + ".js")}
	if p.more {
		around.Style = s.assets.Link("app.css")
	}
	if p.script != "" {
		data, err := json.Marshal(p.data)
		if err != nil { // raw data was checked, the rest cannot fail
			panic(fmt.Sprintf("encoding a page's data: %v", err))
		}
		around.Data = template.JS(data)
	}
	fill := func(name string, with any) template.HTML {
		var b bytes.Buffer
		if err := templates[lang].ExecuteTemplate(&b, name, with); err != nil {
			panic(fmt.Sprintf("filling in a page: %v", err))
		}
		return template.HTML(b.String())
	}
	around.Body = fill(p.template, p.with)
	body := fill("shell.html", around)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Vary", "Accept-Language")
	write(w, status, []byte(body))
}
