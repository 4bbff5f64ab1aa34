// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/advert"
	"github.com/chmail/chmail/mall/store"
)

const (
	maxToken = 1024 // octets of an advertisement's token
	maxWhy   = 500  // letters of the operator's words to a shop
)

// Advertise gives the server its advertisements, before Open.
func (s *Server) Advertise(a *advert.Adverts) { s.adverts = a }

func (s *Server) advertRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /adverts/{token}", s.pressAdvert)
	mux.HandleFunc("POST /adverts/seen", s.seeAdvert)
	mux.HandleFunc("GET /operator/adverts", s.reviewAdverts)
	mux.HandleFunc("POST /operator/adverts", s.reviewAdvert)
}

// advertLook is an advertisement as a page shows it.
type advertLook struct {
	advert.Advert
	Href string
	Talk string // of one that leads out of the mall: where its shop can be talked to
}

// advert chooses an advertisement for a place of a page; nil: there is none.
func (s *Server) advert(r *http.Request, place, category string) *advertLook {
	if s.adverts == nil {
		return nil
	}
	chosen, ok := s.adverts.Choose(place, category, advert.Robot(r.UserAgent()))
	if !ok {
		return nil
	}
	look := preview(chosen.ShopAdvert)
	if look.Token = chosen.Token; look.Token == "" {
		return &look
	}
	if look.Href = "/adverts/" + chosen.Token; look.Talk != "" {
		look.Talk = look.Href + "?talk"
	}
	return &look
}

// preview is how an advertisement looks where nothing is counted.
func preview(a store.ShopAdvert) advertLook {
	look := advertLook{Advert: advert.Advert{ShopAdvert: a}, Href: a.Target}
	if !strings.HasPrefix(a.Target, "/") {
		look.Talk = "/shops/" + a.ShopSlug
	}
	return look
}

// pressAdvert counts a press and leads on: only to where the advertisement leads, which
// the operator has seen. A page of the mall gets the proof for its "Chat now".
func (s *Server) pressAdvert(w http.ResponseWriter, r *http.Request) {
	if s.adverts == nil || len(r.PathValue("token")) > maxToken {
		s.missing(w, r)
		return
	}
	robot := r.Method != http.MethodGet || advert.Robot(r.UserAgent()) || r.Header.Get("Sec-Purpose") != ""
	pressed, proof, ok := s.adverts.Press(r.PathValue("token"), robot)
	if !ok {
		s.missing(w, r)
		return
	}
	target := pressed.Target
	if r.URL.Query().Has("talk") {
		target = "/shops/" + pressed.ShopSlug
	}
	if proof != "" && strings.HasPrefix(target, "/") {
		target += "?" + url.Values{"advert": {proof}}.Encode()
	}
	see(w, r, target)
}

// seeAdvert counts a view: the script tells when the advertisement is in sight.
func (s *Server) seeAdvert(w http.ResponseWriter, r *http.Request) {
	token, err := io.ReadAll(io.LimitReader(r.Body, maxToken))
	if err == nil && s.adverts != nil && !advert.Robot(r.UserAgent()) {
		s.adverts.View(string(token))
	}
	w.WriteHeader(http.StatusNoContent)
}

// advertReview is an advertisement before the operator.
type advertReview struct {
	store.ShopAdvert
	Look advertLook
}

// reviewAdverts lists the advertisements that wait for the operator, or those that are
// shown.
func (s *Server) reviewAdverts(w http.ResponseWriter, r *http.Request) {
	s.showReview(w, r, http.StatusOK, blank())
}

func (s *Server) showReview(w http.ResponseWriter, r *http.Request, status int, f *form) {
	if !visitor(r).Operator {
		s.missing(w, r)
		return
	}
	q := r.URL.Query()
	state := store.AdvertReview
	if q.Get("state") == store.AdvertShown {
		state = store.AdvertShown
	}
	all, err := s.store.AdvertsIn(r.Context(), state, q.Get("before"), listed+1)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := consoleData{Tab: state, Form: f}
	if len(all) > listed {
		all = all[:listed]
		d.More = "?" + url.Values{"state": {state}, "before": {all[listed-1].ID}}.Encode()
	}
	var list []advertReview
	for _, a := range all {
		list = append(list, advertReview{a, preview(a)})
	}
	d.Data = list
	s.page(w, r, status, page{Title: tongue(r).Say("advert.review"), Template: "operator-adverts", Data: d, Wide: true})
}

