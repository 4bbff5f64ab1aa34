// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/feed"
	"github.com/chmail/chmail/mall/store"
)

// advertLine is an advertisement in a shop's list, with what happened to it so far.
type advertLine struct {
	store.Advert
	Sum store.AdvertDay
}

func (s *Server) advertList(w http.ResponseWriter, r *http.Request, c visit) {
	all, sums, err := s.store.AdvertsOf(r.Context(), c.Shop.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	var list []advertLine
	for _, a := range all {
		list = append(list, advertLine{a, sums[a.ID]})
	}
	s.show(w, r, http.StatusOK, "adverts", consoleData{visit: c, Data: list})
}

// advertPage shows an advertisement as pages do, how it does, and what can be done.
func (s *Server) advertPage(w http.ResponseWriter, r *http.Request, c visit) {
	a, err := s.store.Advert(r.Context(), c.Shop.ID, r.PathValue("id"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	days, err := strconv.Atoi(r.URL.Query().Get("days"))
	if err != nil {
		days = 28
	}
	days = min(max(days, 1), store.MaxFigureDays)
	from := time.Now().AddDate(0, 0, 1-days)
	rows, err := s.store.AdvertDays(r.Context(), c.Shop.ID, a.ID, from)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	byDay, sum := map[string]store.AdvertDay{}, store.AdvertDay{}
	for _, d := range rows {
		byDay[d.Day] = plus(byDay[d.Day], d)
		sum = plus(sum, d)
	}
	p := newPlot(days, func(i int) (all, part int) {
		d := byDay[store.DayOf(from.AddDate(0, 0, i))]
		return int(d.Views), int(d.Presses)
	})
	s.show(w, r, http.StatusOK, "advert", consoleData{visit: c, Data: struct {
		Advert store.Advert
		Rows   []store.AdvertDay
		Sum    store.AdvertDay
		Plot   plot
		Acts   []string
	}{a, rows, sum, p, advertActs[a.State]}})
}

func plus(a, b store.AdvertDay) store.AdvertDay {
	a.Views += b.Views
	a.Presses += b.Presses
	a.Talks += b.Talks
	a.Spent += b.Spent
	return a
}

// advertActs are what a shop may do with an advertisement in a state; advertStates is
// where each leads.
var (
	advertActs = map[string][]string{
		store.AdvertDraft:   {"review", "end"},
		store.AdvertReview:  {"end"},
		store.AdvertShown:   {"pause", "end"},
		store.AdvertPaused:  {"resume", "end"},
		store.AdvertRefused: {"end"},
	}
	advertStates = map[string]string{"review": store.AdvertReview, "pause": store.AdvertPaused,
		"resume": store.AdvertShown,
		"end":    store.AdvertEnded}
)

func (s *Server) advertAct(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	act, id := f.Get("act"), r.PathValue("id")
	var from []string
	for state, acts := range advertActs {
		if slices.Contains(acts, act) {
			from = append(from, state)
		}
	}
	a, err := s.store.Advert(r.Context(), c.Shop.ID, id)
	if err == nil && len(from) == 0 {
		s.notice(w, r, http.StatusBadRequest, "garbled")
		return
	}
	if err == nil {
		err = s.store.SetAdvert(r.Context(), c.Shop.ID, id, advertStates[act], from...)
	}
	if err == nil {
		err = s.loadAdverts(r)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if advertStates[act] == store.AdvertReview {
		s.mall.TellReview(r.Context(), c.Actor, mall.Review{Shop: c.Shop, Advert: a.Title, Step: mall.ReviewWaits,
			Path: []string{"operator", "adverts"}}, s.clientIP(r))
	}
	c.back(w, r, "/adverts/"+id)
}

func (s *Server) advertForm(w http.ResponseWriter, r *http.Request, c visit) {
	id := r.PathValue("id")
	now := time.Now().In(zoneOf(c.Shop))
	f := blank("starts", now.Format(time.DateOnly), "ends", now.AddDate(0, 0, 27).Format(time.DateOnly))
	if id != "" {
		a, err := s.store.Advert(r.Context(), c.Shop.ID, id)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		n := digitsOf(c.Shop.Currency)
		day := func(micros int64) string { return store.Time(micros).In(zoneOf(c.Shop)).Format(time.DateOnly) }
		f = blank("title", a.Title, "text", a.Text, "alt", a.Alt, "target", a.Target, "starts", day(a.Starts),
			"ends", day(a.Ends-1), "price", feed.Plain(a.Price, n), "budget", feed.Plain(a.Budget, n))
		if a.MaxViews > 0 {
			f.Values.Set("views", strconv.FormatInt(a.MaxViews, 10))
		}
		f.Values["place"], f.Values["category"] = strings.Fields(a.Places), strings.Fields(a.Categories)
	}
	s.showAdvertForm(w, r, http.StatusOK, c, f)
}

// tick is a box of several of one name.
type tick struct {
	Value, Label string
	On           bool
}

func (s *Server) showAdvertForm(w http.ResponseWriter, r *http.Request, status int, c visit, f *form) {
	all, err := s.store.Categories(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	var places, categories []tick
	for _, p := range store.Places {
		places = append(places, tick{p, tongue(r).Say("advert.place." + p), slices.Contains(f.Values["place"], p)})
	}
	for _, one := range all {
		categories = append(categories, tick{one.ID, one.Name(tongue(r).Lang),
			slices.Contains(f.Values["category"], one.ID)})
	}
	s.show(w, r, status, "advert-form", consoleData{visit: c, Form: f, Data: struct {
		ID                 string
		Places, Categories []tick
	}{r.PathValue("id"), places, categories}})
}

// advertSave stores the form of an advertisement, which is a draft then.
func (s *Server) advertSave(w http.ResponseWriter, r *http.Request, c visit) {
	id := r.PathValue("id")
	if id != "" {
		if _, err := s.store.Advert(r.Context(), c.Shop.ID, id); err != nil {
			s.failed(w, r, err)
			return
		}
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	edit, err := s.readAdvert(r, c, f)
	if err == nil && f.OK() {
		if id == "" {
			a := store.Advert{Shop: c.Shop.ID}
			edit(&a)
			a, err = s.store.AddAdvert(r.Context(), a)
			id = a.ID
		} else if err = s.store.ChangeAdvert(r.Context(), c.Shop.ID, id, edit); err == nil {
			err = s.loadAdverts(r)
		}
	}
	var invalid store.Invalid
	switch {
	case errors.As(err, &invalid):
		f.Fail(invalid.Field, tongue(r).Say("advert.why."+invalid.Field))
	case errors.Is(err, store.ErrFull):
		f.Fail("title", tongue(r).Say("console.why.full"))
	case err != nil:
		s.failed(w, r, err)
		return
	}
	if !f.OK() {
		s.showAdvertForm(w, r, http.StatusUnprocessableEntity, c, f)
		return
	}
	c.back(w, r, "/adverts/"+id)
}

// readAdvert reads a form of an advertisement as a change of it.
func (s *Server) readAdvert(r *http.Request, c visit, f *form) (edit func(*store.Advert), err error) {
	t := tongue(r)
	zone := zoneOf(c.Shop)
	day := func(name string, add int) int64 {
		at, err := time.ParseInLocation(time.DateOnly, f.Get(name), zone)
		if err != nil {
			f.Fail(name, t.Say("advert.why.date"))
		}
		return store.Micros(at.AddDate(0, 0, add))
	}
	amount := func(name string, digits int) int64 {
		n, err := feed.Amount(f.Get(name), digits)
		if err != nil {
			f.Fail(name, t.Say("console.why.number"))
		}
		return n
	}
	a := store.Advert{Title: f.Get("title"), Text: f.Get("text"), Alt: f.Get("alt"), Starts: day("starts", 0),
		Ends: day("ends", 1), Price: amount("price", digitsOf(c.Shop.Currency)), Budget: amount("budget",
			digitsOf(c.Shop.Currency))}
	if f.Get("views") != "" {
		a.MaxViews = amount("views", 0)
	}
	all, err := s.store.Categories(r.Context())
	if err != nil {
		return nil, err
	}
	var places, categories []string
	for _, p := range store.Places {
		if slices.Contains(f.Values["place"], p) {
			places = append(places, p)
		}
	}
	for _, one := range all {
		if slices.Contains(f.Values["category"], one.ID) {
			categories = append(categories, one.ID)
		}
	}
	a.Places, a.Categories = strings.Join(places, " "), strings.Join(categories, " ")
	a.Target, a.Rings, err = s.advertTarget(r, c.Shop, f.Get("target"))
	return func(to *store.Advert) {
		a.Picture, a.Width, a.Height = to.Picture, to.Width, to.Height
		a.Shop, a.ID, a.Created, a.Weight = to.Shop, to.ID, to.Created, to.Weight
		*to = a
	}, err
}

// advertPicture gives an advertisement its picture, encoded anew.
func (s *Server) advertPicture(w http.ResponseWriter, r *http.Request, c visit) {
	id := r.PathValue("id")
	if _, err := s.store.Advert(r.Context(), c.Shop.ID, id); err != nil {
		s.failed(w, r, err)
		return
	}
	info, ok := s.pictureOf(w, r)
	if !ok {
		return
	}
	err := s.store.ChangeAdvert(r.Context(), c.Shop.ID, id, func(a *store.Advert) {
		a.Picture, a.Width, a.Height = info.Hash, info.Width, info.Height
	})
	if err == nil {
		err = s.loadAdverts(r)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/adverts/"+id)
}
