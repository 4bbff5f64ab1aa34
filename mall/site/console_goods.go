// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/mall/feed"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
)

const (
	newVariants   = 3               // empty lines of a form
	importTimeout = 5 * time.Minute // to bring a file of goods in
)

// digitsOf are those after the point of a currency's amounts.
func digitsOf(currency string) int {
	if n, ok := digits[currency]; ok {
		return n
	}
	return 2
}

func (s *Server) goodsList(w http.ResponseWriter, r *http.Request, c visit) {
	q := r.URL.Query()
	filter := store.GoodsFilter{State: q.Get("state"), Search: q.Get("find"), After: q.Get("after")}
	rows, err := s.store.GoodsOfShop(r.Context(), c.Shop.ID, filter, listed+1)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := consoleData{visit: c, Form: blank("find", filter.Search, "state", filter.State)}
	if len(rows) > listed {
		rows = rows[:listed]
		q.Set("after", rows[listed-1].Goods.ID)
		d.More = "?" + q.Encode()
	}
	d.Data = rows
	s.show(w, r, http.StatusOK, "goods", d)
}

// variantLine is a line of the form's variants.
type variantLine struct{ ID, Name, Price, Stock, Was, Error string }

// goodsPage is what the form of goods shows.
type goodsPage struct {
	ID, Stamp  string
	Variants   []variantLine
	Pictures   []store.Picture
	Categories []any
}

func (s *Server) goodsForm(w http.ResponseWriter, r *http.Request, c visit) {
	id := r.PathValue("id")
	f, p := blank("state", store.GoodsDraft), goodsPage{}
	if id != "" {
		it, err := s.store.ItemOf(r.Context(), c.Shop.ID, id)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		f = blank("sku", it.SKU, "title", it.Title, "text", it.Text, "category", it.Category, "state", it.State)
		p = goodsPage{ID: id, Stamp: strconv.FormatInt(it.Changed, 10), Pictures: it.Pictures}
		for _, v := range it.Variants {
			stock := strconv.FormatInt(v.Stock, 10)
			p.Variants = append(p.Variants, variantLine{ID: v.ID, Name: v.Name, Stock: stock, Was: stock,
				Price: feed.Plain(v.Price, digitsOf(c.Shop.Currency))})
		}
	}
	s.showGoods(w, r, http.StatusOK, c, f, p)
}

