// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

// today is what waits: who asked and got no answer, and what is to be sent. Of each the
// newest are listed, and all are counted.
func (s *Server) today(w http.ResponseWriter, r *http.Request, c visit) {
	ctx := r.Context()
	p := struct {
		store.Waiting
		Inquiries []store.Inquiry
		Due, Owed []store.Order // to be sent; to be paid
	}{}
	var err error
	if p.Waiting, err = s.store.WaitingAt(ctx, c.Shop.ID); err == nil {
		p.Inquiries, err = s.store.UnansweredIn(ctx, c.Shop.ID, "", todayListed)
	}
	if err == nil {
		p.Due, err = s.store.OrdersIn(ctx, c.Shop.ID, order.Paid, "", todayListed)
	}
	if err == nil {
		p.Owed, err = s.store.OrdersIn(ctx, c.Shop.ID, order.Accepted, "", todayListed)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "today", consoleData{visit: c, Data: p})
}

func (s *Server) inquiryList(w http.ResponseWriter, r *http.Request, c visit) {
	q, from := r.URL.Query(), s.store.InquiriesIn
	if q.Get("open") != "" {
		from = s.store.UnansweredIn
	}
	list, err := from(r.Context(), c.Shop.ID, q.Get("before"), listed+1)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := consoleData{visit: c}
	if len(list) > listed {
		list = list[:listed]
		q.Set("before", list[listed-1].ID)
		d.More = "?" + q.Encode()
	}
	d.Data = list
	s.show(w, r, http.StatusOK, "inquiries", d)
}

// inquiry shows a question with what belongs to it. A look at a member is written
// down before it is shown.
func (s *Server) inquiry(w http.ResponseWriter, r *http.Request, c visit) {
	i, err := s.store.Inquiry(r.Context(), c.Shop.ID, r.PathValue("id"))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.showInquiry(w, r, http.StatusOK, c, i, blank("quantity", "1"))
}

