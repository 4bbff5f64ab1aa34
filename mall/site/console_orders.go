// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"
	"strings"

	"github.com/chmail/chmail/mall/feed"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

// shopOrder shows an order to the shop, with the steps that it may take.
func (s *Server) shopOrder(w http.ResponseWriter, r *http.Request, c visit) {
	ctx := r.Context()
	p := struct {
		Order              store.Order
		Lines              []store.OrderLine
		Steps              []store.OrderEvent
		Name, Who, Deliver string
		Acts               []order.Act
	}{}
	var err error
	if p.Order, err = s.store.OrderIn(ctx, c.Shop.ID, r.PathValue("number")); err == nil {
		p.Lines, err = s.store.Lines(ctx, p.Order)
	}
	if err == nil {
		p.Steps, err = s.store.Steps(ctx, p.Order)
	}
	if err == nil {
		p.Deliver, err = s.mall.Deliver(p.Order)
	}
	if err == nil {
		p.Name, p.Who, err = s.readMember(r, c, p.Order.Member)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	p.Acts = order.Acts(p.Order.State, order.Shop)
	s.show(w, r, http.StatusOK, "order", consoleData{visit: c, Form: blank(), Data: p})
}

// readMember is the name and the login of a member, which the audit trail notes; both
// are empty of a stranger and of whoever is no member any more.
func (s *Server) readMember(r *http.Request, c visit, id string) (name, login string, err error) {
	member, err := s.store.MemberByID(r.Context(), id)
	if errors.Is(err, store.ErrUnknown) {
		return "", "", nil
	}
	if err == nil {
		err = s.store.AddAudit(r.Context(), store.Audit{Actor: c.Actor, Role: store.ActorHost, Act: "member.read",
			About: member.ID, Shop: c.Shop.ID})
	}
	if err != nil {
		return "", "", err
	}
	personal, err := s.mall.Personal(member)
	return personal.Name, member.Login, err
}

// shopStep takes a step of an order for the shop.
func (s *Server) shopStep(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	o, err := s.store.OrderIn(r.Context(), c.Shop.ID, r.PathValue("number"))
	if err == nil {
		_, err = s.mall.Move(r.Context(), o, order.Act(f.Get("act")), order.Shop, c.Actor, f.Get("note"), "",
			s.clientIP(r))
	}
	if errors.Is(err, order.ErrStep) {
		err = store.ErrState
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/orders/"+o.Number)
}

// offerMake offers goods to the member who asked, in the talk.
func (s *Server) offerMake(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	ctx, t := r.Context(), tongue(r)
	i, err := s.store.Inquiry(ctx, c.Shop.ID, r.PathValue("id"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	line, err := s.offered(r, c, f)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if f.OK() {
		_, err = s.mall.Offer(ctx, c.Actor, i, []store.OrderLine{line}, f.Get("note"), s.clientIP(r))
		if errors.Is(err, store.ErrLines) {
			f.Fail("sku", t.Say("console.offerGoods"))
		} else if err != nil {
			s.failed(w, r, err)
			return
		}
	}
	if !f.OK() {
		s.showInquiry(w, r, http.StatusUnprocessableEntity, c, i, f)
		return
	}
	c.back(w, r, "/inquiries/"+i.ID)
}

// offered reads the goods of an offer; what is wrong with it is in the form.
func (s *Server) offered(r *http.Request, c visit, f *form) (line store.OrderLine, err error) {
	t := tongue(r)
	topic, err := s.store.TopicBySKU(r.Context(), c.Shop.ID, f.Get("sku"))
	var it store.Item
	if err == nil {
		it, err = s.store.ItemOf(r.Context(), c.Shop.ID, topic.Goods)
	}
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return line, err
	}
	line.Goods = it.Goods.ID
	for _, v := range it.Variants {
		if len(it.Variants) == 1 || strings.EqualFold(v.Name, f.Get("variant")) {
			line.Variant = v.ID
		}
	}
	switch {
	case line.Goods == "":
		f.Fail("sku", t.Say("console.offerGoods"))
	case line.Variant == "":
		f.Fail("variant", t.Say("console.offerVariant"))
	}
	var wrong error
	if line.Quantity, wrong = feed.Amount(f.Get("quantity"), 0); wrong != nil || line.Quantity < 1 {
		f.Fail("quantity", t.Say("console.why.number"))
	}
	if price := f.Get("price"); price != "" { // else what the goods cost
		if line.Price, wrong = feed.Amount(price, digitsOf(c.Shop.Currency)); wrong != nil {
			f.Fail("price", t.Say("console.why.number"))
		}
	}
	return line, nil
}
