// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

// apiTable are the calls of a shop's API, below /api/v1; docs/mall-api.md describes
// them. A key may what a manager may.
var apiTable = []shopRoute{
	{"GET", "/goods", store.RoleManager, (*Server).apiGoods},
	{"POST", "/goods", store.RoleManager, (*Server).apiGoodsAdd},
	{"GET", "/goods/{id}", store.RoleManager, (*Server).apiItemGet},
	{"PUT", "/goods/{id}", store.RoleManager, (*Server).apiItemPut},
	{"POST", "/goods/{id}/stock", store.RoleManager, (*Server).apiStock},
	{"GET", "/inquiries", store.RoleManager, (*Server).apiInquiries},
	{"GET", "/inquiries/{id}", store.RoleManager, (*Server).apiInquiry},
	{"GET", "/orders", store.RoleManager, (*Server).apiOrders},
	{"GET", "/orders/{number}", store.RoleManager, (*Server).apiOrder},
	{"POST", "/orders/{number}", store.RoleManager, (*Server).apiOrderStep},
}

const (
	apiBase = "/api/v1"
	maxJSON = 256 << 10
)

func (s *Server) apiRoutes(mux *http.ServeMux) {
	for _, route := range apiTable {
		mux.HandleFunc(route.Method+" "+apiBase+route.Path, func(w http.ResponseWriter, r *http.Request) {
			key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			shop, row, err := s.store.ShopOfKey(r.Context(), key)
			if !ok || errors.Is(err, store.ErrUnknown) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="mall"`)
				apiFail(w, http.StatusUnauthorized, "key", "A key of an open shop is needed.")
				return
			}
			if err != nil {
				s.apiError(w, r, err)
				return
			}
			c := visit{Shop: shop, Role: store.RoleManager, Actor: "key " + row.Name}
			if !c.May(route.Role) {
				apiFail(w, http.StatusForbidden, "role", "A key may not do that.")
				return
			}
			route.serve(s, w, r, c)
		})
	}
}

// apiItem is goods as the API has them; money is in the currency's smallest unit.
type apiItem struct {
	ID       string       `json:"id"`
	SKU      string       `json:"sku"`
	Title    string       `json:"title"`
	Text     string       `json:"text"`
	Category string       `json:"category"`
	State    string       `json:"state"`
	Currency string       `json:"currency"`
	Variants []apiVariant `json:"variants,omitempty"`
	Pictures []string     `json:"pictures,omitempty"`
	Created  int64        `json:"created"`
	Changed  int64        `json:"changed"`
}

type apiVariant struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"price"`
	Stock int64  `json:"stock"`
}

func apiItemOf(shop store.Shop, it store.Item) apiItem {
	out := apiItem{ID: it.Goods.ID, SKU: it.SKU, Title: it.Title, Text: it.Text, Category: it.Category, State: it.State,
		Currency: shop.Currency, Created: it.Created, Changed: it.Changed}
	for _, v := range it.Variants {
		out.Variants = append(out.Variants, apiVariant{v.ID, v.Name, v.Price, v.Stock})
	}
	for _, p := range it.Pictures {
		out.Pictures = append(out.Pictures, pictureURL(p.Hash, 960))
	}
	return out
}

// into sets what a call may set.
func (a apiItem) into(it *store.Item) {
	it.SKU, it.Title, it.Text, it.Category, it.State = a.SKU, a.Title, a.Text, a.Category, a.State
	it.Variants = nil
	for _, v := range a.Variants {
		it.Variants = append(it.Variants, store.Variant{ID: v.ID, Name: v.Name, Price: v.Price, Stock: v.Stock})
	}
}

func apiAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

func apiFail(w http.ResponseWriter, status int, code, text string) {
	apiAnswer(w, status, map[string]string{"error": code, "text": text})
}

// apiError answers for an act that did not succeed.
func (s *Server) apiError(w http.ResponseWriter, r *http.Request, err error) {
	var invalid store.Invalid
	switch {
	case errors.Is(err, store.ErrUnknown):
		apiFail(w, http.StatusNotFound, "unknown", "There is no such thing in this shop.")
	case errors.As(err, &invalid):
		apiFail(w, http.StatusUnprocessableEntity, invalid.Field+"-"+invalid.Why,
			"The field "+invalid.Field+" cannot be stored: "+invalid.Why+".")
	case errors.Is(err, store.ErrTaken):
		apiFail(w, http.StatusConflict, "sku-taken", "The shop has goods of that sku.")
	case errors.Is(err, store.ErrFull):
		apiFail(w, http.StatusConflict, "full", "The shop has as many goods as it may.")
	case errors.Is(err, store.ErrStock):
		apiFail(w, http.StatusConflict, "stock", "There is less than that in stock, or no room for so much.")
	case errors.Is(err, order.ErrStep):
		apiFail(w, http.StatusConflict, "step", "The order is in no state for that.")
	case errors.Is(err, store.ErrState):
		apiFail(w, http.StatusPreconditionFailed, "changed", "The goods were changed or sold meanwhile: read them again.")
	default:
		s.log.Error("answering a call of the API", "route", r.Pattern, "err", err)
		w.Header().Set("Retry-After", "5")
		apiFail(w, http.StatusServiceUnavailable, "down", "The mall cannot do this right now.")
	}
}

// apiRead reads a call's body; otherwise it has answered.
func apiRead(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJSON))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		apiFail(w, http.StatusBadRequest, "json", "The body cannot be read: "+err.Error())
		return false
	}
	return true
}

