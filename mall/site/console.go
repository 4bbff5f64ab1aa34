// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"net/http"
	"slices"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

const (
	listed      = 50 // rows of a page of a list
	todayListed = 20 // rows of each list of what waits
)

// visit is somebody of a shop's staff, or its key, at a page of the console or a call
// of the API.
type visit struct {
	Shop  store.Shop
	Role  string
	Actor string // the login, or the key's name
}

// roles are those of staff; each may what the ones after it may.
var roles = []string{store.RoleOwner, store.RoleManager, store.RoleAgent}

// may says whether the visitor's role includes another.
func (c visit) May(role string) bool {
	mine := slices.Index(roles, c.Role)
	return mine >= 0 && mine <= slices.Index(roles, role)
}

// shopRoute is one route of a shop, with who may take it: the least role.
type shopRoute struct {
	Method, Path, Role string
	serve              func(s *Server, w http.ResponseWriter, r *http.Request, c visit)
}

// consoleTable are the pages of a shop's console, below /console/SHOP.
var consoleTable = []shopRoute{
	{"GET", "", store.RoleAgent, (*Server).today},
	{"GET", "/goods", store.RoleAgent, (*Server).goodsList},
	{"GET", "/goods/new", store.RoleManager, (*Server).goodsForm},
	{"POST", "/goods/new", store.RoleManager, (*Server).goodsSave},
	{"GET", "/goods/edit/{id}", store.RoleManager, (*Server).goodsForm},
	{"POST", "/goods/edit/{id}", store.RoleManager, (*Server).goodsSave},
	{"POST", "/goods/edit/{id}/pictures", store.RoleManager, (*Server).pictureAdd},
	{"POST", "/goods/edit/{id}/pictures/remove", store.RoleManager, (*Server).pictureRemove},
	{"GET", "/import", store.RoleManager, (*Server).importPage},
	{"POST", "/import", store.RoleManager, (*Server).importFile},
	{"GET", "/goods.csv", store.RoleManager, (*Server).goodsCSV},
	{"GET", "/goods.xml", store.RoleManager, (*Server).goodsXML},
	{"GET", "/inquiries", store.RoleAgent, (*Server).inquiryList},
	{"GET", "/inquiries/{id}", store.RoleAgent, (*Server).inquiry},
	{"POST", "/inquiries/{id}/notes", store.RoleAgent, (*Server).noteAdd},
	{"POST", "/inquiries/{id}/notes/remove", store.RoleAgent, (*Server).noteRemove},
	{"GET", "/orders", store.RoleAgent, (*Server).orderList},
	{"GET", "/publicity", store.RoleManager, (*Server).campaigns},
	{"GET", "/publicity/new", store.RoleManager, (*Server).campaignForm},
	{"POST", "/publicity/new", store.RoleManager, (*Server).saveCampaign},
	{"GET", "/publicity/{id}", store.RoleManager, (*Server).campaign},
	{"POST", "/publicity/{id}", store.RoleManager, (*Server).actOnCampaign},
	{"GET", "/publicity/{id}/edit", store.RoleManager, (*Server).campaignForm},
	{"POST", "/publicity/{id}/edit", store.RoleManager, (*Server).saveCampaign},
	{"GET", "/publicity/{id}/mail", store.RoleManager, (*Server).campaignMail},
	{"GET", "/orders/{number}", store.RoleAgent, (*Server).shopOrder},
	{"POST", "/orders/{number}", store.RoleAgent, (*Server).shopStep},
	{"POST", "/inquiries/{id}/offer", store.RoleAgent, (*Server).offerMake},
	{"GET", "/adverts", store.RoleManager, (*Server).advertList},
	{"GET", "/adverts/new", store.RoleManager, (*Server).advertForm},
	{"POST", "/adverts/new", store.RoleManager, (*Server).advertSave},
	{"GET", "/adverts/{id}", store.RoleManager, (*Server).advertPage},
	{"POST", "/adverts/{id}", store.RoleManager, (*Server).advertAct},
	{"GET", "/adverts/{id}/edit", store.RoleManager, (*Server).advertForm},
	{"POST", "/adverts/{id}/edit", store.RoleManager, (*Server).advertSave},
	{"POST", "/adverts/{id}/picture", store.RoleManager, (*Server).advertPicture},
	{"GET", "/staff", store.RoleOwner, (*Server).staff},
	{"POST", "/staff", store.RoleOwner, (*Server).staffSave},
	{"POST", "/staff/remove", store.RoleOwner, (*Server).staffRemove},
	{"GET", "/hours", store.RoleManager, (*Server).hours},
	{"POST", "/hours", store.RoleManager, (*Server).hoursSave},
	{"GET", "/figures", store.RoleAgent, (*Server).figures},
	{"GET", "/audit", store.RoleOwner, (*Server).audit},
	{"GET", "/settings", store.RoleOwner, (*Server).settings},
	{"POST", "/settings", store.RoleOwner, (*Server).settingsSave},
	{"POST", "/keys", store.RoleOwner, (*Server).keyAdd},
	{"POST", "/keys/remove", store.RoleOwner, (*Server).keyRemove},
	{"POST", "/providers", store.RoleOwner, (*Server).providerAdd},
	{"POST", "/providers/remove", store.RoleOwner, (*Server).providerRemove},
}