func (s *Server) showInquiry(w http.ResponseWriter, r *http.Request, status int, c visit, i store.Inquiry, f *form) {
	var err error
	p := struct {
		Inquiry   store.Inquiry
		Name, Who string
		Goods     *store.Item
		Orders    []store.Order
		Notes     []store.Note
		Room      string
	}{Inquiry: i, Room: s.deskOf(i)}
	if i.Goods != "" {
		if it, err := s.store.ItemOf(r.Context(), c.Shop.ID, i.Goods); err == nil {
			p.Goods = &it
		}
	}
	if p.Name, p.Who, err = s.readMember(r, c, i.Member); err == nil && p.Who != "" {
		p.Notes, err = s.store.Notes(r.Context(), c.Shop.ID, i.Member)
		if err == nil {
			p.Orders, err = s.store.OrdersFrom(r.Context(), c.Shop.ID, i.Member, listed)
		}
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	if p.Goods != nil && f.Get("sku") == "" {
		f.Values.Set("sku", p.Goods.SKU)
	}
	s.show(w, r, status, "inquiry", consoleData{visit: c, Form: f, Data: p})
}

// deskOf is where the conversation of an inquiry is at the desk.
func (s *Server) deskOf(i store.Inquiry) string {
	desk := s.mall.Chat().JoinPath("desk").String()
	if i.Room != "" {
		desk += "#" + url.PathEscape(i.Room)
	}
	return desk
}

func (s *Server) noteAdd(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	i, err := s.store.Inquiry(r.Context(), c.Shop.ID, r.PathValue("id"))
	if err == nil {
		_, err = s.store.MemberByID(r.Context(), i.Member)
	}
	if err == nil {
		err = s.store.AddNote(r.Context(), store.Note{Shop: c.Shop.ID, Member: i.Member, Login: c.Actor,
			Text: f.Get("note")})
	}
	if _, _, bad := why(r, err); bad {
		s.notice(w, r, http.StatusUnprocessableEntity, "garbled")
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/inquiries/"+i.ID)
}

func (s *Server) noteRemove(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if err := s.store.RemoveNote(r.Context(), c.Shop.ID, f.Get("note")); err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/inquiries/"+url.PathEscape(r.PathValue("id")))
}

func (s *Server) orderList(w http.ResponseWriter, r *http.Request, c visit) {
	q := r.URL.Query()
	list, err := s.store.OrdersIn(r.Context(), c.Shop.ID, order.State(q.Get("state")), q.Get("before"), listed+1)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := consoleData{visit: c}
	if len(list) > listed {
		list = list[:listed]
		q.Set("before", list[listed-1].ID)
		d.More = "?" + q.Encode()
	}
	d.Data = list
	s.show(w, r, http.StatusOK, "orders", d)
}

func (s *Server) staff(w http.ResponseWriter, r *http.Request, c visit) {
	s.showStaff(w, r, http.StatusOK, c, blank("role", store.RoleAgent))
}

func (s *Server) showStaff(w http.ResponseWriter, r *http.Request, status int, c visit, f *form) {
	team, err := s.store.Team(r.Context(), c.Shop.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, status, "staff", consoleData{visit: c, Form: f, Data: team})
}

func (s *Server) staffSave(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	login := strings.ToLower(f.Get("login"))
	there, err := s.mall.HasAccount(r.Context(), login)
	switch {
	case err != nil:
		s.failed(w, r, err)
		return
	case !there:
		f.Fail("login", tongue(r).Say("console.why.account"))
	case !(visit{Role: f.Get("role")}).May(store.RoleAgent):
		f.Fail("role", tongue(r).Say("console.why.unknown"))
	default:
		err = s.store.PutStaff(r.Context(), c.Shop.ID, login, f.Get("role"))
	}
	s.staffed(w, r, c, f, err)
}

func (s *Server) staffRemove(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	s.staffed(w, r, c, f, s.store.RemoveStaff(r.Context(), c.Shop.ID, f.Get("login")))
}

// staffed answers after a change of the staff.
func (s *Server) staffed(w http.ResponseWriter, r *http.Request, c visit, f *form, err error) {
	if err == nil {
		err = s.mall.SyncShops(r.Context())
	}
	if _, text, bad := why(r, err); bad {
		f.Fail("login", text)
	} else if err != nil {
		s.failed(w, r, err)
		return
	}
	if !f.OK() {
		s.showStaff(w, r, http.StatusUnprocessableEntity, c, f)
		return
	}
	c.back(w, r, "/staff")
}

// weekday is a line of the form of opening hours.
type weekday struct {
	N              int
	Name, From, To string
}

func (s *Server) hours(w http.ResponseWriter, r *http.Request, c visit) {
	h, err := store.ParseHours(c.Shop.Hours)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f := blank("zone", h.Zone)
	clock := func(m int) string { return fmt.Sprintf("%02d:%02d", m/60%24, m%60) }
	for d, span := range h.Week {
		if span.From != span.To {
			f.Values.Set("from"+strconv.Itoa(d), clock(span.From))
			f.Values.Set("to"+strconv.Itoa(d), clock(span.To))
		}
	}
	s.showHours(w, r, http.StatusOK, c, f)
}

func (s *Server) showHours(w http.ResponseWriter, r *http.Request, status int, c visit, f *form) {
	if f.Get("zone") == "" {
		f.Values.Set("zone", "Asia/Seoul")
	}
	var week []weekday
	for d := range 7 {
		n := strconv.Itoa(d)
		week = append(week, weekday{d, tongue(r).Say("console.day" + n), f.Get("from" + n), f.Get("to" + n)})
	}
	s.show(w, r, status, "hours", consoleData{visit: c, Form: f, Data: week})
}

func (s *Server) hoursSave(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	h := store.Hours{Zone: f.Get("zone")}
	any := false
	for d := range 7 {
		n := strconv.Itoa(d)
		from, to := f.Get("from"+n), f.Get("to"+n)
		if from == "" && to == "" {
			continue
		}
		a, err := time.Parse("15:04", from)
		b, err2 := time.Parse("15:04", to)
		if err != nil || err2 != nil {
			f.Fail("zone", tongue(r).Say("console.why.time"))
			continue
		}
		any = true
		h.Week[d] = store.Span{From: a.Hour()*60 + a.Minute(), To: b.Hour()*60 + b.Minute()}
		if h.Week[d].To <= h.Week[d].From { // over midnight
			h.Week[d].To += 24 * 60
		}
	}
	if !any {
		h = store.Hours{}
	}
	text, err := h.Text()
	if err != nil {
		f.Fail("zone", tongue(r).Say("console.why.zone"))
	}
	if !f.OK() {
		s.showHours(w, r, http.StatusUnprocessableEntity, c, f)
		return
	}
	_, err = s.store.ChangeShop(r.Context(), c.Shop.ID, func(shop *store.Shop) error {
		shop.Hours = text
		return nil
	})
	if err == nil {
		err = s.mall.SyncShops(r.Context())
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/hours")
}

// plotHeight is that of a plot, in its own units.
const plotHeight = 120

// bar is one day of a plot: how many there were, and a part of them.
type bar struct{ X, Y, Height, Part, PartY int }

// plot is a bar a day.
type plot struct {
	Bars        []bar
	Width, Most int // Most: what the highest bar stands for
}

// newPlot makes a plot of n days.
func newPlot(n int, of func(day int) (all, part int)) plot {
	p := plot{Width: n * 10, Most: 1}
	for i := range n {
		all, _ := of(i)
		p.Most = max(p.Most, all)
	}
	for i := range n {
		all, part := of(i)
		all, part = all*plotHeight/p.Most, part*plotHeight/p.Most
		p.Bars = append(p.Bars, bar{i * 10, plotHeight - all, all, part, plotHeight - part})
	}
	return p
}

func (s *Server) figures(w http.ResponseWriter, r *http.Request, c visit) {
	days, err := strconv.Atoi(r.URL.Query().Get("days"))
	if err != nil {
		days = 28
	}
	f, err := s.store.ShopFigures(r.Context(), c.Shop.ID, time.Now(), zoneOf(c.Shop), days)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	p := newPlot(len(f.Days), func(i int) (all, part int) { return f.Days[i].Asked, f.Days[i].Answered })
	s.show(w, r, http.StatusOK, "figures", consoleData{visit: c, Data: struct {
		store.Figures
		Plot      plot
		FirstText string
	}{f, p, f.First.Round(time.Second).String()}})
}

// zoneOf is the time zone of a shop: that of its hours.
func zoneOf(shop store.Shop) *time.Location {
	if h, err := store.ParseHours(shop.Hours); err == nil && h.Zone != "" {
		if zone, err := time.LoadLocation(h.Zone); err == nil {
			return zone
		}
	}
	return time.UTC
}

func (s *Server) settings(w http.ResponseWriter, r *http.Request, c visit) {
	origins, err := s.store.Origins(r.Context(), c.Shop.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	f := blank("name", c.Shop.Name, "about", c.Shop.About, "postal", c.Shop.Postal, "transfer", c.Shop.Transfer,
		"lang", c.Shop.Lang, "origins", strings.Join(origins, "\n"))
	if c.Shop.ShowQuestions {
		f.Values.Set("questions", "yes")
	}
	s.showSettings(w, r, http.StatusOK, c, f, "")
}

func (s *Server) showSettings(w http.ResponseWriter, r *http.Request, status int, c visit, f *form, key string) {
	p := struct {
		Keys      []store.Key
		Providers []store.PayKey
		Notices   string // address of what providers tell, without their name
	}{Notices: s.mall.URL("pay", c.Shop.Slug)}
	var err error
	if p.Keys, err = s.store.Keys(r.Context(), c.Shop.ID); err == nil {
		p.Providers, err = s.store.PayKeys(r.Context(), c.Shop.ID)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, status, "settings", consoleData{visit: c, Form: f, Said: key, Data: p})
}

func (s *Server) settingsSave(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	var origins []string
	for _, line := range strings.Fields(f.Get("origins")) {
		u, err := url.Parse(line)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" ||
			u.RawQuery != "" || u.User != nil || strings.ContainsAny(line, ";,'\"*") {
			f.Fail("origins", tongue(r).Say("console.why.origin"))
			continue
		}
		origins = append(origins, origin(u))
	}
	if f.Get("name") == "" || len(f.Get("name")) > 200 {
		f.Fail("name", tongue(r).Say("console.why.missing"))
	}
	if len(origins) > store.MaxOrigins {
		f.Fail("origins", tongue(r).Say("console.why.full"))
	}
	if !f.OK() {
		s.showSettings(w, r, http.StatusUnprocessableEntity, c, f, "")
		return
	}
	_, err := s.store.ChangeShop(r.Context(), c.Shop.ID, func(shop *store.Shop) error {
		shop.Name, shop.About, shop.Postal, shop.Transfer = f.Get("name"), f.Get("about"), f.Get("postal"),
			f.Get("transfer")
		shop.Lang, shop.ShowQuestions = words.In(f.Get("lang")).Lang, f.On("questions")
		return nil
	})
	if err == nil {
		err = s.store.SetOrigins(r.Context(), c.Shop.ID, origins)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/settings")
}

// keyAdd makes a key of the API and shows it, this once.
func (s *Server) keyAdd(w http.ResponseWriter, r *http.Request, c visit) {
	s.newKey(w, r, c, "key", func(name string) (string, error) {
		_, key, err := s.store.AddKey(r.Context(), c.Shop.ID, name)
		return key, err
	})
}

// providerAdd makes the key of a payment provider and shows it, this once.
func (s *Server) providerAdd(w http.ResponseWriter, r *http.Request, c visit) {
	s.newKey(w, r, c, "provider", func(name string) (string, error) {
		return s.mall.NewPayKey(r.Context(), c.Shop.ID, name)
	})
}

// newKey makes a key of what a field names, and shows it.
func (s *Server) newKey(w http.ResponseWriter, r *http.Request, c visit, field string, made func(name string) (string, error)) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	key, err := made(f.Get(field))
	if _, text, bad := why(r, err); bad {
		f.Fail(field, text)
	} else if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "key", consoleData{visit: c, Form: f, Said: key})
}

func (s *Server) providerRemove(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if err := s.store.RemovePayKey(r.Context(), c.Shop.ID, f.Get("provider")); err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/settings")
}

func (s *Server) keyRemove(w http.ResponseWriter, r *http.Request, c visit) {
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	if err := s.store.RemoveKey(r.Context(), c.Shop.ID, f.Get("id")); err != nil {
		s.failed(w, r, err)
		return
	}
	c.back(w, r, "/settings")
}

// slugs are names of shops in addresses.
var slugs = regexp.MustCompile(`^[a-z][a-z0-9-]{1,30}[a-z0-9]$`)

func (s *Server) apply(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.login(w, r); ok {
		s.showApply(w, r, http.StatusOK, blank("lang", tongue(r).Lang, "currency", "KRW"))
	}
}

func (s *Server) showApply(w http.ResponseWriter, r *http.Request, status int, f *form) {
	s.page(w, r, status, page{Title: tongue(r).Say("mall.apply"), Template: "apply",
		Data: consoleData{Form: f, Said: s.mall.Domain()}})
}

const maxApplications = 3 // of one login, open or waiting

func (s *Server) applySave(w http.ResponseWriter, r *http.Request) {
	v, ok := s.login(w, r)
	if !ok {
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	t := tongue(r)
	shop := store.Shop{Slug: f.Get("slug"), Name: f.Get("name"), About: f.Get("about"), Postal: f.Get("postal"),
		Lang: words.In(f.Get("lang")).Lang, Currency: f.Get("currency"), State: store.ShopApplied,
		Company: f.On("company")}
	shop.Addr = shop.Slug + "@" + s.mall.Domain()
	if _, ok := signs[shop.Currency]; !ok {
		f.Fail("currency", t.Say("console.why.unknown"))
	}
	if shop.Name == "" || len(shop.Name) > 200 {
		f.Fail("name", t.Say("console.why.missing"))
	}
	taken, err := s.mall.HasAccount(r.Context(), shop.Addr)
	switch {
	case !slugs.MatchString(shop.Slug):
		f.Fail("slug", t.Say("console.why.slug"))
	case err != nil:
		s.failed(w, r, err)
		return
	case taken, mall.Reserved(shop.Slug):
		f.Fail("slug", t.Say("console.why.taken"))
	case len(v.Staff) >= maxApplications:
		f.Fail("slug", t.Say("console.why.full"))
	}
	if f.OK() {
		added, err := s.store.AddShop(r.Context(), shop, v.Login)
		if _, text, bad := why(r, err); bad {
			f.Fail("slug", text)
		} else if err != nil {
			s.failed(w, r, err)
			return
		} else {
			s.mall.TellReview(r.Context(), v.Login, mall.Review{Shop: added, Step: mall.ReviewWaits,
				Path: []string{"operator"}}, s.clientIP(r))
		}
	}
	if !f.OK() {
		s.showApply(w, r, http.StatusUnprocessableEntity, f)
		return
	}
	s.notice(w, r, http.StatusOK, "applied", "shop", shop.Name)
}

// operator lists the shops that applied.
func (s *Server) operator(w http.ResponseWriter, r *http.Request) {
	if !visitor(r).Operator {
		s.missing(w, r)
		return
	}
	s.showOperator(w, r, http.StatusOK, blank())
}

func (s *Server) showOperator(w http.ResponseWriter, r *http.Request, status int, f *form) {
	shops, err := s.store.Shops(r.Context(), store.ShopApplied, "", listed)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, status, page{Title: tongue(r).Say("console.operator"), Template: "operator",
		Data: consoleData{Form: f, Data: shops}})
}

// operatorSave approves a shop that applied, or refuses it with a reason.
func (s *Server) operatorSave(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	if !v.Operator {
		s.missing(w, r)
		return
	}
	f, ok := s.readForm(w, r)
	if !ok {
		return
	}
	ctx, id, why := r.Context(), f.Get("shop"), ""
	to := map[string]string{"open": store.ShopOpen, "refuse": store.ShopRefused}[f.Get("do")]
	switch to {
	case "":
		s.notice(w, r, http.StatusBadRequest, "garbled")
		return
	case store.ShopRefused:
		if why = f.Get("why"); !goodWhy(why) {
			f.Fail("why-"+id, tongue(r).Say("advert.why.why"))
			s.showOperator(w, r, http.StatusUnprocessableEntity, f)
			return
		}
	}
	err := s.store.AddAudit(ctx, store.Audit{Actor: v.Login, Role: store.ActorOperator, Act: "shop." + to, About: id})
	if err == nil {
		err = s.store.SetShopState(ctx, id, store.ShopApplied, to, why)
	}
	if err == nil {
		err = s.mall.SyncShops(ctx)
	}
	var shop store.Shop
	if err == nil {
		shop, err = s.store.Shop(ctx, id)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	step, path := mall.ReviewApproved, []string{"console", shop.Slug}
	if to == store.ShopRefused {
		step, path = mall.ReviewRefused, []string{"apply"}
	}
	s.mall.TellReview(ctx, v.Login, mall.Review{Shop: shop, Step: step, Why: why, Path: path}, s.clientIP(r))
	see(w, r, "/operator")
}
