// SPDX-License-Identifier: GPL-3.0-or-later

package advert

import (
	"context"
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
	t       testing.TB
	s       *store.Store
	company store.Company
	now     time.Time
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	s, err := store.Open(ctx, dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{t: t, s: s, now: time.Date(2026, 5, 6, 3, 0, 0, 0, time.UTC)}
	if w.company, err = s.AddCompany(ctx, store.Company{Name: "Bulbs", Login: "host@mall.example"}); err != nil {
		t.Fatal(err)
	}
	if w.Adverts, err = New(s, secret, nil, func() time.Time { return w.now }); err != nil {
		t.Fatal(err)
	}
	return w
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
	a.Company = w.company.ID
	if a.Ends == 0 {
		a.Ends = store.Micros(w.now.Add(240 * time.Hour))
	}
	if a.Budget == 0 {
		a.Budget = 1000
	}
	if a.Price == 0 {
		a.Price = 100
	}
	a, err := w.s.SaveAdvert(ctx, a)
	if err == nil {
		err = w.s.ReviewAdvert(ctx, a.Company, a.ID, true, "")
	}
	if err == nil {
		err = w.Load(ctx)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// days are the counts of an advertisement, together.
func (w *world) days(a store.Advert) (sum store.AdvertDay) {
	w.t.Helper()
	if err := w.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	all, err := w.s.AdvertDays(ctx, a.Company, a.ID, time.Time{})
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
		a, err := w.s.SaveAdvert(ctx, store.Advert{Company: w.company.ID, Title: "unseen", Budget: 1, Price: 1,
			Ends: store.Micros(w.now.Add(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Load(ctx); err != nil {
			t.Fatal(err)
		}
		if got, ok := w.Choose(store.PlaceFront, "", false); ok {
			t.Errorf("%q shows before the review", got.Title)
		}
		if err := w.s.ReviewAdvert(ctx, a.Company, a.ID, false, "no lamp"); err != nil {
			t.Fatal(err)
		}
		w.add(store.Advert{Title: "front", Places: "front search", Weight: 3})
		w.add(store.Advert{Title: "lamps", Places: "front", Categories: "lamps chairs", Weight: 1})
		w.add(store.Advert{Title: "later", Starts: store.Micros(w.now.Add(time.Hour)), Ends: store.Micros(w.now.Add(2 * time.Hour)),
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
		a := w.add(store.Advert{Title: "x", Target: "/g/1", MaxViews: 30})
		got, _ := w.Choose("front", "", false)
		if !w.View(got.Token) || w.View(got.Token) || w.View(got.Token+"A") || w.View("") {
			t.Error("a token does not count once")
		}
		if target, _, ok := w.Press(got.Token); !ok || target != "/g/1" {
			t.Errorf("the press leads to %q", target)
		}
		w.Press(got.Token)
		if robot, ok := w.Choose("front", "", true); !ok || robot.Token != "" {
			t.Errorf("a robot gets %+v", robot)
		}
		late, _ := w.Choose("front", "", false)
		w.now = w.now.Add(2 * period)
		if w.View(late.Token) {
			t.Error("a token that is over counts")
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
		fresh, err := New(w.s, secret, nil, func() time.Time { return w.now })
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

// TestCharge: a talk is charged once, of the shop it is for, and never above the budget.
func TestCharge(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.add(store.Advert{Title: "x", Shop: "lamps", Budget: 350, Price: 100})
		got, _ := w.Choose("front", "", false)
		_, proof, _ := w.Press(got.Token)
		p, ok := w.Came(proof)
		if !ok || p.Advert != a.ID || p.Place != "front" {
			t.Fatalf("came from %+v", p)
		}
		if _, ok := w.Came(got.Token); ok {
			t.Error("a view's token is taken for a press")
		}
		if err := w.Answered(ctx, p, "chairs", "r0"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := w.Answered(ctx, p, "lamps", fmt.Sprint("r", 1+i%10)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if d := w.days(a); d.Talks != 10 || d.Spent != 300 {
			t.Errorf("counts %+v", d)
		}
		if stored, err := w.s.Advert(ctx, a.Company, a.ID); err != nil || stored.Spent != 300 {
			t.Errorf("spent %d, %v", stored.Spent, err)
		}
		if _, ok := w.Choose("front", "", false); ok {
			t.Error("it shows with its budget used up")
		}
		w.now = w.now.Add(pressLife + time.Minute)
		if _, ok := w.Came(proof); ok {
			t.Error("an old press counts")
		}
	})
}

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
type memory []store.Advert

func (m memory) LiveAdverts(context.Context, time.Time) ([]store.Advert, map[string]int64, error) {
	return m, nil, nil
}
func (m memory) AddAdvertDays(context.Context, []store.AdvertDay) error { return nil }
func (m memory) ChargeAdvert(context.Context, string, string, string, time.Time) (int64, error) {
	return 0, nil
}

// BenchmarkChoose chooses among 1000 advertisements; it fails at 0.1 ms.
func BenchmarkChoose(b *testing.B) {
	var m memory
	for i := range 1000 {
		m = append(m, store.Advert{ID: fmt.Sprint(i), Ends: 1 << 60, Weight: int64(1 + i%5), Budget: 1000, Price: 1, MaxViews: 1 << 40,
			Categories: []string{"", "lamps", "chairs"}[i%3]})
	}
	a, err := New(m, secret, nil, nil)
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