func (s *Server) showGoods(w http.ResponseWriter, r *http.Request, status int, c visit, f *form, p goodsPage) {
	categories, err := s.store.Categories(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	p.Categories = []any{"", "—"}
	for _, cat := range categories {
		name := cat.NameEn
		if tongue(r).Lang == "ko" {
			name = cat.NameKo
		}
		p.Categories = append(p.Categories, cat.ID, name)
	}
	for range newVariants {
		p.Variants = append(p.Variants, variantLine{})
	}
	s.show(w, r, status, "edit", consoleData{visit: c, Form: f, Data: p})
}

// goodsSave stores the form. What is sold meanwhile stays sold: the form says by how
// much the stock changes.
func (s *Server) goodsSave(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	t, id := tongue(r), r.PathValue("id")
	p := goodsPage{ID: id, Stamp: f.Get("stamp")}
	var variants []store.Variant
	var was []int64
	at := func(name string, i int) string {
		if list := f.Values[name]; i < len(list) {
			return strings.TrimSpace(list[i])
		}
		return ""
	}
	for i := range min(len(f.Values["variant-price"]), store.MaxVariants+newVariants) {
		line := variantLine{ID: at("variant-id", i), Name: at("variant-name", i), Price: at("variant-price", i),
			Stock: at("variant-stock", i), Was: at("variant-was", i)}
		if line.Name == "" && line.Price == "" && line.Stock == "" { // emptied: taken away
			continue
		}
		price, err := feed.Amount(line.Price, digitsOf(c.Shop.Currency))
		stock, err2 := feed.Amount(line.Stock, 0)
		if line.Stock == "" {
			stock, err2 = 0, nil
		}
		if err != nil || err2 != nil {
			line.Error = t.Say("console.why.number")
			f.Fail("variants", line.Error)
		}
		old, _ := strconv.ParseInt(line.Was, 10, 64)
		was = append(was, old)
		variants = append(variants, store.Variant{ID: line.ID, Name: line.Name, Price: price, Stock: stock})
		p.Variants = append(p.Variants, line)
	}
	var err error
	if f.OK() {
		set := func(it *store.Item) {
			it.SKU, it.Title, it.Text = f.Get("sku"), f.Get("title"), f.Get("text")
			it.Category, it.State, it.Variants = f.Get("category"), f.Get("state"), variants
		}
		if id == "" {
			var it store.Item
			set(&it)
			if it, err = s.store.AddGoods(r.Context(), c.Shop.ID, it); err == nil {
				c.back(w, r, "/goods/edit/"+it.Goods.ID)
				return
			}
		} else {
			_, err = s.store.ChangeGoods(r.Context(), c.Shop.ID, id, func(it *store.Item) error {
				if strconv.FormatInt(it.Changed, 10) != p.Stamp {
					return store.ErrState
				}
				now := make(map[string]int64)
				for _, v := range it.Variants {
					now[v.ID] = v.Stock
				}
				set(it)
				it.Variants = append([]store.Variant(nil), variants...) // edit may run again
				for i := range it.Variants {
					v := &it.Variants[i]
					if stock, ok := now[v.ID]; ok {
						v.Stock = max(0, stock+v.Stock-was[i])
					} else {
						v.ID = ""
					}
				}
				return nil
			})
			if err == nil {
				c.back(w, r, "/goods")
				return
			}
		}
		field, text, ok := why(r, err)
		if !ok {
			s.failed(w, r, err)
			return
		}
		if field == "name" || field == "price" || field == "stock" || field == "" {
			field = "variants"
		}
		f.Fail(field, text)
	}
	status := http.StatusUnprocessableEntity
	if errors.Is(err, store.ErrState) {
		status = http.StatusConflict
	}
	if it, err := s.store.ItemOf(r.Context(), c.Shop.ID, id); err == nil {
		p.Pictures = it.Pictures
	} else if id != "" {
		s.failed(w, r, err)
		return
	}
	s.showGoods(w, r, status, c, f, p)
}

// upload opens the file of a posted form; otherwise it has answered.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, most int64) (multipart.File, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, most+maxForm)
	file, _, err := r.FormFile("file")
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		s.notice(w, r, http.StatusRequestEntityTooLarge, "large")
	case err != nil:
		s.notice(w, r, http.StatusBadRequest, "garbled")
	}
	return file, err == nil
}

// pictureOf reads the picture of a form and keeps it, encoded anew. What is wrong is answered.
func (s *Server) pictureOf(w http.ResponseWriter, r *http.Request) (info picture.Info, ok bool) {
	file, ok := s.upload(w, r, picture.MaxBytes)
	if !ok {
		return info, false
	}
	defer r.MultipartForm.RemoveAll()
	defer file.Close()
	info, err := s.mall.Pictures().Add(r.Context(), file)
	switch {
	case errors.Is(err, picture.ErrFormat), errors.Is(err, picture.ErrTooLarge):
		s.notice(w, r, http.StatusUnprocessableEntity, "picture")
	case err != nil:
		s.failed(w, r, err)
	}
	return info, err == nil
}

