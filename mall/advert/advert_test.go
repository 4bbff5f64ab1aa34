// SPDX-License-Identifier: GPL-3.0-or-later

package advert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/mall/store"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}

var ctx = context.Background()

var secret = []byte("0123456789abcdef0123456789abcdef")

type world struct {
	*Adverts
	t    testing.TB
	s    *store.Store
	shop store.Shop // that pays
	now  time.Time

	answered map[string]time.Time // room → when the relay says that its call was answered
	away     error                // of the relay
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	s, err := store.Open(ctx, dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t: t, s: s, now: time.Date(2026, 5, 6, 3, 0, 0, 0, time.UTC)}
	if w.shop, err = s.AddShop(ctx, store.Shop{Slug: "bulbs", Name: "Bulbs", Addr: "bulbs@mall.example", Company: true,
		State: store.ShopOpen}, "host@mall.example"); err != nil {
		t.Fatal(err)
	}
	if w.Adverts, err = New(s, w.calls, secret, nil, func() time.Time { return w.now }); err != nil {
		t.Fatal(err)
	}
	return w
}

// calls are those that the relay has.
func (w *world) calls(_ context.Context, room, callee string, after time.Time) (time.Time, error) {
	if at := w.answered[room]; callee == w.shop.Addr && at.After(after) {
		return at, w.away
	}
	return time.Time{}, w.away
}

// each runs a test on SQLite and on a real PostgreSQL.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "mall.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, testpart.Postgres(t)))
	})
}

// add stores an advertisement that is shown.
func (w *world) add(a store.Advert) store.Advert {
	w.t.Helper()
	a = w.draft(a)
	w.done(w.s.SetAdvert(ctx, a.Shop, a.ID, store.AdvertReview, store.AdvertDraft))
	w.done(w.s.ApproveAdvert(ctx, a.ID, a.Seen(), max(1, a.Weight)))
	w.done(w.Load(ctx))
	return a
}

func (w *world) draft(a store.Advert) store.Advert {
	w.t.Helper()
	weight := a.Weight
	a.Shop, a.Rings, a.Target = w.shop.ID, cmp.Or(a.Rings, w.shop.ID), cmp.Or(a.Target, "/shops/bulbs")
	a.Ends = cmp.Or(a.Ends, store.Micros(w.now.Add(240*time.Hour)))
	a.Budget, a.Price = cmp.Or(a.Budget, 1000), cmp.Or(a.Price, 100)
	a, err := w.s.AddAdvert(ctx, a)
	w.done(err)
	a.Weight = weight
	return a
}

