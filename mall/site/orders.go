// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

const (
	ordersPage = 30
	maxDeliver = 1000 // octets of where an order goes
	maxNotice  = 8 << 10
)

func (s *Server) orderRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /orders", s.orders)
	mux.HandleFunc("GET /orders/{number}", s.order)
	mux.HandleFunc("POST /orders/{number}/accept", s.orderStep(order.Accept))
	mux.HandleFunc("POST /orders/{number}/cancel", s.orderStep(order.Cancel))
	mux.HandleFunc("POST /orders/{number}/receive", s.orderStep(order.Receive))
	mux.HandleFunc("GET /checkout", s.checkoutForm)
	mux.HandleFunc("POST /checkout", s.checkout)
	mux.HandleFunc("POST /pay/{slug}/{provider}", s.payNotice)
}

// orderView is an order as its member sees it.
type orderView struct {
	Order   store.Order
	Shop    store.Shop
	Lines   []store.OrderLine
	Steps   []store.OrderEvent
	Deliver string
	HowTo   string
	Form    *form
	May     map[string]bool
}

func linesText(lines []store.OrderLine) string {
	var all []string
	for _, l := range lines {
		all = append(all, strconv.FormatInt(l.Quantity, 10)+" × "+l.Title)
	}
	return strings.Join(all, ", ")
}

func (s *Server) orders(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	list, err := s.store.OrdersOf(r.Context(), v.Member.ID, r.URL.Query().Get("before"), ordersPage+1)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	data := struct {
		Orders []store.Order
		More   string
	}{Orders: list}
	if len(list) > ordersPage {
		data.Orders, data.More = list[:ordersPage], list[ordersPage-1].ID
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("talk.orders"), Template: "orders", Data: data})
}

