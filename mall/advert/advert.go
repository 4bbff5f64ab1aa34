// SPDX-License-Identifier: GPL-3.0-or-later

// Package advert chooses the advertisement of a page from memory, counts views and
// presses, and charges for talks.
//
// What is charged is a talk that rang and was answered. Views and presses are known
// by a token that each chosen advertisement carries: sealed, good for a while, and
// counted once. Counts wait in memory and are stored together; a crash loses those
// of the last seconds, never a charge, which is stored at once. A charge that failed
// is made up for: the conversation has a row from "Chat now" on, and until an hour is
// over it is asked again and again, ever more seldom, whether its call was answered.
// A budget is never overspent; of the views a day, each host of the mall keeps its own
// count.
package advert

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/mall/store"
)

const (
	flushEvery = 5 * time.Second
	loadEvery  = 30 * time.Second
	lookEvery  = time.Minute
	lookAtOnce = 200              // talks that were not charged
	period     = 10 * time.Minute // a token is good for one or two
	maxUsed    = 200000           // tokens of a period that are remembered; further ones do not count
	maxTries   = 20               // of choosing one whose cap is not reached
	pressLife  = 24 * time.Hour   // for so long a page leads on, and a press may lead to a talk
)

// Advert is an advertisement on a page.
type Advert struct {
	store.ShopAdvert
	Token string // of the view and the press; empty: it does not count
}

// Store is what the package needs of a store.Store.
type Store interface {
	LiveAdverts(ctx context.Context, now time.Time) ([]store.ShopAdvert, map[string]int64, error)
	AddAdvertDays(ctx context.Context, all []store.AdvertDay) error
	CameFromAdvert(ctx context.Context, room, advert, place string, now time.Time) error
	ChargeAdvert(ctx context.Context, room string, at time.Time) (advert string, charged int64, err error)
	OpenAdvertTalks(ctx context.Context, now time.Time, limit int) ([]store.AdvertTalk, error)
	LookLater(ctx context.Context, t store.AdvertTalk, now time.Time, failed bool) error
}

// Calls says when a call to a login in a room was answered, after a time; the zero Time: it
// was not.
type Calls func(ctx context.Context, room, callee string, after time.Time) (time.Time, error)

// Adverts chooses, counts and charges.
type Adverts struct {
	store Store
	calls Calls
	key   seal.Key
	log   *slog.Logger
	now   func() time.Time

	shown atomic.Pointer[shown]

	mu     sync.Mutex
	counts map[countKey]*store.AdvertDay
	used   [2]map[string]bool // tokens of this period and the one before
	at     int64              // this period
}

type countKey struct{ advert, day, place string }

// shown is what may be shown: replaced as a whole.
type shown struct {
	places map[spot][]*live
	byID   map[string]*live
}

// spot is a place, of goods of a category; without one: those of no category.
type spot struct{ place, category string }

// live is an advertisement with what was counted.
type live struct {
	store.ShopAdvert

	mu    sync.Mutex
	day   string
	views int64    // of the day
	given [3]int64 // tokens of the last periods that were not used
	at    int64    // the period of given[at%3]
	left  int64    // of the budget
}

// New returns an Adverts that shows nothing before Load. log may be nil, now too.
func New(s Store, calls Calls, secret []byte, log *slog.Logger, now func() time.Time) (*Adverts, error) {
	key, err := seal.Derive(secret, "advertisements")
	if err != nil {
		return nil, fmt.Errorf("preparing advertisements: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	a := &Adverts{store: s, calls: calls, key: key, log: log, now: now, counts: make(map[countKey]*store.AdvertDay)}
	a.shown.Store(&shown{})
	return a, nil
}

// Run loads what is shown, stores counts and charges for what was not charged, until ctx
// ends.
func (a *Adverts) Run(ctx context.Context) {
	flush, load, look := time.NewTicker(flushEvery), time.NewTicker(loadEvery), time.NewTicker(lookEvery)
	defer flush.Stop()
	defer load.Stop()
	defer look.Stop()
	do := func(what string, f func(context.Context) error) {
		defer safely.Recover(a.log, what)
		if err := f(ctx); err != nil && ctx.Err() == nil {
			a.log.Error(what, "err", err)
		}
	}
	do("loading advertisements", a.Load)
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
			defer cancel()
			if err := a.Flush(last); err != nil {
				a.log.Error("storing advertisements' counts", "err", err)
			}
			return
		case <-flush.C:
			do("storing advertisements' counts", a.Flush)
		case <-load.C:
			do("loading advertisements", a.Load)
		case <-look.C:
			do("charging for talks that were not charged", a.Catch)
		}
	}
}