func (s *Server) pictureAdd(w http.ResponseWriter, r *http.Request, c visit) {
	if _, err := s.store.ItemOf(r.Context(), c.Shop.ID, r.PathValue("id")); err != nil {
		s.failed(w, r, err)
		return
	}
	info, ok := s.pictureOf(w, r)
	if !ok {
		return
	}
	_, err := s.store.ChangeGoods(r.Context(), c.Shop.ID, r.PathValue("id"), func(it *store.Item) error {
		it.Pictures = append(it.Pictures, store.Picture{Hash: info.Hash, Width: info.Width, Height: info.Height,
			Alt: strings.TrimSpace(r.FormValue("alt"))})
		return nil
	})
	if _, _, bad := why(r, err); bad {
		s.notice(w, r, http.StatusUnprocessableEntity, "picture")
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/goods/edit/"+url.PathEscape(r.PathValue("id")))
}

func (s *Server) pictureRemove(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	_, err := s.store.ChangeGoods(r.Context(), c.Shop.ID, r.PathValue("id"), func(it *store.Item) error {
		kept := it.Pictures[:0]
		for _, p := range it.Pictures {
			if p.Hash != f.Get("hash") {
				kept = append(kept, p)
			}
		}
		it.Pictures = kept
		return nil
	})
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/goods/edit/"+url.PathEscape(r.PathValue("id")))
}

// picture serves /pictures/HASH-WIDTH.jpg, which never changes.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	hash, width, _ := strings.Cut(strings.TrimSuffix(r.PathValue("file"), ".jpg"), "-")
	size, _ := strconv.Atoi(width)
	f, err := s.mall.Pictures().Open(hash, size)
	if err != nil {
		s.missing(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		s.failed(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin") // they are in mails, which any page may show
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// feedOptions are what a shop's files do not say.
func (s *Server) feedOptions(r *http.Request, c visit) (feed.Options, error) {
	categories, err := s.store.Categories(r.Context())
	return feed.Options{Currency: c.Shop.Currency, Digits: digitsOf(c.Shop.Currency), Categories: categories}, err
}

func (s *Server) importPage(w http.ResponseWriter, r *http.Request, c visit) {
	s.show(w, r, http.StatusOK, "import", consoleData{visit: c, Form: blank(), Data: (*imported)(nil)})
}

// imported is what a file did, or would do.
type imported struct {
	feed.Report
	Dry  bool
	Rest string // why it ended before its end
}

func (s *Server) importFile(w http.ResponseWriter, r *http.Request, c visit) {
	file, ok := s.upload(w, r, feed.MaxBytes)
	if !ok {
		return
	}
	defer r.MultipartForm.RemoveAll()
	defer file.Close()
	opts, err := s.feedOptions(r, c)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	// Many goods take longer than other requests do. They come in, also if their sender goes.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), importTimeout)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(importTimeout + writeTimeout)) // not in tests
	done := imported{Dry: r.FormValue("do") != "import"}
	done.Report, err = s.bring(ctx, c, file, opts, done.Dry)
	slices.SortStableFunc(done.Refusals, func(a, b feed.Refusal) int { return a.Line - b.Line })
	var bad feed.Refusal
	_, text, known := why(r, err)
	switch {
	case errors.As(err, &bad):
		done.Rest = tongue(r).Say("console.import.rest", "n", bad.Line, "why", tongue(r).Say("console.why."+bad.Why))
	case known:
		done.Rest = text
	case err != nil && done.Added+done.Changed > 0 && !done.Dry:
		s.log.Error("bringing goods in", "shop", c.Shop.Slug, "err", err)
		done.Rest = tongue(r).Say("console.import.stopped")
	case err != nil:
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "import", consoleData{visit: c, Form: blank(), Data: &done})
}

// bring puts a file's goods into the shop: XML if it begins as that, else CSV.
func (s *Server) bring(ctx context.Context, c visit, file io.ReadSeeker, opts feed.Options, dry bool,
) (feed.Report, error) {
	head := make([]byte, 64)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return feed.Report{}, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return feed.Report{}, err
	}
	if strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(string(head[:n]), "\ufeff")), "<") {
		return feed.Import(ctx, s.store, c.Shop.ID, feed.NewXML(file, opts), dry)
	}
	in, err := feed.NewCSV(file, opts)
	if err != nil {
		return feed.Report{}, err
	}
	return feed.Import(ctx, s.store, c.Shop.ID, in, dry)
}

func (s *Server) goodsCSV(w http.ResponseWriter, r *http.Request, c visit) {
	opts, err := s.feedOptions(r, c)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", c.Shop.Slug+".csv"))
	out, err := feed.NewCSVWriter(w, opts)
	if err == nil {
		if err = s.store.EachItem(r.Context(), c.Shop.ID, out.Write); err == nil {
			err = out.Close()
		}
	}
	s.cut(r, err)
}

func (s *Server) goodsXML(w http.ResponseWriter, r *http.Request, c visit) {
	opts, err := s.feedOptions(r, c)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", c.Shop.Slug+".xml"))
	out, err := feed.NewXMLWriter(w, opts, c.Shop.Name, s.mall.URL("shops", c.Shop.Slug),
		func(id string) string { return s.mall.URL("goods", id) },
		func(hash string) string { return s.mall.URL(pictureURL(hash, 960)) })
	if err == nil {
		if err = s.store.EachItem(r.Context(), c.Shop.ID, out.Write); err == nil {
			err = out.Close()
		}
	}
	s.cut(r, err)
}

// cut ends an answer that has begun and cannot be finished, so that nobody takes it
// for whole.
func (s *Server) cut(r *http.Request, err error) {
	if err == nil {
		return
	}
	s.log.Warn("writing goods", "route", r.Pattern, "err", err)
	panic(http.ErrAbortHandler)
}
