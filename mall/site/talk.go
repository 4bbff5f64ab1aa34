// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/mail"
	"strings"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

const maxQuestion = 8 << 10 // octets of a question's text

func (s *Server) talkRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /goods/{id}/ask", s.askForm)
	mux.HandleFunc("POST /goods/{id}/ask", s.ask)
	mux.HandleFunc("GET /shops/{slug}/ask", s.askForm)
	mux.HandleFunc("POST /shops/{slug}/ask", s.ask)
	mux.HandleFunc("POST /goods/{id}/chat", s.chatNow)
	mux.HandleFunc("POST /shops/{slug}/chat", s.chatNow)
	mux.HandleFunc("POST /basket/chat/{shop}", s.chatNow)
	mux.HandleFunc("POST /orders/{number}/chat", s.chatNow)
	mux.HandleFunc("POST /talk/enter", s.enterTalk)
	mux.HandleFunc("GET /talk/offers", s.offers)
	mux.HandleFunc("GET /talk/ws", s.talkSocket)
	mux.HandleFunc("GET /embed.js", s.embedScript)
	mux.HandleFunc("GET /embed/{slug}", s.embed)
	mux.HandleFunc("POST /embed/{slug}", s.embedChat)
}

// about is what a request's path names: goods, a shop, or an order of the member.
func (s *Server) about(r *http.Request, v mall.Visitor) (a mall.About, err error) {
	ctx := r.Context()
	shop := r.PathValue("shop")
	switch {
	case r.PathValue("id") != "":
		a.Topic, err = s.store.TopicOf(ctx, r.PathValue("id"))
		shop = a.Topic.Shop
	case r.PathValue("number") != "" && v.Member != nil:
		a.Order, err = s.store.OrderOf(ctx, v.Member.ID, r.PathValue("number"))
		shop = a.Order.Shop
	case r.PathValue("slug") != "":
		a.Shop, err = s.store.ShopBySlug(ctx, r.PathValue("slug"))
	}
	if err == nil && a.Shop.ID == "" {
		a.Shop, err = s.store.Shop(ctx, shop)
	}
	if err == nil && a.Shop.State != store.ShopOpen && a.Order.ID == "" {
		err = store.ErrUnknown
	}
	return a, err
}

// asking is the page of a question.
type asking struct {
	Form  *form
	About mall.About
	Topic string
	Back  string
}

func (s *Server) askForm(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	a, err := s.about(r, v)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.askPage(w, r, http.StatusOK, a, blank("id", rand.Text(), "subject", a.Subject(tongue(r).Lang)))
}

// askLoad is what a member asks lately.
func (s *Server) askLoad(r *http.Request) load { return load{s.limits.ask, visitor(r).Member.ID} }

func (s *Server) askPage(w http.ResponseWriter, r *http.Request, status int, a mall.About, f *form) {
	back := strings.TrimSuffix(r.URL.Path, "/ask")
	s.page(w, r, status, s.tasked(r, page{Title: tongue(r).Say("talk.ask.title", "shop", a.Shop.Name), Template: "ask",
		Data: asking{Form: f, About: a, Topic: a.Topic.Title, Back: back}}, "ask", s.askLoad(r)))
}

