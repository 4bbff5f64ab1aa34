// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/mall/publicity"
	"github.com/chmail/chmail/mall/store"
)

const (
	campaignsListed = 50
	maxPerHour      = 100000
	maxSubject      = 150   // characters
	maxText         = 20000 // octets of a campaign's Markdown
	goodsListed     = 24    // to choose from
	maxLater        = 365 * 24 * time.Hour
	localTime       = "2006-01-02T15:04" // of a form's field
)

// Publish gives the server what sends campaigns, before Open.
func (s *Server) Publish(p *publicity.Publicity) { s.publicity = p }

func (s *Server) publicityRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /unsubscribe/{token}", s.unsubscribePage)
	mux.HandleFunc("POST /unsubscribe/{token}", s.unsubscribe)
}

// unsubscribePage changes nothing: scanners of mail follow every link.
func (s *Server) unsubscribePage(w http.ResponseWriter, r *http.Request) {
	u, err := s.publicity.ReadUnsubscription(r.PathValue("token"))
	if err != nil {
		s.missing(w, r)
		return
	}
	shop, _, err := s.store.ShopAndOwner(r.Context(), u.Shop)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("publicity.unsubscribe.title"), Template: "unsubscribe",
		Data: shop})
}

// unsubscribe takes the press on the page, and the one click of a mail program
// (RFC 8058), which has no origin and no cookie.
func (s *Server) unsubscribe(w http.ResponseWriter, r *http.Request) {
	u, err := s.publicity.ReadUnsubscription(r.PathValue("token"))
	if err != nil {
		s.missing(w, r)
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	t := tongue(r)
	proof := store.Consent{Member: u.Member, Shop: u.Shop, Addr: s.clientIP(r).String(),
		Wording: t.Say("publicity.unsubscribe.shop")}
	if f.On("all") {
		proof.Shop, proof.Wording = "", t.Say("publicity.unsubscribe.all")
	}
	if u.Member != "" { // else it is of a test
		// Somebody who is no member any more gets no mail either.
		err := s.store.Unsubscribe(r.Context(), u.Shop, u.Campaign, proof)
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			s.failed(w, r, err)
			return
		}
	}
	s.page(w, r, http.StatusOK, page{Title: t.Say("publicity.unsubscribed.title"), Template: "notice",
		Data: notice{t.HTML("publicity.unsubscribed.what")}})
}

func (s *Server) campaigns(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	all, err := s.store.Campaigns(r.Context(), shop.ID, r.URL.Query().Get("before"), campaignsListed)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := consoleData{visit: who, Data: all}
	if len(all) == campaignsListed {
		d.More = "?before=" + all[len(all)-1].ID
	}
	s.show(w, r, http.StatusOK, "publicity", d)
}

// campaignForm is the form of a new campaign, or of a draft.
func (s *Server) campaignForm(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	f := blank("segment", store.SegmentAll, "lang", shop.Lang)
	if shop.Lang == "ko" { // the law asks for both there
		f = blank("segment", store.SegmentAll, "lang", shop.Lang, "mark", "yes", "day", "yes")
	}
	if id := r.PathValue("id"); id != "" {
		c, err := s.store.Campaign(r.Context(), shop.ID, id)
		var goods []store.CampaignGoods
		if err == nil && c.State != store.CampaignDraft {
			err = store.ErrState
		}
		if err == nil {
			goods, err = s.store.CampaignGoods(r.Context(), shop.ID, id)
		}
		if err != nil {
			s.failed(w, r, err)
			return
		}
		f = blank("subject", c.Subject, "text", c.Text, "segment", c.Segment, "lang", c.Lang, "staff",
			ticked(c.ByStaff),
			"mark", ticked(c.AdMark), "day", ticked(!c.Night))
		if c.At > 0 {
			f.Values.Set("at", store.Time(c.At).In(zoneOf(shop)).Format(localTime))
		}
		if c.PerHour > 0 {
			f.Values.Set("perHour", strconv.FormatInt(c.PerHour, 10))
		}
		for _, g := range goods {
			f.Values.Add("goods", g.ID)
		}
	}
	s.showCampaignForm(w, r, http.StatusOK, who, f)
}

func ticked(on bool) string {
	if on {
		return "yes"
	}
	return ""
}

// campaignGoods are goods to choose: those that are ticked, and those that were looked for.
type campaignGoods struct {
	Chosen, Found []store.CampaignGoods
	Zone          string
	Most          int
}

func (s *Server) showCampaignForm(w http.ResponseWriter, r *http.Request, status int, who visit, f *form) {
	shop, chosen := who.Shop.ID, f.Values["goods"]
	v := campaignGoods{Zone: zoneOf(who.Shop).String(), Most: store.MaxCampaignGoods}
	var err error
	if v.Chosen, err = s.store.GoodsNamed(r.Context(), shop, chosen[:min(len(chosen), goodsListed)]); err != nil {
		s.failed(w, r, err)
		return
	}
	rows, err := s.store.GoodsOfShop(r.Context(), shop, store.GoodsFilter{State: store.GoodsShown,
		Search: f.Get("find")},
		goodsListed)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	for _, g := range rows {
		if !slices.Contains(chosen, g.ID) {
			v.Found = append(v.Found, store.CampaignGoods{ID: g.ID, Title: g.Title, Picture: g.Picture, Price: g.Price})
		}
	}
	s.show(w, r, status, "campaign-new", consoleData{visit: who, Form: f, Data: v})
}