func (s *Server) consoleRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /console", s.console)
	for _, route := range consoleTable {
		mux.HandleFunc(route.Method+" /console/{shop}"+route.Path, func(w http.ResponseWriter, r *http.Request) {
			if c, ok := s.visit(w, r, route.Role); ok {
				route.serve(s, w, r, c)
			}
		})
	}
	mux.HandleFunc("GET /apply", s.apply)
	mux.HandleFunc("POST /apply", s.applySave)
	mux.HandleFunc("GET /operator", s.operator)
	mux.HandleFunc("POST /operator", s.operatorSave)
	mux.HandleFunc("GET /operator/audit", s.operatorAudit)
	mux.HandleFunc("GET /operator/categories", s.categories)
	mux.HandleFunc("POST /operator/categories", s.categoriesSave)
	mux.HandleFunc("GET /pictures/{file}", s.picture)
}

// visit is the staff who asks for a page of a shop. Otherwise it has answered: a shop
// that is another's looks as if it were not there.
func (s *Server) visit(w http.ResponseWriter, r *http.Request, role string) (visit, bool) {
	v, ok := s.login(w, r)
	if !ok {
		return visit{}, false
	}
	shop, err := s.store.ShopBySlug(r.Context(), r.PathValue("shop"))
	c := visit{Shop: shop, Role: v.Role(shop.ID), Actor: v.Login}
	if err == nil && (shop.State != store.ShopOpen || !c.May(role)) {
		err = mall.ErrNotAllowed
	}
	if err != nil {
		s.failed(w, r, err)
		return visit{}, false
	}
	return c, true
}

// consoleData is what the console's pages get.
type consoleData struct {
	visit
	Tab  string
	Form *form
	Said string // what was just done
	More string // where the next page of a list is; empty: nowhere
	Data any
}

// show answers with a page of the console.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, tab string, d consoleData) {
	d.Tab = tab
	s.page(w, r, status, page{Title: tongue(r).Say("console."+tab) + " · " + d.Shop.Name,
		Template: "console-" + tab, Data: d, Wide: true})
}

// back leads to a page of the console after a form.
func (c visit) back(w http.ResponseWriter, r *http.Request, path string) {
	see(w, r, "/console/"+c.Shop.Slug+path)
}

// console leads to the visitor's shop, or lists them.
func (s *Server) console(w http.ResponseWriter, r *http.Request) {
	v, ok := s.login(w, r)
	if !ok {
		return
	}
	var shops []store.Shop
	for _, place := range v.Staff {
		shop, err := s.store.Shop(r.Context(), place.Shop)
		if err != nil {
			s.failed(w, r, err)
			return
		}
		shops = append(shops, shop)
	}
	if len(shops) == 1 && shops[0].State == store.ShopOpen && !v.Operator {
		see(w, r, "/console/"+shops[0].Slug)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("console.shops"), Template: "console-shops", Data: shops})
}

// why are words about an error of a form: the field, and what is wrong.
func why(r *http.Request, err error) (field, text string, ok bool) {
	t := tongue(r)
	var invalid store.Invalid
	switch {
	case errors.As(err, &invalid):
		return invalid.Field, t.Say("console.why." + invalid.Why), true
	case errors.Is(err, store.ErrTaken):
		return "sku", t.Say("console.why.taken"), true
	case errors.Is(err, store.ErrFull):
		return "", t.Say("console.why.full"), true
	case errors.Is(err, store.ErrLastOwner):
		return "login", t.Say("console.why.owner"), true
	case errors.Is(err, store.ErrState):
		return "", t.Say("console.why.changed"), true
	}
	return "", "", false
}
