// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"html/template"
	"net/http"
	"slices"
	"strconv"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/mall/store"
)

const (
	onPage      = 24 // goods in one part of a list
	maxQuery    = 100
	maxQuantity = 99
)

func (s *Server) catalogueRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.front)
	mux.HandleFunc("GET /categories/{category}", s.category)
	mux.HandleFunc("GET /search", s.search)
	mux.HandleFunc("GET /shops/{slug}", s.shop)
	mux.HandleFunc("GET /goods/{goods}", s.goods)
	mux.HandleFunc("POST /goods/{goods}/basket", s.addToBasket)
	mux.HandleFunc("POST /goods/{goods}/bookmark", s.bookmark)
	mux.HandleFunc("GET /basket", s.basket)
	mux.HandleFunc("POST /basket", s.changeBasket)
	mux.HandleFunc("GET /bookmarks", s.bookmarks)
}

// listing is a list of goods, with what stands above it.
type listing struct {
	Head       string
	What       template.HTML
	Goods      []store.Listed
	Next       string // address of the next part
	Categories []store.Category
	Shops      []store.Shop
	Text       template.HTML
	There      there
	Shop       *store.Shop
	Advert     *advertLook
}

// list answers with goods of a filter.
func (s *Server) list(w http.ResponseWriter, r *http.Request, f store.CatalogueFilter, l listing, template string) {
	var err error
	var next string
	if l.Goods, next, err = s.store.ListGoods(r.Context(), f, r.URL.Query().Get("after"), onPage); err != nil {
		s.failed(w, r, err)
		return
	}
	if next != "" {
		q := r.URL.Query()
		q.Set("after", next)
		l.Next = r.URL.Path + "?" + q.Encode()
	}
	s.page(w, r, http.StatusOK, page{Title: l.Head, Template: template, Data: l, Wide: true})
}