// reviewAdvert approves an advertisement, or refuses it with a reason.
func (s *Server) reviewAdvert(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	if !v.Operator {
		s.missing(w, r)
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	ctx, id, why := r.Context(), f.Get("advert"), f.Get("why")
	weight, err := strconv.ParseInt(f.Get("weight"), 10, 64)
	approve := f.Get("do") == "approve"
	switch {
	case approve && (err != nil || weight < 1 || weight > store.MaxWeight):
		f.Fail("weight-"+id, tongue(r).Say("console.why.number"))
	case !approve && !goodWhy(why):
		f.Fail("why-"+id, tongue(r).Say("advert.why.why"))
	}
	if !f.OK() {
		s.showReview(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	act := "advert.refuse"
	if approve {
		act = "advert.approve"
	}
	err = s.store.AddAudit(ctx, store.Audit{Actor: v.Login, Role: store.ActorOperator, Act: act, About: id})
	if err == nil && approve {
		err = s.store.ApproveAdvert(ctx, id, f.Get("seen"), weight)
	} else if err == nil {
		err = s.store.RefuseAdvert(ctx, id, why)
	}
	if err == nil {
		err = s.loadAdverts(r)
	}
	if err == nil {
		err = s.tellAdvert(r, id)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, r.URL.RequestURI())
}

// goodWhy says whether the operator may give a reason.
func goodWhy(why string) bool { return why != "" && utf8.RuneCountInString(why) <= maxWhy }

// tellAdvert mails the shop of an advertisement what the operator decided.
func (s *Server) tellAdvert(r *http.Request, id string) error {
	a, err := s.store.AnyAdvert(r.Context(), id)
	if err != nil {
		return err
	}
	shop, err := s.store.Shop(r.Context(), a.Shop)
	if err != nil {
		return err
	}
	step := mall.ReviewApproved
	if a.State == store.AdvertRefused {
		step = mall.ReviewRefused
	}
	s.mall.TellReview(r.Context(), visitor(r).Login, mall.Review{Shop: shop, Advert: a.Title, Step: step, Why: a.Why,
		Path: []string{"console", shop.Slug, "adverts", id}}, s.clientIP(r))
	return nil
}

// loadAdverts makes a change seen at once; other hosts of the mall see it soon.
func (s *Server) loadAdverts(r *http.Request) error {
	if s.adverts == nil {
		return nil
	}
	return s.adverts.Load(r.Context())
}

// advertTarget reads where an advertisement of a shop is to lead: goods or a shop of the
// mall, or an address elsewhere; nothing: the shop's own page. rings is the shop that
// "Chat now" rings there. store.Invalid.
func (s *Server) advertTarget(r *http.Request, own store.Shop, text string) (target, rings string, err error) {
	wrong := store.Invalid{Field: "target", Why: "target"}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", wrong
	}
	if u.Host == "" && u.Scheme == "" || strings.EqualFold(u.Host, s.mall.Base().Host) {
		return s.mallTarget(r, own, u.Path)
	}
	if u.Scheme != "https" {
		return "", "", wrong
	}
	return u.String(), own.ID, nil
}

// mallTarget is advertTarget for a path of the mall.
func (s *Server) mallTarget(r *http.Request, own store.Shop, path string) (target, rings string, err error) {
	kind, name, _ := strings.Cut(strings.Trim(path, "/"), "/")
	shop := own
	switch {
	case path == "":
		kind, name = "shops", own.Slug
	case kind == "shops":
		shop, err = s.store.ShopBySlug(r.Context(), name)
	case kind == "goods":
		var topic store.Topic
		if topic, err = s.store.TopicOf(r.Context(), name); err == nil {
			shop, err = s.store.Shop(r.Context(), topic.Shop)
		}
	default:
		err = store.ErrUnknown
	}
	if errors.Is(err, store.ErrUnknown) || err == nil && shop.State != store.ShopOpen {
		err = store.Invalid{Field: "target", Why: "target"}
	}
	return "/" + kind + "/" + name, shop.ID, err
}

// advertFuncs are the templates' functions of this subject.
var advertFuncs = template.FuncMap{
	"look": func(a store.Advert, shop store.Shop) advertLook {
		return preview(store.ShopAdvert{Advert: a, ShopName: shop.Name, ShopSlug: shop.Slug, Currency: shop.Currency})
	},
}