func (w *world) done(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// days are the counts of an advertisement, together.
func (w *world) days(a store.Advert) (sum store.AdvertDay) {
	w.t.Helper()
	if err := w.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	all, err := w.s.AdvertDays(ctx, a.Shop, a.ID, time.Time{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range all {
		sum.Views += d.Views
		sum.Presses += d.Presses
		sum.Talks += d.Talks
		sum.Spent += d.Spent
	}
	return sum
}

// TestChoose: by review, place, category, time and weight.
func TestChoose(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		unseen := w.draft(store.Advert{Title: "unseen"})
		w.done(w.s.SetAdvert(ctx, unseen.Shop, unseen.ID, store.AdvertReview, store.AdvertDraft))
		w.done(w.Load(ctx))
		if got, ok := w.Choose(store.PlaceFront, "", false); ok {
			t.Errorf("%q shows before the review", got.Title)
		}
		w.done(w.s.RefuseAdvert(ctx, unseen.ID, "no lamp"))
		w.add(store.Advert{Title: "front", Places: "front search", Weight: 3})
		w.add(store.Advert{Title: "lamps", Places: "front", Categories: "lamps chairs", Weight: 1})
		w.add(store.Advert{Title: "later", Starts: store.Micros(w.now.Add(time.Hour)),
			Ends:   store.Micros(w.now.Add(2 * time.Hour)),
			Places: "goods"})
		count := func(place, category string) map[string]int {
			n := make(map[string]int)
			for range 4000 {
				got, _ := w.Choose(place, category, true)
				n[got.Title]++
			}
			return n
		}
		if n := count("front", ""); n["front"] != 4000 {
			t.Errorf("front: %v", n)
		}
		if n := count("front", "lamps"); n["lamps"] < 800 || n["lamps"] > 1200 || n["front"]+n["lamps"] != 4000 {
			t.Errorf("weights 3 and 1: %v", n)
		}
		if n := count("list", "lamps"); n[""] != 4000 {
			t.Errorf("list: %v", n)
		}
		if n := count("goods", ""); n[""] != 4000 {
			t.Errorf("too early: %v", n)
		}
		w.now = w.now.Add(time.Hour)
		if n := count("goods", ""); n["later"] != 4000 {
			t.Errorf("in time: %v", n)
		}
		w.now = w.now.Add(time.Hour)
		if n := count("goods", ""); n[""] != 4000 {
			t.Errorf("too late: %v", n)
		}
	})
}

// TestCounts: a token counts one view and one press, robots none, forged and old ones
// neither; the cap of a day holds with many at once.
func TestCounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.add(store.Advert{Title: "x", Target: "/goods/1", MaxViews: 30})
		got, _ := w.Choose("front", "", false)
		if !w.View(got.Token) || w.View(got.Token) || w.View(got.Token+"A") || w.View("") {
			t.Error("a token does not count once")
		}
		for range 2 {
			if pressed, proof, ok := w.Press(got.Token, false); !ok || pressed.Target != "/goods/1" || proof == "" {
				t.Errorf("the press leads to %q", pressed.Target)
			}
		}
		if _, _, ok := w.Press(got.Token+"A", false); ok {
			t.Error("a forged token leads on")
		}
		if robot, ok := w.Choose("front", "", true); !ok || robot.Token != "" {
			t.Errorf("a robot gets %+v", robot)
		}
		late, _ := w.Choose("front", "", false)
		w.now = w.now.Add(2 * period)
		if w.View(late.Token) {
			t.Error("a token that is over counts")
		}
		if pressed, proof, ok := w.Press(late.Token, false); !ok || pressed.Target != "/goods/1" || proof == "" {
			t.Error("a page that is half an hour old leads nowhere")
		}
		w.now = w.now.Add(2 * period) // it is given back
		var chosen sync.Map
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				if got, ok := w.Choose("front", "", false); ok {
					chosen.Store(i, got.Token)
				}
			})
		}
		all.Wait()
		n := 0
		chosen.Range(func(_, token any) bool {
			n++
			if !w.View(token.(string)) {
				t.Error("a view within the cap does not count")
			}
			return true
		})
		if n != 29 {
			t.Errorf("%d are shown with 29 left", n)
		}
		if err := w.Load(ctx); err != nil { // counts that are not stored yet are kept
			t.Fatal(err)
		}
		if _, ok := w.Choose("front", "", false); ok {
			t.Error("it shows above the cap")
		}
		if d := w.days(a); d.Views != 30 || d.Presses != 1 {
			t.Errorf("counts %+v", d)
		}
		fresh, err := New(w.s, nil, secret, nil, func() time.Time { return w.now })
		if err != nil || fresh.Load(ctx) != nil {
			t.Fatal(err)
		}
		if _, ok := fresh.Choose("front", "", false); ok {
			t.Error("after a start it shows above the cap")
		}
		w.now = w.now.Add(24 * time.Hour)
		if _, ok := w.Choose("front", "", false); !ok {
			t.Error("it does not show on the next day")
		}
	})
}

// TestCharge: a talk that came from an advertisement is charged when its call is answered,
// once, of the shop it is for, and never above the budget.
func TestCharge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.add(store.Advert{Title: "x", Rings: "lamps", Budget: 350, Price: 100})
		press := func() string {
			got, ok := w.Choose("front", "", false)
			_, proof, pressed := w.Press(got.Token, false)
			if !ok || !pressed {
				t.Fatal("no advertisement")
			}
			return proof
		}
		proof := press()
		got, _ := w.Choose("front", "", false)
		w.done(w.Came(ctx, proof, "chairs", "r0"))    // they went on to another shop
		w.done(w.Came(ctx, got.Token, "lamps", "r0")) // a view is no press
		w.done(w.Came(ctx, proof+"A", "lamps", "r0")) // forged
		w.done(w.Answered(ctx, "r0"))
		w.done(w.Came(ctx, proof, "lamps", "long-ago"))
		w.now = w.now.Add(2 * time.Hour)
		w.done(w.Answered(ctx, "long-ago")) // another call, two hours later
		if d := w.days(a); d.Talks != 0 || d.Spent != 0 {
			t.Errorf("counts %+v", d)
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				room := fmt.Sprint("r", 1+i%10)
				if err := errors.Join(w.Came(ctx, proof, "lamps", room), w.Answered(ctx, room)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.done(w.Came(ctx, proof, "lamps", "r1"))
		w.done(w.Answered(ctx, "r1"))
		if d := w.days(a); d.Talks != 10 || d.Spent != 300 {
			t.Errorf("counts %+v", d)
		}
		if stored, err := w.s.Advert(ctx, a.Shop, a.ID); err != nil || stored.Spent != 300 {
			t.Errorf("spent %d, %v", stored.Spent, err)
		}
		if _, ok := w.Choose("front", "", false); ok {
			t.Error("it shows with its budget used up")
		}
		w.now = w.now.Add(pressLife + time.Minute)
		more := w.add(store.Advert{Title: "y", Rings: "lamps"})
		w.done(w.Came(ctx, proof, "lamps", "late"))
		w.done(w.Answered(ctx, "late"))
		if d := w.days(more); d.Talks != 0 {
			t.Error("an old press counts")
		}
	})
}