// apiPage are a list's bounds.
func apiPage(r *http.Request) (after string, limit int) {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil || limit < 1 || limit > 200 {
		limit = 100
	}
	return r.URL.Query().Get("after"), limit
}

func (s *Server) apiGoods(w http.ResponseWriter, r *http.Request, c visit) {
	after, limit := apiPage(r)
	rows, err := s.store.GoodsOfShop(r.Context(), c.Shop.ID,
		store.GoodsFilter{State: r.URL.Query().Get("state"), Search: r.URL.Query().Get("q"), After: after}, limit)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	list := []apiItem{}
	for _, row := range rows {
		list = append(list, apiItemOf(c.Shop, store.Item{Goods: row.Goods}))
	}
	apiAnswer(w, http.StatusOK, map[string]any{"goods": list})
}

func (s *Server) apiGoodsAdd(w http.ResponseWriter, r *http.Request, c visit) {
	var in apiItem
	if !apiRead(w, r, &in) {
		return
	}
	var it store.Item
	in.into(&it)
	it, err := s.store.AddGoods(r.Context(), c.Shop.ID, it)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	w.Header().Set("Location", apiBase+"/goods/"+it.Goods.ID)
	w.Header().Set("ETag", strconv.Quote(it.Stamp()))
	apiAnswer(w, http.StatusCreated, apiItemOf(c.Shop, it))
}

func (s *Server) apiItemGet(w http.ResponseWriter, r *http.Request, c visit) {
	it, err := s.store.ItemOf(r.Context(), c.Shop.ID, r.PathValue("id"))
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	tag := strconv.Quote(it.Stamp())
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	apiAnswer(w, http.StatusOK, apiItemOf(c.Shop, it))
}

// apiItemPut changes goods. The ETag that was read is required, so that nothing sold
// meanwhile comes back into stock (RFC 9110 section 13.1.1).
func (s *Server) apiItemPut(w http.ResponseWriter, r *http.Request, c visit) {
	tag := r.Header.Get("If-Match")
	if tag == "" {
		apiFail(w, http.StatusPreconditionRequired, "if-match", "If-Match with the ETag that was read is needed.")
		return
	}
	var in apiItem
	if !apiRead(w, r, &in) {
		return
	}
	it, err := s.store.ChangeGoods(r.Context(), c.Shop.ID, r.PathValue("id"), func(it *store.Item) error {
		if strconv.Quote(it.Stamp()) != tag {
			return store.ErrState
		}
		in.into(it)
		return nil
	})
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(it.Stamp()))
	apiAnswer(w, http.StatusOK, apiItemOf(c.Shop, it))
}

// apiStock changes the stock of a variant by a number, so that what is sold meanwhile
// stays sold.
func (s *Server) apiStock(w http.ResponseWriter, r *http.Request, c visit) {
	var in struct {
		Variant string `json:"variant"`
		By      int64  `json:"by"`
	}
	if !apiRead(w, r, &in) {
		return
	}
	stock, err := s.store.ChangeStock(r.Context(), c.Shop.ID, r.PathValue("id"), in.Variant, in.By)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	apiAnswer(w, http.StatusOK, map[string]any{"variant": in.Variant, "stock": stock})
}