func (s *Server) front(w http.ResponseWriter, r *http.Request) {
	all, err := s.store.Categories(r.Context())
	l := listing{Head: tongue(r).Say("mall.front"), Categories: under(all, ""),
		Advert: s.advert(r, store.PlaceFront, "")}
	if err == nil {
		l.Shops, err = s.store.OpenShops(r.Context(), "", 12)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.list(w, r, store.CatalogueFilter{}, l, "front")
}

// under are the categories below one.
func under(all []store.Category, parent string) (some []store.Category) {
	for _, c := range all {
		if c.Parent == parent {
			some = append(some, c)
		}
	}
	return some
}

func (s *Server) category(w http.ResponseWriter, r *http.Request) {
	all, err := s.store.Categories(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	i := slices.IndexFunc(all, func(c store.Category) bool { return c.ID == r.PathValue("category") })
	if i < 0 {
		s.missing(w, r)
		return
	}
	l := listing{Head: all[i].Name(tongue(r).Lang), Categories: under(all, all[i].ID),
		Advert: s.advert(r, store.PlaceList, all[i].ID)}
	f := store.CatalogueFilter{Categories: []string{all[i].ID}}
	for _, c := range l.Categories {
		f.Categories = append(f.Categories, c.ID)
	}
	s.list(w, r, f, l, "list")
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	q := []rune(r.URL.Query().Get("q"))
	words := string(q[:min(len(q), maxQuery)])
	s.mall.Looked(visitor(r).Member, store.UseSearch, words)
	say := tongue(r)
	s.list(w, r, store.CatalogueFilter{Words: words}, listing{Head: say.Say("mall.found", "words", words),
		Advert: s.advert(r, store.PlaceSearch, "")}, "list")
}

func (s *Server) shop(w http.ResponseWriter, r *http.Request) {
	shop, err := s.store.ShopBySlug(r.Context(), r.PathValue("slug"))
	if err == nil && shop.State != store.ShopOpen {
		err = store.ErrUnknown
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.mall.Looked(visitor(r).Member, store.UseShop, shop.Slug)
	s.list(w, r, store.CatalogueFilter{Shop: shop.ID}, listing{Head: shop.Name, Text: markdown(shop.About), Shop: &shop,
		There: s.there(r, shop)}, "list")
}

// there is whether somebody of a shop can be rung now.
type there struct {
	Here, Closed bool
	Opens        string // when it does, if it is closed: a day and a time in the shop's zone
}

func (s *Server) there(r *http.Request, shop store.Shop) (t there) {
	status := s.mall.Relay().Status(r.Context(), shop.Addr)
	t.Here, t.Closed = status.State == frame.Available, status.State == frame.Closed
	if t.Closed && status.Until != nil {
		at := status.Until.In(zoneOf(shop))
		t.Opens = tongue(r).Say("console.day"+strconv.Itoa(int(at.Weekday()))) + at.Format(" 15:04")
	}
	return t
}

// cleaner lets through what a text of a shop may have.
var cleaner = bluemonday.UGCPolicy()

// markdown is a shop's text as HTML that can do no harm.
func markdown(text string) template.HTML {
	var b bytes.Buffer
	if err := goldmark.Convert([]byte(text), &b); err != nil { // into memory
		return template.HTML(template.HTMLEscapeString(text))
	}
	return template.HTML(cleaner.SanitizeBytes(b.Bytes()))
}

// goodsView is what the page of goods shows.
type goodsView struct {
	store.GoodsPage
	HTML       template.HTML
	There      there
	Bookmarked bool
	Advert     *advertLook
}

func (s *Server) goods(w http.ResponseWriter, r *http.Request) {
	found, err := s.store.GoodsByID(r.Context(), r.PathValue("goods"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.mall.Looked(visitor(r).Member, store.UseGoods, found.ID)
	v := goodsView{GoodsPage: found, HTML: markdown(found.Text), There: s.there(r, found.Shop),
		Advert: s.advert(r, store.PlaceGoods, found.Category)}
	if m := visitor(r).Member; m != nil {
		if v.Bookmarked, err = s.store.Bookmarked(r.Context(), m.ID, found.ID); err != nil {
			s.failed(w, r, err)
			return
		}
	}
	s.page(w, r, http.StatusOK, page{Title: found.Title, Template: "goods", Data: v, Wide: true})
}

// quantity reads how many of something; 0 where it is no number that can be bought.
func quantity(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > maxQuantity {
		return 0
	}
	return n
}

func (s *Server) addToBasket(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	n := max(1, quantity(f.Get("quantity")))
	if err := s.store.AddToBasket(r.Context(), v.Member.ID, r.PathValue("goods"), f.Get("variant"), n); err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, "/basket")
}

func (s *Server) bookmark(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	goods := r.PathValue("goods")
	if err := s.store.SetBookmark(r.Context(), v.Member.ID, goods, f.On("mark")); err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, "/goods/"+goods)
}

func (s *Server) bookmarks(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	list, err := s.store.Bookmarks(r.Context(), v.Member.ID, 200)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	title := tongue(r).Say("mall.bookmarks")
	s.page(w, r, http.StatusOK, page{Title: title, Template: "list", Wide: true,
		Data: listing{Head: title, Goods: list}})
}

// basketShop is what a basket has of one shop.
type basketShop struct {
	ID, Name, Slug, Currency string
	Lines                    []store.InBasket
	Total                    int64
	Short                    bool // something is not to be had as wanted
}

func (s *Server) basket(w http.ResponseWriter, r *http.Request) {
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	lines, err := s.store.Basket(r.Context(), v.Member.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	var shops []basketShop
	for _, line := range lines {
		if n := len(shops); n == 0 || shops[n-1].ID != line.Shop {
			shops = append(shops, basketShop{ID: line.Shop, Name: line.ShopName, Slug: line.ShopSlug,
				Currency: line.Currency})
		}
		of := &shops[len(shops)-1]
		of.Lines = append(of.Lines, line)
		of.Total += line.Price * line.Quantity
		of.Short = of.Short || !line.Shown || line.Stock < line.Quantity
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("mall.basket"), Template: "basket", Data: shops, Wide: true})
}

func (s *Server) changeBasket(w http.ResponseWriter, r *http.Request) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	v, ok := s.member(w, r)
	if !ok {
		return
	}
	n := quantity(f.Get("quantity"))
	if f.On("remove") {
		n = 0
	}
	if err := s.store.SetQuantity(r.Context(), v.Member.ID, f.Get("goods"), f.Get("variant"), n); err != nil {
		s.failed(w, r, err)
		return
	}
	see(w, r, "/basket")
}