// Load reads what may be shown. What was counted since stays.
func (a *Adverts) Load(ctx context.Context) error {
	now := a.now()
	all, views, err := a.store.LiveAdverts(ctx, now)
	if err != nil {
		return err
	}
	before := a.shown.Load()
	next := &shown{places: make(map[spot][]*live), byID: make(map[string]*live, len(all))}
	for _, stored := range all {
		l := &live{ShopAdvert: stored, day: store.DayOf(now), views: views[stored.ID],
			left: stored.Budget - stored.Spent}
		if old := before.byID[stored.ID]; old != nil {
			old.mu.Lock()
			// Counts that are not stored yet are in old alone.
			if old.day == l.day {
				l.views = max(l.views, old.views)
			}
			l.given, l.at = old.given, old.at
			old.mu.Unlock()
		}
		categories := strings.Fields(stored.Categories)
		if len(categories) == 0 {
			categories = []string{""} // they are shown with every category
		}
		places := strings.Fields(stored.Places)
		if len(places) == 0 {
			places = store.Places
		}
		for _, place := range places {
			for _, c := range categories {
				next.places[spot{place, c}] = append(next.places[spot{place, c}], l)
			}
		}
		next.byID[stored.ID] = l
	}
	a.shown.Store(next)
	return nil
}

// Choose returns an advertisement for a place and perhaps a category, by weight. A
// robot's does not count. ok: there is one.
func (a *Adverts) Choose(place, category string, robot bool) (chosen Advert, ok bool) {
	now := a.now()
	micros := store.Micros(now)
	all := a.shown.Load()
	lists := [][]*live{all.places[spot{place, ""}]}
	if category != "" {
		lists = append(lists, all.places[spot{place, category}])
	}
	var full map[*live]bool // those whose cap is reached
	for {
		at := pick(lists, micros, full)
		if at == nil {
			return Advert{}, false
		}
		if at.take(now, robot) {
			chosen.ShopAdvert = at.ShopAdvert
			if !robot {
				chosen.Token = a.token(at.ID, place, now)
			}
			return chosen, true
		}
		if full == nil {
			full = make(map[*live]bool)
		}
		if full[at] = true; len(full) == maxTries {
			return Advert{}, false
		}
	}
}

// pick returns one of those that are shown at a time, by weight; nil: there is none.
func pick(lists [][]*live, at int64, without map[*live]bool) (picked *live) {
	var total int64
	for _, list := range lists {
		for _, l := range list {
			if l.Starts > at || at >= l.Ends || without != nil && without[l] {
				continue
			}
			// Each takes the place of those before it with the chance that its weight has
			// in the sum so far.
			weight := max(1, l.Weight)
			total += weight
			if rand.Int64N(total) < weight { //nolint:gosec // nothing secret
				picked = l
			}
		}
	}
	return picked
}

// take says whether an advertisement may be shown once more, and counts the token
// that goes out.
func (l *live) take(now time.Time, robot bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left < l.Price {
		return false
	}
	l.turn(now)
	if l.MaxViews > 0 && l.views+l.given[0]+l.given[1]+l.given[2] >= l.MaxViews {
		return false
	}
	if !robot {
		l.given[l.at%3]++
	}
	return true
}

// turn lets go of tokens that are over, and of yesterday's views.
func (l *live) turn(now time.Time) {
	if day := store.DayOf(now); day != l.day {
		l.day, l.views = day, 0
	}
	p := periodOf(now)
	for ; l.at < p && p-l.at <= 3; l.at++ {
		l.given[(l.at+1)%3] = 0
	}
	if l.at != p {
		l.at, l.given = p, [3]int64{}
	}
}

func periodOf(t time.Time) int64 { return t.Unix() / int64(period/time.Second) }

// token is "ADVERT PLACE PERIOD NONCE", sealed.
func (a *Adverts) token(advert, place string, now time.Time) string {
	var nonce [8]byte
	for i, n := 0, rand.Uint64(); i < len(nonce); i, n = i+1, n>>8 { //nolint:gosec // the seal keeps it from being made
		nonce[i] = byte(n)
	}
	return a.key.Seal([]byte(advert + " " + place + " " + strconv.FormatInt(periodOf(now), 10) + " " +
		hex.EncodeToString(nonce[:])))
}

// opened is what a token says.
type opened struct {
	advert, place, nonce string
	period               int64
}