// TestCatch: a talk whose call was answered while it could not be charged is charged later,
// once, also by two hosts at once, and not above the budget. One that was not answered within
// an hour is not, and is asked about ever more seldom until then.
func TestCatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.add(store.Advert{Title: "x", Budget: 250, Price: 100})
		got, _ := w.Choose("front", "", false)
		_, proof, _ := w.Press(got.Token, false)
		w.answered = make(map[string]time.Time)
		for _, room := range []string{"r1", "r2", "r3", "noted", "late", "never"} {
			w.done(w.Came(ctx, proof, w.shop.ID, room))
		}
		came := w.now
		for room, after := range map[string]time.Duration{"r1": time.Minute, "r2": 2 * time.Minute, "r3": 3 * time.Minute,
			"noted": time.Second, "late": 2 * time.Hour, "never": -time.Hour} {
			w.answered[room] = came.Add(after)
		}
		w.now = came.Add(2 * time.Second)
		w.done(w.Answered(ctx, "noted"))
		looks := 0
		charged := func() int64 { t.Helper(); return w.days(a).Spent }
		w.now, w.away = came.Add(5*time.Minute), errors.New("the relay's database is away")
		if err := w.Catch(ctx); !errors.Is(err, w.away) || charged() != 100 {
			t.Errorf("%d are charged, %v", charged(), err)
		}
		w.away = nil
		w.done(w.Catch(ctx))
		if charged() != 100 {
			t.Error("it is not put off after an error")
		}
		w.now = came.Add(12 * time.Minute)
		var hosts sync.WaitGroup
		for range 2 {
			hosts.Go(func() {
				if err := w.Catch(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		hosts.Wait()
		if d := w.days(a); d.Spent != 200 || d.Talks != 4 {
			t.Errorf("counts %+v", d)
		}
		for ; w.now.Before(came.Add(12 * time.Hour)); w.now = w.now.Add(time.Minute) {
			open, err := w.s.OpenAdvertTalks(ctx, w.now, 100)
			w.done(err)
			looks += len(open)
			w.done(w.Catch(ctx))
		}
		if d := w.days(a); d.Spent != 200 || d.Talks != 4 || looks == 0 || looks > 10 {
			t.Errorf("counts %+v after %d looks", d, looks)
		}
		w.done(w.s.ForgetAdvertDays(ctx, w.now.Add(store.AdvertDaysKept)))
		if d := w.days(a); d.Talks != 4 {
			t.Errorf("two years keep %+v", d)
		}
		w.done(w.s.ForgetAdvertDays(ctx, w.now.Add(store.AdvertDaysKept+24*time.Hour)))
		if d := w.days(a); d.Talks != 0 {
			t.Errorf("after two years %+v", d)
		}
		if stored, err := w.s.Advert(ctx, a.Shop, a.ID); err != nil || stored.Spent != 200 {
			t.Errorf("spent %d, %v", stored.Spent, err)
		}
	})
}

// TestStates: what is changed is shown again only after a review, what is paused or has
// ended not at all, and one shop cannot change another's.
func TestStates(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.add(store.Advert{Title: "x"})
		shows := func(want bool) {
			t.Helper()
			w.done(w.Load(ctx))
			if _, ok := w.Choose("front", "", false); ok != want {
				t.Errorf("it shows: %v", ok)
			}
		}
		set := func(to string, from ...string) { t.Helper(); w.done(w.s.SetAdvert(ctx, a.Shop, a.ID, to, from...)) }
		shows(true)
		set(store.AdvertPaused, store.AdvertShown)
		shows(false)
		set(store.AdvertShown, store.AdvertPaused)
		shows(true)
		w.done(w.s.ChangeAdvert(ctx, a.Shop, a.ID, func(a *store.Advert) { a.Text = "new" }))
		shows(false)
		err := w.s.SetAdvert(ctx, a.Shop, a.ID, store.AdvertShown, store.AdvertPaused)
		if !errors.Is(err, store.ErrState) {
			t.Errorf("a draft goes on without a review: %v", err)
		}
		changed, err := w.s.Advert(ctx, a.Shop, a.ID)
		w.done(err)
		if err := w.s.ApproveAdvert(ctx, a.ID, changed.Seen(), 1); !errors.Is(err, store.ErrState) {
			t.Errorf("a draft is approved: %v", err)
		}
		set(store.AdvertReview, store.AdvertDraft)
		if err := w.s.ApproveAdvert(ctx, a.ID, a.Seen(), 1); !errors.Is(err, store.ErrState) {
			t.Errorf("another one than was seen is approved: %v", err)
		}
		w.done(w.s.ApproveAdvert(ctx, a.ID, changed.Seen(), 1))
		shows(true)
		w.done(w.s.RefuseAdvert(ctx, a.ID, "not true"))
		shows(false)
		if stored, err := w.s.Advert(ctx, a.Shop, a.ID); err != nil || stored.Why != "not true" ||
			stored.Text != "new" {
			t.Errorf("%+v, %v", stored, err)
		}
		set(store.AdvertEnded, store.AdvertRefused)
		if err := w.s.ChangeAdvert(ctx, a.Shop, a.ID, func(*store.Advert) {}); !errors.Is(err, store.ErrState) {
			t.Errorf("what has ended is changed: %v", err)
		}
		for what, err := range map[string]error{
			"read":   second(w.s.Advert(ctx, "other", a.ID)),
			"change": w.s.ChangeAdvert(ctx, "other", a.ID, func(*store.Advert) {}),
			"end":    w.s.SetAdvert(ctx, "other", a.ID, store.AdvertEnded, store.AdvertEnded),
		} {
			if !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrState) {
				t.Errorf("another shop's %s: %v", what, err)
			}
		}
		for target, want := range map[string]bool{"/goods/1": true, "/shops/x": true,
			"https://lamps.example/a?b=c": true,
			"http://lamps.example/":       false, "//evil.example/goods/": false, "javascript:alert(1)": false,
			"/sign-out":                 false,
			"https://kim@lamps.example": false, "https:///x": false, `/goods/\evil`: false, "": false} {
			_, err := w.s.AddAdvert(ctx, store.Advert{Shop: w.shop.ID, Title: "x", Target: target, Ends: 1,
				Price: 1, Budget: 1})
			if (err == nil) != want {
				t.Errorf("%q: %v", target, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestRobot(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]bool{
		"": true, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": true, "curl/8.0": true,
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36":   false,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604": false,
	} {
		if got := Robot(agent); got != want {
			t.Errorf("%q: %v", agent, got)
		}
	}
}

// memory is a store of advertisements for the benchmark.
type memory []store.ShopAdvert

func (m memory) LiveAdverts(context.Context, time.Time) ([]store.ShopAdvert, map[string]int64, error) {
	return m, nil, nil
}
func (m memory) AddAdvertDays(context.Context, []store.AdvertDay) error                  { return nil }
func (m memory) CameFromAdvert(context.Context, string, string, string, time.Time) error { return nil }
func (m memory) ChargeAdvert(context.Context, string, time.Time) (string, int64, error) {
	return "", 0, nil
}
func (m memory) OpenAdvertTalks(context.Context, time.Time, int) ([]store.AdvertTalk, error) {
	return nil, nil
}
func (m memory) LookLater(context.Context, store.AdvertTalk, time.Time, bool) error { return nil }

// BenchmarkChoose chooses among 1000 advertisements; it fails at 0.1 ms.
func BenchmarkChoose(b *testing.B) {
	var m memory
	for i := range 1000 {
		m = append(m, store.ShopAdvert{Advert: store.Advert{ID: fmt.Sprint(i), Ends: 1 << 60, Weight: int64(1 + i%5),
			Budget: 1000, Price: 1, MaxViews: 1 << 40, Categories: []string{"", "lamps", "chairs"}[i%3]}})
	}
	a, err := New(m, nil, secret, nil, nil)
	if err != nil || a.Load(ctx) != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok := a.Choose("front", "lamps", false); !ok {
			b.Fatal("none")
		}
	}
	if each := b.Elapsed() / time.Duration(b.N); each > 100*time.Microsecond {
		b.Errorf("a choice takes %v", each)
	}
}
