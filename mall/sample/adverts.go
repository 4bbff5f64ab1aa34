// SPDX-License-Identifier: GPL-3.0-or-later

package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
)

// company is one that advertises: a shop of the sample, or one that sells nothing here.
type company struct {
	slug, name, about, title, text, places, categories, alt string
	shape                                                   int
	hue                                                     float64
	price, budget                                           int64
}

var companies = []company{
	{"lamps", "", "", "Light for one room · 방 하나를 위한 빛", "Tell us how large it is. We help you choose, now.",
		"front goods", "",
		"A table lamp", 0, 0.09, 500, 100000},
	{"pottery", "", "", "From one kiln · 한 가마에서", "Ask for the bowl that goes with yours.", "front list", "light paper",
		"A jar with a lid", 5, 0.05, 400, 80000},
	{"paper", "", "", "Hanji by the sheet · 한 장씩 파는 한지", "Cut while you talk to us.", "list search", "",
		"A notebook", 6, 0.62, 300, 60000},
	{"bright", "Bright Bulbs", "Bulbs for **every lamp** of the mall. Tell us its name, and we know which one fits.",
		"The bulb that fits · 꼭 맞는 전구", "Warm white, and ten years of it.", "goods search", "light", "A light bulb", 9,
		0.13, 600, 120000},
	{"tea", "Boseong Tea Garden", "Green tea of the first pluck, sent on the day it was dried.",
		"First pluck · 첫물차", "A cup to go with the bowl.", "front goods list", "table", "A cup of tea", 10, 0.28, 450,
		90000},
	{"parcels", "Hangang Parcels", "We carry what breaks: pottery, lamps, glass.",
		"Carried upright · 세워서 옮깁니다", "What arrives broken, we pay.", "search front", "", "A parcel", 11, 0.07, 700,
		140000},
}

// sampleDays are those that have figures when the sample is new.
const sampleDays = 14

// advertise adds the companies and their advertisements that are not there. Those
// without goods are of a login.
func advertise(ctx context.Context, s *store.Store, pictures *picture.Store, domain, login string) error {
	for _, c := range companies {
		shop, err := s.ShopBySlug(ctx, c.slug)
		if errors.Is(err, store.ErrUnknown) {
			shop, err = s.AddShop(ctx, store.Shop{Slug: c.slug, Name: c.name, Addr: c.slug + "@" + domain,
				About: c.about,
				Lang:  "en", Currency: "KRW", State: store.ShopOpen, Company: true}, login)
		}
		var there []store.Advert
		if err == nil {
			there, _, err = s.AdvertsOf(ctx, shop.ID)
		}
		if err == nil && len(there) == 0 {
			err = c.advertise(ctx, s, pictures, shop)
		}
		if err != nil {
			return fmt.Errorf("advertising for %s: %w", c.slug, err)
		}
	}
	return nil
}

func (c company) advertise(ctx context.Context, s *store.Store, pictures *picture.Store, shop store.Shop) error {
	info, err := pictures.Add(ctx, bytes.NewReader(draw(c.shape, c.hue)))
	if err != nil {
		return err
	}
	now := time.Now()
	a, err := s.AddAdvert(ctx, store.Advert{Shop: shop.ID, Rings: shop.ID, Target: "/shops/" + shop.Slug,
		Title: c.title, Text: c.text,
		Alt: c.alt, Picture: info.Hash, Width: info.Width, Height: info.Height, Places: c.places,
		Categories: c.categories,
		Starts:     store.Micros(now.AddDate(0, 0, -sampleDays)), Ends: store.Micros(now.AddDate(1, 0, 0)),
		Price: c.price, Budget: c.budget})
	if err == nil {
		err = c.figures(ctx, s, a, now)
	}
	if err == nil {
		err = s.SetAdvert(ctx, shop.ID, a.ID, store.AdvertReview, store.AdvertDraft)
	}
	if err == nil {
		err = s.ApproveAdvert(ctx, a.ID, a.Seen(), 1)
	}
	return err
}

// figures are what happened to an advertisement before today.
func (c company) figures(ctx context.Context, s *store.Store, a store.Advert, now time.Time) error {
	var days []store.AdvertDay
	for back := sampleDays; back > 0; back-- {
		at := now.AddDate(0, 0, -back)
		views := int64(40 + (back*c.shape*7+back*13)%60)
		place := store.PlaceFront
		if back%3 == 0 {
			place = store.PlaceSearch
		}
		days = append(days, store.AdvertDay{Advert: a.ID, Day: store.DayOf(at), Place: place, Views: views,
			Presses: views / 6})
		if back%2 == 0 {
			room := fmt.Sprintf("sample-%s-%d", c.slug, back)
			if err := s.CameFromAdvert(ctx, room, a.ID, place, at); err != nil {
				return err
			}
			if _, _, err := s.ChargeAdvert(ctx, room, at); err != nil {
				return err
			}
		}
	}
	return s.AddAdvertDays(ctx, days)
}