// open reads a token that was made here, however old it is.
func (a *Adverts) open(token string) (o opened, ok bool) {
	b, err := a.key.Open(token)
	parts := strings.Split(string(b), " ")
	if err != nil || len(parts) != 4 {
		return o, false
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	return opened{parts[0], parts[1], parts[3], at}, err == nil
}

// fresh says whether a token may still be counted.
func (a *Adverts) fresh(o opened) bool {
	now := periodOf(a.now())
	return o.period <= now && o.period >= now-1
}

// View counts a view, once a token. counted: it was counted.
func (a *Adverts) View(token string) (counted bool) {
	o, ok := a.open(token)
	l := a.shown.Load().byID[o.advert]
	if !ok || l == nil || !a.fresh(o) || !a.first("v", o) {
		return false
	}
	now := a.now()
	l.mu.Lock()
	l.turn(now)
	if l.given[o.period%3] > 0 {
		l.given[o.period%3]--
	}
	full := l.MaxViews > 0 && l.views >= l.MaxViews
	if !full {
		l.views++
	}
	l.mu.Unlock()
	if full {
		return false
	}
	a.count(o, now, func(d *store.AdvertDay) { d.Views++ })
	return true
}

// Press counts a press, once a token, unless a robot presses, and returns the
// advertisement and the proof that a later talk is known by. The page may be older than
// its token counts. ok: the token was made here, and its advertisement is still shown.
func (a *Adverts) Press(token string, robot bool) (pressed store.ShopAdvert, proof string, ok bool) {
	o, ok := a.open(token)
	l := a.shown.Load().byID[o.advert]
	now := a.now()
	if !ok || l == nil {
		return store.ShopAdvert{}, "", false
	}
	if robot || now.Sub(time.Unix(o.period*int64(period/time.Second), 0)) > pressLife {
		return l.ShopAdvert, "", true
	}
	if a.fresh(o) && a.first("p", o) {
		a.count(o, now, func(d *store.AdvertDay) { d.Presses++ })
	}
	return l.ShopAdvert, a.proof(o, now, l.Rings), true
}

// proof is "press ADVERT PLACE SECONDS SHOP", sealed.
func (a *Adverts) proof(o opened, now time.Time, rings string) string {
	return a.key.Seal([]byte("press " + o.advert + " " + o.place + " " + strconv.FormatInt(now.Unix(), 10) + " " +
		rings))
}

// Came notes that somebody who pressed an advertisement opens a conversation with a
// shop. A proof that is forged, too old or for another shop changes nothing.
func (a *Adverts) Came(ctx context.Context, proof, shop, room string) error {
	b, err := a.key.Open(proof)
	parts := strings.Split(string(b), " ")
	if err != nil || len(parts) != 5 || parts[0] != "press" || parts[4] != shop {
		return nil
	}
	at, err := strconv.ParseInt(parts[3], 10, 64)
	now := a.now()
	if err != nil || now.Sub(time.Unix(at, 0)) > pressLife {
		return nil
	}
	return a.store.CameFromAdvert(ctx, room, parts[1], parts[2], now)
}

// Answered charges the advertisement that a conversation came from, if it came from one,
// because a call in it was answered. When that fails, Catch makes up for it.
func (a *Adverts) Answered(ctx context.Context, room string) error {
	return a.charge(ctx, room, a.now())
}

// Catch charges for the talks whose call was answered without a charge: the database did
// not answer then, or the mall was stopped.
func (a *Adverts) Catch(ctx context.Context) error {
	list, err := a.store.OpenAdvertTalks(ctx, a.now(), lookAtOnce)
	for _, t := range list {
		at, failed := a.calls(ctx, t.Room, t.Callee, store.Time(t.Came))
		if failed == nil && !at.IsZero() {
			failed = a.charge(ctx, t.Room, at)
		}
		err = errors.Join(err, failed, a.store.LookLater(ctx, t, a.now(), failed != nil))
	}
	return err
}

func (a *Adverts) charge(ctx context.Context, room string, at time.Time) error {
	id, charged, err := a.store.ChargeAdvert(ctx, room, at)
	if l := a.shown.Load().byID[id]; err == nil && l != nil {
		l.mu.Lock()
		l.left -= charged
		l.mu.Unlock()
	}
	return err
}

// first says whether a token is used for the first time.
func (a *Adverts) first(use string, o opened) bool {
	now := periodOf(a.now())
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at != now || a.used[0] == nil {
		if a.at == now-1 {
			a.used[1] = a.used[0]
		} else {
			a.used[1] = nil
		}
		a.at, a.used[0] = now, make(map[string]bool)
	}
	name := use + o.nonce
	if a.used[0][name] || a.used[1][name] || len(a.used[0]) >= maxUsed {
		return false
	}
	a.used[0][name] = true
	return true
}

func (a *Adverts) count(o opened, now time.Time, add func(*store.AdvertDay)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := countKey{o.advert, store.DayOf(now), o.place}
	d := a.counts[key]
	if d == nil {
		d = &store.AdvertDay{Advert: key.advert, Day: key.day, Place: key.place}
		a.counts[key] = d
	}
	add(d)
}

// Flush stores the counts.
func (a *Adverts) Flush(ctx context.Context) error {
	a.mu.Lock()
	counts := a.counts
	a.counts = make(map[countKey]*store.AdvertDay)
	a.mu.Unlock()
	if len(counts) == 0 {
		return nil
	}
	all := make([]store.AdvertDay, 0, len(counts))
	for _, d := range counts {
		all = append(all, *d)
	}
	err := a.store.AddAdvertDays(ctx, all)
	if err != nil { // they are stored with the next ones
		a.mu.Lock()
		defer a.mu.Unlock()
		for key, d := range counts {
			if newer := a.counts[key]; newer != nil {
				newer.Views += d.Views
				newer.Presses += d.Presses
			} else {
				a.counts[key] = d
			}
		}
	}
	return err
}

var robots = regexp.MustCompile(`(?i)bot\b|bot[/;)]|crawl|spider|slurp|preview|facebookexternalhit|curl/|wget/|python|go-http-client|monitor`)

// Robot says whether a browser says that it is none. An empty name is one's as well.
func Robot(userAgent string) bool { return userAgent == "" || robots.MatchString(userAgent) }
