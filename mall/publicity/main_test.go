// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/mall/store"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		sendUntilKilled(dir, os.Getenv(killDSN))
		return
	}
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
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

// world is a mall with a shop, and a mail system that keeps what is submitted.
type world struct {
	t    testing.TB
	dsn  string
	s    *store.Store
	db   *sql.DB
	shop store.Shop
	dir  string

	mu     sync.Mutex
	now    time.Time
	sent   []chat.Letter
	submit func(l chat.Letter) error // its answer; nil: it takes everything
	here   int
}

func newWorld(t testing.TB, dsn string) *world {
	t.Helper()
	w := &world{t: t, dsn: dsn, dir: t.TempDir(), now: time.Date(2026, 5, 6, 3, 0, 0, 0, time.UTC)}
	var err error
	if w.s, err = store.Open(context.Background(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.s.Close() })
	driver, address := "pgx", dsn
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite {
		driver, address = "sqlite3", "file:"+path+"?_busy_timeout=10000"
	}
	if w.db, err = sql.Open(driver, address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	w.shop, err = w.s.AddShop(context.Background(), store.Shop{Slug: "lamps", Name: "Lamps", Addr: "lamps@mall.example",
		State: store.ShopOpen, Lang: "en", Currency: "KRW", Postal: "1 Jongno, Seoul"}, "host@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// members adds members m0001… who agreed to publicity.
func (w *world) members(n int) {
	w.t.Helper()
	tx, err := w.db.Begin()
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("m%05d", i)
		_, err := tx.Exec("INSERT INTO members (id, login, addr_hash, sealed, state, publicity, created)" +
			" VALUES ('" + id + "', '" + id + "@mall.example', 'hash-" + id + "', '', 'active', TRUE, 0)")
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(query string) {
	w.t.Helper()
	if _, err := w.db.Exec(query); err != nil {
		w.t.Fatal(err)
	}
}

// campaign stores a campaign that is due.
func (w *world) campaign(c store.Campaign) store.Campaign {
	w.t.Helper()
	c.Shop = w.shop.ID
	if c.Segment == "" {
		c.Segment = store.SegmentAll
	}
	if c.Subject == "" {
		c.Subject, c.Text = "New lamps", "Hello,\n\n**new** lamps."
	}
	c.Lang = "en"
	c, err := w.s.SaveCampaign(context.Background(), c, nil)
	if err == nil {
		err = w.s.SetCampaign(context.Background(), c.Shop, c.ID, []string{store.CampaignDraft},
			store.CampaignScheduled, "",
			w.now)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) options() Options {
	return Options{
		Store: w.s, Secret: []byte("0123456789abcdef0123456789abcdef"), Base: "http://mall.localhost",
		Domain: "mall.example",
		Mall:   "The mall", Mark: MarkFile(w.dir),
		Money: func(_, currency string, amount int64) string { return fmt.Sprint(amount, " ", currency) },
		Person: func(_ context.Context, h store.Handing) (chat.Person, error) {
			return chat.Person{Addr: h.Login},
				nil
		},
		Here: func(context.Context, string) int { return w.here },
		Submit: func(_ context.Context, l chat.Letter) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.submit != nil {
				if err := w.submit(l); err != nil {
					return err
				}
			}
			w.sent = append(w.sent, l)
			return nil
		},
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
	}
}

func (w *world) start() *Publicity {
	w.t.Helper()
	p, err := New(w.options())
	if err != nil {
		w.t.Fatal(err)
	}
	if p.mark, err = openMark(p.opt.Mark); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.mark.close)
	return p
}

// rounds runs p until nothing goes on by itself.
func (w *world) rounds(p *Publicity) {
	w.t.Helper()
	for n := 0; p.round(context.Background()); n++ {
		if n == 1000 {
			w.t.Fatal("a campaign goes on and on")
		}
	}
	p.round(context.Background()) // which sees that it is done
}

func (w *world) figures(c store.Campaign) store.CampaignFigures {
	w.t.Helper()
	f, err := w.s.CampaignFigures(context.Background(), c.Shop, c.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) state(c store.Campaign) (state, why string) {
	w.t.Helper()
	c, err := w.s.Campaign(context.Background(), c.Shop, c.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.State, c.Why
}
