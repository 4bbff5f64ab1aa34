// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/mall/store"
)

// What BenchmarkPages measures with: alternating rounds, of which the median counts.
const (
	benchRounds  = 3
	benchClients = 8
	benchRound   = 2 * time.Second
)

// BenchmarkPages measures a catalogue page and goods, each with an advertisement, of a mall
// of 10,000 goods and 100,000 members, beside a static file of the same size from the same
// server: its share of the file's requests a second, and its 99th percentile at half its load
// in those of the file's. It fails when that of a search is above 50 ms.
func BenchmarkPages(b *testing.B) {
	t := benchTown(b)
	goods, _, err := t.store.ListGoods(b.Context(), store.CatalogueFilter{}, "", 1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for name, path := range map[string]string{"catalogue": "/categories/light", "goods": "/goods/" + goods[0].ID} {
			page := browser{t, &http.Client{}}.get(path, 200)
			if !strings.Contains(page, `class="advert"`) {
				b.Fatalf("no advertisement on %s", path)
			}
			file := "/" + benchFile(len(page))
			var ratios, tails []float64
			for range benchRounds {
				static, dynamic := t.load(b, file, 0), t.load(b, path, 0)
				ratios = append(ratios, dynamic.rate/static.rate)
				half, slow := t.load(b, path, dynamic.rate/2), t.load(b, file, static.rate/2)
				tails = append(tails, float64(half.p99)/float64(slow.p99))
				b.Logf("%s: %d octets; %.0f and %.0f requests a second; p99 at half load %v and %v",
					name, len(page), dynamic.rate, static.rate, half.p99, slow.p99)
			}
			ratio, tail := median(ratios), median(tails)
			b.ReportMetric(ratio, name+"-of-static")
			b.ReportMetric(tail, name+"-p99-of-static")
		}
		var p99s []float64
		for range benchRounds {
			most := t.load(b, "/search?q=lamp+walnut", 0)
			p99s = append(p99s, float64(t.load(b, "/search?q=lamp+walnut", most.rate/2).p99)/1e6)
		}
		b.ReportMetric(median(p99s), "search-p99-ms")
		if median(p99s) > 50 {
			b.Errorf("search: p99 %.0f ms", median(p99s))
		}
	}
	b.ReportMetric(0, "ns/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// measured is what a load gave.
type measured struct {
	rate float64 // answers a second
	p99  time.Duration
}

// load asks for a path as often as it can, or at a rate a second.
func (c *town) load(b *testing.B, path string, rate float64) measured {
	b.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var clients sync.WaitGroup
	begin := time.Now()
	for i := range benchClients {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
			defer client.CloseIdleConnections()
			ask, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.server.URL+path, nil)
			if err != nil {
				b.Error(err)
				return
			}
			ask.Header.Set("User-Agent", realBrowser)
			var took []time.Duration
			next := begin.Add(time.Duration(float64(i) / max(rate, 1) * float64(time.Second)))
			for time.Since(begin) < benchRound {
				if rate > 0 {
					time.Sleep(time.Until(next))
					next = next.Add(time.Duration(benchClients / rate * float64(time.Second)))
				}
				at := time.Now()
				r, err := client.Do(ask)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != http.StatusOK {
					b.Errorf("%s: %d, %v", path, r.StatusCode, err)
					return
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	clients.Wait()
	if len(all) == 0 {
		b.FailNow()
	}
	slices.Sort(all)
	return measured{float64(len(all)) / time.Since(begin).Seconds(), all[len(all)*99/100]}
}

// benchFiles are static files from one kilobyte on, in steps of one.
const benchFiles = 64

func benchFile(size int) string { return fmt.Sprintf("%d.bin", (size+512)/1024) }

// benchTown is a mall of 10,000 goods, 100,000 members and 100 advertisements, which
// serves benchFiles as well.
func benchTown(b *testing.B) *town {
	b.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var content []byte
			content, err = fs.ReadFile(assetFiles, name)
			files[strings.TrimPrefix(name, "assets/")] = &fstest.MapFile{Data: content}
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	for n := 1; n <= benchFiles; n++ {
		content := make([]byte, n<<10)
		rand.Read(content)
		files["static/"+benchFile(n<<10)] = &fstest.MapFile{Data: content}
	}
	c := newTown(b, files)
	c.site.limits.page = limit.NewBuckets(limit.Rate{Every: 1e9, Burst: 1 << 30}, maxTracked)
	ctx, shop := b.Context(), c.goods[0].Goods.Shop
	for _, id := range []string{"light", "table"} {
		if err := c.store.AddCategory(ctx, store.Category{ID: id, NameEn: id, NameKo: id}); err != nil {
			b.Fatal(err)
		}
	}
	var skus []string
	for i := range 10_000 {
		skus = append(skus, fmt.Sprintf("lamp-%d", i))
	}
	woods := []string{"oak", "walnut", "white", "indigo", "celadon"}
	_, _, err = c.store.PutGoods(ctx, shop, skus, false, func(n int, _ store.Item) (store.Item, error) {
		return store.Item{Goods: store.Goods{Title: fmt.Sprintf("Hanok lamp %d, %s · 한옥 등", n, woods[n%5]),
			State:    store.GoodsShown,
			Category: []string{"light", "table"}[n%2], Text: "A shade of **mulberry paper**. The bulb (E27, 2700 K) is in the box."},
			Variants: []store.Variant{{Price: int64(10000 + n), Stock: 3}}}, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(c.dir, "mall.db")+"?_busy_timeout=10000")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, fill := range []string{
		"INSERT INTO members (id, login, addr_hash, sealed, state, created) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL" +
			" SELECT i + 1 FROM n WHERE i < 100000) SELECT 'm' || i, 'm' || i || '@mall.example', 'h' || i, 'x', 'active', i FROM n",
		"INSERT INTO pictures (shop, goods, hash, width, height) SELECT shop, id, '" + strings.Repeat("a", 64) +
			"', 960, 720 FROM goods",
	} {
		if _, err := db.ExecContext(ctx, fill); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 100 {
		a, err := c.store.AddAdvert(ctx, store.Advert{Shop: shop, Rings: shop, Title: fmt.Sprintf("Bulb %d", i),
			Text:   "It lasts.",
			Target: "/shops/lamps", Picture: strings.Repeat("a", 64), Width: 960, Height: 720, Price: 1, Budget: 1000,
			Ends: store.Micros(time.Now().AddDate(0, 0, 1))})
		if err == nil {
			err = c.store.SetAdvert(ctx, shop, a.ID, store.AdvertReview, store.AdvertDraft)
		}
		if err == nil {
			err = c.store.ApproveAdvert(ctx, a.ID, a.Seen(), 1)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := c.adverts.Load(ctx); err != nil {
		b.Fatal(err)
	}
	return c
}
