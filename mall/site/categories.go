// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/chmail/chmail/mall/store"
)

// categories lists the categories of goods for the operator, with a form for each.
func (s *Server) categories(w http.ResponseWriter, r *http.Request) {
	if !visitor(r).Operator {
		s.missing(w, r)
		return
	}
	s.categoriesPage(w, r, http.StatusOK, blank("place", "0"))
}

// categoryLine is a category in the list, with its children behind it.
type categoryLine struct {
	store.Category
	Parents []any // choices of another one
}

func (s *Server) categoriesPage(w http.ResponseWriter, r *http.Request, status int, f *form) {
	all, err := s.store.Categories(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	lang := tongue(r).Lang
	parents := func(but string) []any {
		choices := []any{"", "—"}
		for _, c := range under(all, "") {
			if c.ID != but {
				choices = append(choices, c.ID, c.Name(lang))
			}
		}
		return choices
	}
	data := struct {
		Form    *form
		Lines   []categoryLine
		Parents []any
	}{Form: f, Parents: parents("")}
	for _, top := range under(all, "") {
		data.Lines = append(data.Lines, categoryLine{top, parents(top.ID)})
		for _, c := range under(all, top.ID) {
			data.Lines = append(data.Lines, categoryLine{c, parents("")})
		}
	}
	s.page(w, r, status, page{Title: tongue(r).Say("console.categories"), Template: "operator-categories",
		Data: data, Wide: true})
}

// categoriesSave adds, changes or removes a category.
func (s *Server) categoriesSave(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	if !v.Operator {
		s.missing(w, r)
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	place, err := strconv.Atoi(cmp.Or(f.Get("place"), "0"))
	if err != nil || place < -1000 || place > 1000 {
		f.Fail("place", tongue(r).Say("console.why.number"))
	}
	c := store.Category{ID: f.Get("id"), Parent: f.Get("parent"), NameEn: f.Get("en"), NameKo: f.Get("ko"),
		Place: place}
	act, do := "category.change", s.store.ChangeCategory
	switch f.Get("do") {
	case "add":
		act, do = "category.add", s.store.AddCategory
	case "remove":
		act, do = "category.remove", func(ctx context.Context, c store.Category) error {
			return s.store.RemoveCategory(ctx, c.ID)
		}
	}
	if f.OK() {
		err = s.store.AddAudit(r.Context(), store.Audit{Actor: v.Login, Role: store.ActorOperator, Act: act,
			About: c.ID})
		if err == nil {
			err = do(r.Context(), c)
		}
		if field, text, bad := why(r, err); errors.Is(err, store.ErrTaken) {
			f.Fail("id", text)
		} else if bad {
			f.Fail(cmp.Or(field, "id"), text)
		} else if err != nil {
			s.failed(w, r, err)
			return
		}
	}
	if !f.OK() {
		s.categoriesPage(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	see(w, r, "/operator/categories")
}
