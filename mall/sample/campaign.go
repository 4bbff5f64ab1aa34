// SPDX-License-Identifier: GPL-3.0-or-later

package sample

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

const (
	members = 200
	talks   = 24 // that the campaign led to; half of them are answered
	bought  = 3  // of those that are answered
)

var (
	family = []string{"Kim", "Lee", "Park", "Choi", "Jung", "Kang", "Cho", "Yoon", "Jang", "Lim"}
	given  = []string{"Minjun", "Seoyeon", "Jiho", "Hayoon", "Doyun", "Jiwoo", "Eunwoo", "Soojin", "Yejun", "Chaewon"}
)

// Members are the logins of the sample's members.
func Members(domain string) (logins []string) {
	for i := range members {
		logins = append(logins, fmt.Sprintf("member%03d@%s", i+1, domain))
	}
	return logins
}

// Publish adds the members and a campaign of the first shop that was sent to them all,
// unless they are there.
func Publish(ctx context.Context, s *store.Store, keys *vault.Vault, domain, host string) error {
	logins, now := Members(domain), time.Now()
	if _, err := s.MemberByLogin(ctx, logins[0]); !errors.Is(err, store.ErrUnknown) {
		return err
	}
	var all []store.Member
	for i, login := range logins {
		m := store.Member{ID: store.NewID(), Login: login, AddrHash: keys.Hash(login), Lang: "en",
			State:     store.MemberActive,
			Publicity: true, Created: store.Micros(now)}
		who := store.Personal{Name: given[i%10] + " " + family[i/10%10], Addr: login}
		var err error
		if m.Sealed, err = mall.SealPersonal(keys, m.ID, who); err != nil {
			return err
		}
		all = append(all, m)
	}
	if err := s.AddMembers(ctx, all, store.Consent{What: store.ConsentPublicity, Given: true, At: store.Micros(now),
		Addr: "127.0.0.1", Wording: "the sample's"}); err != nil {
		return err
	}
	shop, err := s.ShopBySlug(ctx, shops[0].slug)
	if err != nil {
		return err
	}
	c, err := send(ctx, s, shop, now)
	if err != nil {
		return fmt.Errorf("making a campaign of the sample: %w", err)
	}
	return talk(ctx, s, keys, c, all, host)
}

// send makes a campaign whose mails are all out, by the steps that package publicity
// takes. Some came back.
func send(ctx context.Context, s *store.Store, shop store.Shop, now time.Time) (c store.Campaign, err error) {
	goods, err := s.GoodsOfShop(ctx, shop.ID, store.GoodsFilter{State: store.GoodsShown}, 3)
	if err != nil {
		return c, err
	}
	var shown []string
	for _, g := range goods {
		shown = append(shown, g.ID)
	}
	c, err = s.SaveCampaign(ctx, store.Campaign{Shop: shop.ID, Subject: "Lamps for long evenings", Lang: "en",
		Segment: store.SegmentAll, AdMark: true, Text: "Hello,\n\nthe new lamps are here. Which bulb fits your room?" +
			" **Follow the link above and ask us**: we are there."}, shown)
	if err != nil {
		return c, err
	}
	err = s.SetCampaign(ctx, shop.ID, c.ID, []string{store.CampaignDraft}, store.CampaignScheduled, "", now)
	if err == nil {
		err = s.LeaseCampaign(ctx, shop.ID, c.ID, "sample", now, now)
	}
	for more := err == nil; more; {
		if more, err = s.ChooseMembers(ctx, shop.ID, c.ID, now, members+1); err != nil {
			return c, err
		}
	}
	if err != nil {
		return c, err
	}
	mail := func(member string) string { return "sample." + c.ID + "." + member + "@mall.example" }
	taken, err := s.TakeMails(ctx, shop.ID, c.ID, now, members, mail, store.NewID())
	if err != nil {
		return c, err
	}
	handed := make([]store.HandedMail, len(taken))
	for i, h := range taken {
		handed[i] = store.HandedMail{Member: h.Member, State: store.MailQueued, At: now}
		if i%90 == 89 {
			handed[i].State, handed[i].Reason = store.MailRefused, "5.2.2 The mailbox is full"
		}
	}
	if err := s.SaveHanded(ctx, shop.ID, c.ID, handed); err != nil {
		return c, err
	}
	return c, s.FinishCampaign(ctx, shop.ID, c.ID)
}

// talk adds what came of the campaign: questions, answers, orders.
func talk(ctx context.Context, s *store.Store, keys *vault.Vault, c store.Campaign, all []store.Member,
	host string) error {
	goods, err := s.CampaignGoods(ctx, c.Shop, c.ID)
	if err != nil {
		return err
	}
	for n, m := range all[:talks] {
		i := store.Inquiry{Shop: c.Shop, Member: m.ID, Subject: c.Subject, Campaign: c.ID,
			Question: "Is its light warm or cold?", Rung: store.Micros(time.Now())}
		if n%2 == 0 {
			i.Answered = i.Rung
		}
		if i, err = s.AddInquiry(ctx, i); err != nil {
			return err
		}
		if n%2 != 0 || n/2 >= bought {
			continue
		}
		it, err := s.ItemOf(ctx, c.Shop, goods[n/2].ID)
		if err != nil {
			return err
		}
		o, err := s.Offer(ctx, store.Order{Shop: c.Shop, Member: m.ID, Inquiry: i.ID},
			[]store.OrderLine{{Goods: it.Goods.ID, Variant: it.Variants[0].ID, Quantity: 1}}, host, "")
		if err == nil {
			_, err = s.Move(ctx, o.Shop, o.ID, store.Step{Act: order.Accept, By: order.Member, Actor: m.Login,
				Deliver: mall.SealDeliver(keys, "2 Lake Road, Jeonju")})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
