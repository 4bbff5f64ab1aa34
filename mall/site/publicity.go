// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"
	"strconv"
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
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("publicity.unsubscribe.title"), Template: "unsubscribe", Data: shop})
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

func (s *Server) newCampaign(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	f := blank("segment", store.SegmentAll, "lang", shop.Lang)
	if shop.Lang == "ko" { // the law asks for both there
		f = blank("segment", store.SegmentAll, "lang", shop.Lang, "mark", "yes", "day", "yes")
	}
	s.show(w, r, http.StatusOK, "campaign-new", consoleData{visit: who, Form: f})
}

func (s *Server) saveCampaign(w http.ResponseWriter, r *http.Request, who visit) {
	shop := who.Shop
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	t := tongue(r)
	c := store.Campaign{Shop: shop.ID, Subject: f.Get("subject"), Text: f.Get("text"), Lang: f.Get("lang"),
		Segment: f.Get("segment"), ByStaff: f.On("staff"), AdMark: f.On("mark"), Night: !f.On("day")}
	if c.Subject == "" || len([]rune(c.Subject)) > maxSubject {
		f.Fail("subject", t.Say("publicity.wrong.subject"))
	}
	if c.Text == "" || len(c.Text) > maxText {
		f.Fail("text", t.Say("publicity.wrong.text"))
	}
	known := false
	for _, segment := range store.Segments {
		known = known || segment == c.Segment
	}
	if !known || !isLanguage(c.Lang) {
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
	if !f.OK() {
		s.show(w, r, http.StatusUnprocessableEntity, "campaign-new", consoleData{visit: who, Form: f})
		return
	}
	c, err := s.store.SaveCampaign(r.Context(), c, nil)
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
	Members  int // whom a draft would go to
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
	if v.Campaign.State == store.CampaignScheduled || v.Campaign.State == store.CampaignSending {
		w.Header().Set("Refresh", "5") // it fills by itself
	}
	s.show(w, r, http.StatusOK, "campaign", consoleData{visit: who, Data: v})
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
		err = s.publicity.Test(ctx, c, chat.Person{Login: login, Addr: login})
	case "send":
		err = set(store.CampaignScheduled, "", time.Now(), store.CampaignDraft)
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