func (s *Server) order(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	o, err := s.store.OrderOf(r.Context(), v.Member.ID, r.PathValue("number"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f := blank()
	if known, err := s.mall.Personal(*v.Member); err == nil {
		f = blank("deliver", known.Deliver)
	}
	s.orderPage(w, r, http.StatusOK, o, f)
}

func (s *Server) orderPage(w http.ResponseWriter, r *http.Request, status int, o store.Order, f *form) {
	ctx := r.Context()
	d := orderView{Order: o, Form: f, May: map[string]bool{}}
	var err error
	if d.Shop, err = s.store.Shop(ctx, o.Shop); err == nil {
		d.Lines, err = s.store.Lines(ctx, o)
	}
	if err == nil {
		d.Steps, err = s.store.Steps(ctx, o)
	}
	if err == nil {
		d.Deliver, err = s.mall.Deliver(o)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if o.State == order.Accepted {
		d.HowTo = s.mall.HowToPay(d.Shop, o, tongue(r).Lang)
	}
	for _, act := range order.Acts(o.State, order.Member) {
		d.May[string(act)] = true
	}
	s.page(w, r, status, page{Title: tongue(r).Say("talk.aboutOrder", "number", o.Number), Template: "order", Data: d})
}

// orderStep takes a step of a member's order.
func (s *Server) orderStep(act order.Act) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.member(w, r)
		if !ok {
			return
		}
		f, ok := s.readForm(w, r)
		if !ok {
			return
		}
		o, err := s.store.OrderOf(r.Context(), v.Member.ID, r.PathValue("number"))
		if err != nil {
			s.failed(w, r, err)
			return
		}
		deliver := ""
		if act == order.Accept {
			if deliver = s.deliver(r, f); !f.OK() {
				s.orderPage(w, r, http.StatusUnprocessableEntity, o, f)
				return
			}
		}
		_, err = s.mall.Move(r.Context(), o, act, order.Member, v.Login, "", deliver, s.clientIP(r))
		switch {
		case errors.Is(err, store.ErrStock):
			f.Fail("deliver", tongue(r).Say("talk.stock"))
			s.orderPage(w, r, http.StatusConflict, o, f)
		case errors.Is(err, order.ErrStep):
			s.failed(w, r, store.ErrState)
		case err != nil:
			s.failed(w, r, err)
		default:
			see(w, r, "/orders/"+o.Number)
		}
	}
}

// deliver is where goods go, as it was typed.
func (s *Server) deliver(r *http.Request, f *form) string {
	to, err := clean.Message(f.Values.Get("deliver"), maxDeliver)
	if err != nil || to == "" {
		f.Fail("deliver", tongue(r).Say("talk.deliver.wrong"))
	}
	return to
}

// basketOf is one shop's part of the checkout.
type basketOf struct {
	Shop  store.Shop
	Lines []store.OrderLine
	Total int64
}

// checkingOut is the page of it.
type checkingOut struct {
	Form  *form
	Shops []basketOf
}

func (s *Server) checkoutForm(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f := blank()
	if known, err := s.mall.Personal(*v.Member); err == nil {
		f = blank("deliver", known.Deliver)
	}
	s.checkoutPage(w, r, http.StatusOK, v, f)
}

func (s *Server) checkoutPage(w http.ResponseWriter, r *http.Request, status int, v mall.Visitor, f *form) {
	d := checkingOut{Form: f}
	lines, err := s.store.BasketLines(r.Context(), v.Member.ID)
	for _, l := range lines {
		if n := len(d.Shops); n == 0 || d.Shops[n-1].Shop.ID != l.Shop {
			shop, failed := s.store.Shop(r.Context(), l.Shop)
			err = errors.Join(err, failed)
			d.Shops = append(d.Shops, basketOf{Shop: shop})
		}
		of := &d.Shops[len(d.Shops)-1]
		of.Lines = append(of.Lines, l)
		of.Total += l.Price * l.Quantity
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, status, page{Title: tongue(r).Say("talk.checkout"), Template: "checkout", Data: d})
}

func (s *Server) checkout(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	expect := map[string]int64{}
	for name, values := range f.Values {
		if shop, is := strings.CutPrefix(name, "total."); is && len(values) == 1 && len(expect) < store.MaxLines {
			expect[shop], _ = strconv.ParseInt(values[0], 10, 64) // no number: not what it costs
		}
	}
	to := s.deliver(r, f)
	if !f.OK() {
		s.checkoutPage(w, r, http.StatusUnprocessableEntity, v, f)
		return
	}
	_, err := s.mall.Checkout(r.Context(), *v.Member, expect, to, s.clientIP(r))
	key := map[error]string{store.ErrStock: "talk.stock", store.ErrPrice: "talk.price", store.ErrLines: "talk.lines"}
	for known, words := range key {
		if errors.Is(err, known) {
			f.Fail("deliver", tongue(r).Say(words))
			s.checkoutPage(w, r, http.StatusConflict, v, f)
			return
		}
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, "/orders")
}

// payNotice takes what a payment provider tells.
func (s *Server) payNotice(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNotice))
	provider := r.PathValue("provider")
	if err != nil || len(provider) > 64 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	shop, err := s.store.ShopBySlug(r.Context(), r.PathValue("slug"))
	var o store.Order
	if err == nil {
		o, err = s.mall.PayNotice(r.Context(), shop, provider,
			strings.TrimPrefix(r.Header.Get("CHmail-Signature"), "sha256="), body)
	}
	switch {
	case errors.Is(err, mall.ErrSignature):
		w.WriteHeader(http.StatusUnauthorized)
	case errors.Is(err, mall.ErrNotice):
		w.WriteHeader(http.StatusBadRequest)
	case errors.Is(err, store.ErrUnknown):
		w.WriteHeader(http.StatusNotFound)
	case err != nil:
		s.log.Error("taking a notice of a payment", "shop", shop.Slug, "err", err)
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		answerJSON(w, map[string]string{"order": o.Number, "state": string(o.State)})
	}
}
