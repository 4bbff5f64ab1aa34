// SPDX-License-Identifier: GPL-3.0-or-later

package sample

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// TestFill: three shops and 120 goods with their pictures, and six companies that
// advertise; filled again, nothing comes twice.
func TestFill(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "mall.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pictures, err := picture.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Fill(ctx, s, pictures, "mall.example", "host@mall.example", "friend@mall.example"); err != nil {
			t.Fatal(err)
		}
	}
	open, err := s.OpenShops(ctx, "", 10)
	if err != nil || len(open) != 3 {
		t.Fatalf("%d shops, %v", len(open), err)
	}
	goods := 0
	for _, shop := range open {
		err := s.EachItem(ctx, shop.ID, func(it store.Item) error {
			goods++
			f, err := pictures.Open(it.Pictures[0].Hash, picture.Sizes[0])
			if err != nil {
				return err
			}
			return f.Close()
		})
		if err != nil {
			t.Error(err)
		}
	}
	if goods != 120 {
		t.Errorf("%d goods", goods)
	}
	adverts, views, err := s.LiveAdverts(ctx, time.Now())
	if err != nil || len(adverts) != 6 || len(views) != 0 {
		t.Fatalf("%d advertisements, views %v, %v", len(adverts), views, err)
	}
	for _, a := range adverts {
		if f, err := pictures.Open(a.Picture, picture.Sizes[0]); err != nil || f.Close() != nil ||
			a.Spent != 7*a.Price {
			t.Errorf("%s: spent %d, picture %v", a.Title, a.Spent, err)
		}
	}
}

// TestPublish: a campaign that was sent to 200 members, and what came of it.
func TestPublish(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "mall.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pictures, err := picture.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := vault.Open(filepath.Join(dir, "mall.keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Fill(ctx, s, pictures, "mall.example", "host@mall.example", "friend@mall.example"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Publish(ctx, s, keys, "mall.example", "host@mall.example"); err != nil {
			t.Fatal(err)
		}
	}
	shop, err := s.ShopBySlug(ctx, "lamps")
	if err != nil {
		t.Fatal(err)
	}
	sent, err := s.Campaigns(ctx, shop.ID, "", 10)
	if err != nil || len(sent) != 1 || sent[0].State != store.CampaignDone {
		t.Fatalf("campaigns %+v, %v", sent, err)
	}
	f, err := s.CampaignFigures(ctx, shop.ID, sent[0].ID)
	if err != nil || f.All() != members || f.Waiting != 0 || f.Talks != talks || f.Answered != talks/2 ||
		f.Orders != bought ||
		f.Revenue == 0 {
		t.Errorf("figures %+v, %v", f, err)
	}
}
