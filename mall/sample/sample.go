// SPDX-License-Identifier: GPL-3.0-or-later

// Package sample fills a mall with three shops, their goods and the advertisements of six
// companies, for those who want to see one.
package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
)

// shop is a shop and the kinds of its goods.
type shop struct {
	slug, name, about string
	kinds             []kind
}

// kind is a kind of goods; there are as many of each as there are makes.
type kind struct {
	category, english, korean, text string
	price                           int64
	shape                           int
}

var categories = []store.Category{
	{ID: "light", NameEn: "Light", NameKo: "조명", Place: 1},
	{ID: "table", NameEn: "Table and kitchen", NameKo: "식탁과 부엌", Place: 2},
	{ID: "paper", NameEn: "Paper and writing", NameKo: "종이와 필기", Place: 3},
}

// makes are what goods of a kind differ in; each has a colour of its own.
var makes = []struct {
	english, korean string
	hue             float64
	more            int64 // percent of the price
}{
	{"oak", "참나무", 0.09, 0}, {"walnut", "호두나무", 0.05, 15}, {"white", "흰색", 0.14, -5},
	{"indigo", "쪽빛", 0.62, 10}, {"celadon", "청자색", 0.42, 20},
}

var shops = []shop{
	{"lamps", "Hanok Lamps", "Lamps of **paper and wood**, made in Jeonju.\n\nAsk us about bulbs, cables and gifts.",
		[]kind{
			{"light", "Hanok table lamp", "한옥 탁상등", "A shade of mulberry paper. The bulb (E27, 2700 K) is in the box.",
				48000, 0},
			{"light", "Moon lantern", "달 등", "Round, of one sheet of paper; folds flat.", 32000, 1},
			{"light", "Standing lamp", "스탠드", "165 cm high, with a dimmer in the cable.", 129000, 2},
			{"light", "Reading lamp", "독서등", "Its arm stays where you leave it.", 76000, 0},
			{"light", "Garden lantern", "정원 등", "Bears rain; runs on one charge for a week.", 58000, 1},
			{"light", "Bedside lamp", "머리맡 등", "Warm, and no brighter than it should be at night.", 41000, 0},
			{"light", "Ceiling lantern", "천장 등", "60 cm wide, for rooms of up to 20 m².", 98000, 1},
			{"light", "Corner lamp", "구석 등", "Stands where others do not fit.", 83000, 2},
		}},
	{"pottery", "Onggi House", "Jars, bowls and vases from one kiln.", []kind{
		{"table", "Rice bowl", "밥그릇", "12 cm; goes into the dishwasher.", 18000, 4},
		{"table", "Soup bowl", "국그릇", "Keeps warm for long.", 21000, 4},
		{"table", "Kimchi jar", "김치 항아리", "4 litres; breathes, as it should.", 64000, 5},
		{"table", "Sauce jar", "장 항아리", "1 litre, with a lid that closes well.", 36000, 5},
		{"table", "Tall vase", "긴 꽃병", "For branches; heavy enough to stand.", 55000, 3},
		{"table", "Bud vase", "작은 꽃병", "For one flower.", 24000, 3},
		{"table", "Tea bowl", "찻사발", "Each one is different.", 29000, 4},
		{"table", "Salt jar", "소금 항아리", "Dry salt, always.", 27000, 5},
	}},
	{"paper", "Moru Paper", "Hanji, notebooks and brushes.", []kind{
		{"paper", "Notebook", "공책", "160 pages of hanji that ink does not run on.", 15000, 6},
		{"paper", "Sketchbook", "스케치북", "Thick paper, sewn.", 22000, 6},
		{"paper", "Brush set", "붓 세트", "Three brushes and their stand.", 39000, 7},
		{"paper", "Ink brush", "먹붓", "Fine point, for letters.", 17000, 7},
		{"paper", "Letter set", "편지지 세트", "20 sheets, 10 envelopes.", 12000, 8},
		{"paper", "Gift envelopes", "봉투", "Ten, for money given at feasts.", 9000, 8},
		{"paper", "Year planner", "다이어리", "Begins in any month.", 26000, 6},
		{"paper", "Brush stand", "붓꽂이", "For eight brushes.", 31000, 7},
	}},
}

// Fill adds the shops and companies that are not there, with their goods and
// advertisements: the first is the host's, the others the second login's. Their addresses
// are in the domain.
func Fill(ctx context.Context, s *store.Store, pictures *picture.Store, domain, host, second string) error {
	for _, c := range categories {
		if err := s.AddCategory(ctx, c); err != nil && !errors.Is(err, store.ErrTaken) {
			return err
		}
	}
	for i, one := range shops {
		owner := second
		if i == 0 {
			owner = host
		}
		made, err := s.ShopBySlug(ctx, one.slug)
		if errors.Is(err, store.ErrUnknown) {
			made, err = s.AddShop(ctx, store.Shop{Slug: one.slug, Name: one.name, Addr: one.slug + "@" + domain,
				About: one.about, Lang: "en", Currency: "KRW", State: store.ShopApplied,
				Postal: one.name + ", 1 Paper Street, Jeonju"}, owner)
		}
		if err == nil && made.State == store.ShopApplied { // also when the last start was ended in between
			err = one.open(ctx, s, pictures, made.ID)
		}
		if err != nil {
			return fmt.Errorf("filling the shop %s: %w", one.slug, err)
		}
	}
	return advertise(ctx, s, pictures, domain, second)
}

// open adds the goods of a shop, and opens it when it has them all.
func (one shop) open(ctx context.Context, s *store.Store, pictures *picture.Store, id string) error {
	drawn := make(map[[2]int]picture.Info) // by shape and make
	for n, k := range one.kinds {
		for m, made := range makes {
			info, there := drawn[[2]int{k.shape, m}]
			if !there {
				var err error
				if info, err = pictures.Add(ctx, bytes.NewReader(draw(k.shape, made.hue))); err != nil {
					return err
				}
				drawn[[2]int{k.shape, m}] = info
			}
			price := k.price * (100 + made.more) / 100 / 500 * 500
			it := store.Item{
				Goods: store.Goods{SKU: fmt.Sprintf("%s-%d%c", one.slug, n+1, 'a'+m), Category: k.category,
					Title: fmt.Sprintf("%s, %s · %s (%s)", k.english, made.english, k.korean, made.korean),
					Text:  k.text, State: store.GoodsShown},
				Variants: []store.Variant{{Price: price, Stock: int64(3 + (7*n+5*m)%40)}},
				Pictures: []store.Picture{{Hash: info.Hash, Width: info.Width, Height: info.Height,
					Alt: k.english + ", " + made.english}}}
			if _, err := s.AddGoods(ctx, id, it); err != nil && !errors.Is(err, store.ErrTaken) {
				return err
			}
		}
	}
	return s.SetShopState(ctx, id, store.ShopApplied, store.ShopOpen, "")
}