// ask mails a question. What was typed stays in the form when the mail is not taken.
func (s *Server) ask(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	a, err := s.about(r, v)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	say := tongue(r).Say
	text, err := clean.Message(f.Values.Get("text"), maxQuestion)
	if err != nil {
		f.Fail("text", say("talk.ask.long"))
	} else if text == "" {
		f.Fail("text", say("talk.ask.empty"))
	}
	if id := f.Get("id"); id == "" || len(id) > 64 {
		f.Values.Set("id", rand.Text())
	}
	if !f.OK() {
		s.askPage(w, r, http.StatusUnprocessableEntity, a, f)
		return
	}
	if !s.worked(w, r, f, "ask", s.askLoad(r)) {
		s.askPage(w, r, http.StatusTooManyRequests, a, f)
		return
	}
	if wait := s.limits.ask.Wait(v.Member.ID); wait > 0 {
		f.Fail("text", say("talk.ask.often"))
		s.askPage(w, r, http.StatusTooManyRequests, a, f)
		return
	}
	i, err := s.mall.Ask(r.Context(), *v.Member, a, mall.Question{ID: f.Get("id"), Subject: f.Get("subject"),
		Text: text,
		From: s.clientIP(r)})
	var refused *chat.RefusedError
	switch {
	case errors.As(err, &refused):
		f.Fail("text", say("talk.ask.refused", "answer", refused.Text))
	case errors.Is(err, chat.ErrUnwanted):
		f.Fail("text", say("write.noLinks"))
	case errors.Is(err, chatrelay.ErrWriting), errors.Is(err, chatrelay.ErrNoWriting):
		f.Fail("text", say("talk.ask.failed"))
	case err != nil:
		s.log.Error("asking a shop", "err", err)
		f.Fail("text", say("talk.ask.failed"))
	}
	if err != nil {
		s.askPage(w, r, http.StatusUnprocessableEntity, a, f)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: say("talk.asked.title"), Template: "asked",
		Data: asked{Shop: a.Shop.Name, Room: i.Room, Login: v.Member.Login,
			Back: strings.TrimSuffix(r.URL.Path, "/ask"),
			Chat: strings.TrimSuffix(r.URL.Path, "ask") + "chat"}})
}

// asked is the page after a question.
type asked struct{ Shop, Room, Login, Back, Chat string }

// chatNow opens the talk and leads into it: the script shows it in the panel, and without
// script the chat's page follows.
func (s *Server) chatNow(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	a, err := s.about(r, v)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if !s.worked(w, r, f, "ask", s.askLoad(r)) {
		s.workFirst(w, r, f, "ask", s.askLoad(r))
		return
	}
	if wait := s.limits.ask.Wait(v.Member.ID); wait > 0 {
		s.tooOften(w, r, wait)
		return
	}
	way, err := s.mall.ChatNow(r.Context(), *v.Member, a)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if proof := f.Get("advert"); proof != "" && s.adverts != nil {
		if err := s.adverts.Came(r.Context(), proof, a.Shop.ID, way.Room); err != nil {
			s.log.Error("noting where a talk came from", "err", err)
		}
	}
	s.lead(w, r, way)
}

func (s *Server) lead(w http.ResponseWriter, r *http.Request, way mall.Way) {
	if !wantsJSON(r) {
		see(w, r, way.URL)
		return
	}
	answerJSON(w, way)
}

func wantsJSON(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "application/json")
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // an error of the client's connection is nobody's to read
}

