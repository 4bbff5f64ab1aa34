// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mall/store"
)

// BenchmarkCampaign sends a campaign to 10,000 members of a running server: each mail is
// rendered, stamped with a link of its own, signed, and in a mailbox on the disk.
func BenchmarkCampaign(b *testing.B) {
	const members = 10_000
	state := b.TempDir()
	startServer(b, state).stop(b) // which makes the files
	login := func(i int) string { return fmt.Sprintf("bench%05d@mall.example", i) }
	boxes, err := mailstore.Open(filepath.Join(state, mailstore.DefaultPath), mailstore.Options{MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	const makers = 200 // who share the waits for the disk
	var making sync.WaitGroup
	for part := range makers {
		making.Go(func() {
			for i := part; i < members; i += makers {
				if err := boxes.CreateAccount(login(i)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	making.Wait()
	if err := boxes.Close(); err != nil {
		b.Fatal(err)
	}
	s := startServer(b, state)
	db := mallStore(b, state)
	shop, err := db.ShopBySlug(b.Context(), "lamps")
	if err != nil {
		b.Fatal(err)
	}
	var all []store.Member
	for i := range members {
		all = append(all, store.Member{ID: store.NewID(), Login: login(i), AddrHash: login(i), Lang: "en",
			State: store.MemberActive, Publicity: true})
	}
	if err := db.AddMembers(b.Context(), all, store.Consent{What: store.ConsentPublicity, Given: true}); err != nil {
		b.Fatal(err)
	}
	goods, err := db.GoodsOfShop(b.Context(), shop.ID, store.GoodsFilter{State: store.GoodsShown}, 1)
	if err != nil {
		b.Fatal(err)
	}
	mails := 0
	for b.Loop() {
		c, err := db.SaveCampaign(b.Context(), store.Campaign{Shop: shop.ID, Subject: "New lamps",
			Text: "**Here** they are.",
			Lang: "en", Segment: store.SegmentAll, Night: true}, []string{goods[0].ID})
		if err == nil {
			err = db.SetCampaign(b.Context(), shop.ID, c.ID, []string{store.CampaignDraft}, store.CampaignScheduled, "",
				time.Now())
		}
		for err == nil && c.State != store.CampaignDone {
			time.Sleep(20 * time.Millisecond)
			c, err = db.Campaign(b.Context(), shop.ID, c.ID)
		}
		var f store.CampaignFigures
		if err == nil {
			f, err = db.CampaignFigures(b.Context(), shop.ID, c.ID)
		}
		if err != nil || f.Queued < members {
			b.Fatalf("figures %+v, %v", f, err)
		}
		mails += f.Queued
	}
	b.ReportMetric(float64(mails)/b.Elapsed().Seconds(), "mails/s")
	s.stop(b)
}