func apiInquiryOf(i store.Inquiry) map[string]any {
	return map[string]any{"id": i.ID, "goods": i.Goods, "subject": i.Subject, "created": i.Created, "rung": i.Rung,
		"answered": i.Answered}
}

func (s *Server) apiInquiries(w http.ResponseWriter, r *http.Request, c visit) {
	after, limit := apiPage(r)
	from := s.store.InquiriesIn
	if r.URL.Query().Get("open") != "" {
		from = s.store.UnansweredIn
	}
	rows, err := from(r.Context(), c.Shop.ID, after, limit)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	list := []map[string]any{}
	for _, i := range rows {
		list = append(list, apiInquiryOf(i))
	}
	apiAnswer(w, http.StatusOK, map[string]any{"inquiries": list})
}

// apiInquiry is an inquiry with what the console shows beside it.
func (s *Server) apiInquiry(w http.ResponseWriter, r *http.Request, c visit) {
	i, err := s.store.Inquiry(r.Context(), c.Shop.ID, r.PathValue("id"))
	out := apiInquiryOf(i)
	orders := []map[string]any{}
	if err == nil {
		out["name"], out["login"], err = s.readMember(r, c, i.Member)
	}
	if err == nil && i.Member != "" {
		var list []store.Order
		list, err = s.store.OrdersFrom(r.Context(), c.Shop.ID, i.Member, listed)
		for _, o := range list {
			orders = append(orders, apiOrderOf(o))
		}
	}
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	out["question"], out["orders"], out["desk"] = i.Question, orders, s.deskOf(i)
	apiAnswer(w, http.StatusOK, out)
}

func apiOrderOf(o store.Order) map[string]any {
	return map[string]any{"id": o.ID, "number": o.Number, "state": o.State, "currency": o.Currency, "total": o.Total,
		"created": o.Created, "changed": o.Changed}
}

func (s *Server) apiOrders(w http.ResponseWriter, r *http.Request, c visit) {
	after, limit := apiPage(r)
	rows, err := s.store.OrdersIn(r.Context(), c.Shop.ID, order.State(r.URL.Query().Get("state")), after, limit)
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	list := []map[string]any{}
	for _, o := range rows {
		list = append(list, apiOrderOf(o))
	}
	apiAnswer(w, http.StatusOK, map[string]any{"orders": list})
}

func (s *Server) apiOrder(w http.ResponseWriter, r *http.Request, c visit) {
	o, err := s.store.OrderIn(r.Context(), c.Shop.ID, r.PathValue("number"))
	s.apiWhole(w, r, c, o, err)
}

// apiOrderStep takes a step of an order for the shop.
func (s *Server) apiOrderStep(w http.ResponseWriter, r *http.Request, c visit) {
	var in struct {
		Act  order.Act `json:"act"`
		Note string    `json:"note"`
	}
	if !apiRead(w, r, &in) {
		return
	}
	o, err := s.store.OrderIn(r.Context(), c.Shop.ID, r.PathValue("number"))
	if err == nil {
		o, err = s.mall.Move(r.Context(), o, in.Act, order.Shop, c.Actor, in.Note, "", s.clientIP(r))
	}
	s.apiWhole(w, r, c, o, err)
}

// apiWhole answers with an order and all that belongs to it.
func (s *Server) apiWhole(w http.ResponseWriter, r *http.Request, c visit, o store.Order, err error) {
	var lines []store.OrderLine
	out, list := apiOrderOf(o), []map[string]any{}
	if err == nil {
		lines, err = s.store.Lines(r.Context(), o)
	}
	if err == nil {
		out["name"], out["login"], err = s.readMember(r, c, o.Member)
	}
	if err == nil {
		out["deliver"], err = s.mall.Deliver(o)
	}
	if err != nil {
		s.apiError(w, r, err)
		return
	}
	for _, l := range lines {
		list = append(list, map[string]any{"goods": l.Goods, "variant": l.Variant, "title": l.Title,
			"quantity": l.Quantity,
			"price":    l.Price})
	}
	out["lines"], out["acts"] = list, order.Acts(o.State, order.Shop)
	apiAnswer(w, http.StatusOK, out)
}