// enterTalk is the way into a room for a member who answers a ring, or whose page was
// loaded again.
func (s *Server) enterTalk(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if v.Login == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	way, err := s.mall.EnterTalk(r.Context(), v.Login, f.Get("room"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.lead(w, r, way)
}

// offer is one that waits for its member's answer, beside the talk.
type offer struct {
	Number string `json:"number"`
	Text   string `json:"text"`
	Total  string `json:"total"`
}

// offers are those that wait in a room.
func (s *Server) offers(w http.ResponseWriter, r *http.Request) {
	list := []offer{}
	v := visitor(r)
	if v.Member == nil {
		answerJSON(w, list)
		return
	}
	ctx := r.Context()
	i, err := s.store.InquiryIn(ctx, r.URL.Query().Get("room"))
	var waiting []store.Order
	if err == nil {
		waiting, err = s.store.Offers(ctx, v.Member.ID, i.ID, 10)
	}
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		s.failed(w, r, err)
		return
	}
	lang := tongue(r).Lang
	for _, o := range waiting {
		lines, err := s.store.Lines(ctx, o)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		list = append(list, offer{o.Number, linesText(lines), Money(lang, o.Currency, o.Total)})
	}
	answerJSON(w, list)
}

// talkSocket makes a page of a member ring.
func (s *Server) talkSocket(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	page := r.URL.Query().Get("login")
	// A cookie says who it is, so no other site may open it (RFC 6455 section 10.2).
	if v.Member == nil || page != v.Login || !strings.EqualFold(r.Header.Get("Origin"), origin(s.mall.Base())) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	c, err := carrier.Upgrade(w, r, s.clientIP(r))
	if err != nil {
		return // Upgrade has answered
	}
	defer c.Close("over")
	s.mall.ServeDevice(r.Context(), v, s.mall.Name(), c)
}

// embedded is what stands on the page of a shop elsewhere.
type embedded struct {
	Form             *form
	Shop             store.Shop
	Topic            store.Topic
	There            there
	Ask, Lang, Style string
	Work, Script     string // that the form needs; empty: none
	Minutes          int
}

// embedAbout reads whose page it is. Only the origins that the shop allows may frame it.
func (s *Server) embedAbout(w http.ResponseWriter, r *http.Request) (a mall.About, origins []string, ok bool) {
	ctx := r.Context()
	a, err := s.about(r, mall.Visitor{})
	if err == nil {
		origins, err = s.store.Origins(ctx, a.Shop.ID)
	}
	if sku := r.URL.Query().Get("goods"); err == nil && sku != "" {
		a.Topic, err = s.store.TopicBySKU(ctx, a.Shop.ID, sku)
		if errors.Is(err, store.ErrUnknown) { // the shop's own page knows more goods than the mall
			err = nil
		}
	}
	if err == nil && len(origins) == 0 {
		err = store.ErrUnknown
	}
	if err != nil {
		s.failed(w, r, err)
		return a, nil, false
	}
	h := w.Header()
	h.Set("Content-Security-Policy", s.policy(strings.Join(origins, " ")))
	h.Del("X-Frame-Options")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	return a, origins, true
}

func (s *Server) embed(w http.ResponseWriter, r *http.Request) {
	if a, _, ok := s.embedAbout(w, r); ok {
		s.embedPage(w, r, http.StatusOK, a, blank())
	}
}

func (s *Server) embedPage(w http.ResponseWriter, r *http.Request, status int, a mall.About, f *form) {
	ask := s.mall.URL("shops", a.Shop.Slug, "ask")
	if a.Topic.Goods != "" {
		ask = s.mall.URL("goods", a.Topic.Goods, "ask")
	}
	task := s.tasked(r, page{}, "ask", s.prefixLoad(r, s.limits.ask))
	s.bare(w, r, status, "embed", embedded{Form: f, Shop: a.Shop, Topic: a.Topic, Ask: ask, There: s.there(r, a.Shop),
		Lang: tongue(r).Lang, Style: s.assets.Link("mall.css"), Work: task.Work, Minutes: task.Minutes,
		Script: s.assets.Link("mall." + tongue(r).Lang + ".js")})
}

// embedChat opens a talk for whoever says who they are, and leads to it in the same frame.
func (s *Server) embedChat(w http.ResponseWriter, r *http.Request) {
	a, origins, ok := s.embedAbout(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	say := tongue(r).Say
	name := personName(r, f)
	addr, err := mail.ParseAddress(f.Get("email"))
	if err != nil || addr.Name != "" || len(addr.Address) > 254 {
		f.Fail("email", say("talk.embed.email"))
	}
	if f.OK() && s.worked(w, r, f, "ask", s.prefixLoad(r, s.limits.ask)) {
		if wait := s.limits.ask.WaitOf(s.clientIP(r)); wait > 0 {
			f.Fail("name", say("talk.ask.often"))
		}
	}
	if !f.OK() {
		s.embedPage(w, r, http.StatusUnprocessableEntity, a, f)
		return
	}
	way, err := s.mall.ChatAsStranger(r.Context(), a, chat.Person{Addr: addr.Address, Name: name}, origins)
	if errors.Is(err, mall.ErrNotAllowed) {
		f.Fail("email", say("talk.embed.member", "mall", s.mall.Name()))
		s.embedPage(w, r, http.StatusUnprocessableEntity, a, f)
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, way.URL)
}

// embedScript puts the frame where its own element stands in a shop's page.
func (s *Server) embedScript(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "public, max-age=3600")
	w.Write([]byte(embedJS))
}

const embedJS = `// Puts "Chat now" and "Ask by mail" of a shop on its own page:
// <script src="MALL/embed.js" data-shop="SLUG" data-goods="SKU" async></script>
(() => {
  const me = document.currentScript;
  const { shop, goods } = me.dataset;
  const frame = document.createElement('iframe');
  const url = new URL('embed/' + encodeURIComponent(shop), me.src);
  if (goods) url.searchParams.set('goods', goods);
  frame.src = url;
  frame.title = 'Chat';
  frame.setAttribute('style', 'border:0;width:100%;max-width:420px;height:560px;display:block');
  me.after(frame);
})();
`