func (s *Server) saveCampaign(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if f.Get("do") == "find" { // what was typed and ticked stays
		s.showCampaignForm(w, r, http.StatusOK, who, f)
		return
	}
	t := tongue(r)
	c := store.Campaign{Shop: shop.ID, ID: r.PathValue("id"), Subject: f.Get("subject"), Text: f.Get("text"),
		Lang: f.Get("lang"), Segment: f.Get("segment"), ByStaff: f.On("staff"), AdMark: f.On("mark"),
		Night: !f.On("day")}
	if c.Subject == "" || len([]rune(c.Subject)) > maxSubject {
		f.Fail("subject", t.Say("publicity.wrong.subject"))
	}
	if c.Text == "" || len(c.Text) > maxText {
		f.Fail("text", t.Say("publicity.wrong.text"))
	}
	if !slices.Contains(store.Segments, c.Segment) || !isLanguage(c.Lang) {
		s.notice(w, r, http.StatusBadRequest, "garbled")
		return
	}
	if text := f.Get("perHour"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > maxPerHour {
			f.Fail("perHour", t.Say("publicity.wrong.perHour"))
		}
		c.PerHour = n
	}
	if text := f.Get("at"); text != "" {
		at, err := time.ParseInLocation(localTime, text, zoneOf(shop))
		if wait := time.Until(at); err != nil || wait < 0 || wait > maxLater {
			f.Fail("at", t.Say("publicity.wrong.at"))
		}
		c.At = store.Micros(at)
	}
	if len(f.Values["goods"]) > store.MaxCampaignGoods {
		f.Fail("goods", t.Say("publicity.wrong.goods", "n", store.MaxCampaignGoods))
	}
	if !f.OK() {
		s.showCampaignForm(w, r, http.StatusUnprocessableEntity, who, f)
		return
	}
	c, err := s.store.SaveCampaign(r.Context(), c, f.Values["goods"])
	if err != nil {
		s.failed(w, r, err)
		return
	}
	who.back(w, r, "/publicity/"+c.ID)
}

type campaignView struct {
	Campaign store.Campaign
	Mail     publicity.Mail
	Figures  store.CampaignFigures
	Members  int    // whom a draft would go to
	Later    string // when it goes out, in the shop's zone; empty: at once
}

func (s *Server) campaign(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	v := campaignView{}
	var err error
	if v.Campaign, err = s.store.Campaign(r.Context(), shop.ID, r.PathValue("id")); err == nil {
		v.Mail, err = s.publicity.Preview(r.Context(), v.Campaign)
	}
	if err == nil && v.Campaign.State == store.CampaignDraft {
		v.Members, err = s.store.CountSegment(r.Context(), shop.ID, v.Campaign.Segment)
	} else if err == nil {
		v.Figures, err = s.store.CampaignFigures(r.Context(), shop.ID, v.Campaign.ID)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if at := store.Time(v.Campaign.At); at.After(time.Now()) {
		zone := zoneOf(shop)
		v.Later = at.In(zone).Format("2006-01-02 15:04") + " " + zone.String()
	} else if v.Campaign.State == store.CampaignScheduled || v.Campaign.State == store.CampaignSending {
		w.Header().Set("Refresh", "5") // it fills by itself
	}
	said := ""
	if r.URL.Query().Get("tested") != "" {
		said = tongue(r).Say("publicity.tested", "login", who.Actor)
	}
	// The mail itself is shown in frames.
	w.Header().Set("Content-Security-Policy", strings.Replace(s.policy("'none'"), "frame-src ", "frame-src 'self' ", 1))
	s.show(w, r, http.StatusOK, "campaign", consoleData{visit: who, Data: v, Said: said})
}

// campaignMail is a campaign's mail as a mail program shows it, for the frames of the
// campaign's page: nothing in it runs, and it loads the pictures of goods alone.
func (s *Server) campaignMail(w http.ResponseWriter, r *http.Request, who visit) {
	c, err := s.store.Campaign(r.Context(), who.Shop.ID, r.PathValue("id"))
	var m publicity.Mail
	if err == nil {
		m, err = s.publicity.Preview(r.Context(), c)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; img-src "+origin(s.mall.Base())+
		"; style-src 'unsafe-inline'; frame-ancestors 'self'; sandbox")
	h.Set("X-Frame-Options", "SAMEORIGIN")
	h.Set("Content-Type", "text/html; charset=utf-8")
	send(w, r, http.StatusOK, []byte(m.HTML))
}

// actOnCampaign tests, sends, pauses, goes on with or ends a campaign.
func (s *Server) actOnCampaign(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	ctx := r.Context()
	c, err := s.store.Campaign(ctx, shop.ID, r.PathValue("id"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	set := func(to, why string, at time.Time, from ...string) error {
		return s.store.SetCampaign(ctx, shop.ID, c.ID, from, to, why, at)
	}
	switch f.Get("act") {
	case "test":
		login := who.Actor
		if err = s.publicity.Test(ctx, c, chat.Person{Login: login, Addr: login}); err == nil {
			who.back(w, r, "/publicity/"+c.ID+"?tested=yes")
			return
		}
	case "send":
		at := time.Now()
		if later := store.Time(c.At); later.After(at) {
			at = later
		}
		err = set(store.CampaignScheduled, "", at, store.CampaignDraft)
	case "pause":
		err = set(store.CampaignPaused, "", time.Time{}, store.CampaignScheduled, store.CampaignSending)
	case "resume":
		err = set(store.CampaignScheduled, "", time.Time{}, store.CampaignPaused)
	case "end":
		err = set(store.CampaignStopped, c.Why, time.Time{}, store.CampaignPaused)
		if err == nil {
			err = s.store.LeaveOutWaiting(ctx, shop.ID, c.ID, "ended by the shop")
		}
	default:
		s.notice(w, r, http.StatusBadRequest, "garbled")
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.publicity.Wake()
	who.back(w, r, "/publicity/"+c.ID)
}
