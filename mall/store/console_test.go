// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/mall/order"
)

const boss, clerk = "host@mall.example", "clerk@mall.example"

// TestStaff: roles change, the last owner stays, the mall knows whom a shop's
// mails go to.
func TestStaff(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, other := newShop(t, s, "lamps"), newShop(t, s, "chairs")
		if err := s.PutStaff(ctx, shop.ID, clerk, RoleAgent); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"the last owner leaves":      s.RemoveStaff(ctx, shop.ID, boss),
			"the last owner is an agent": s.PutStaff(ctx, shop.ID, boss, RoleAgent),
		} {
			if !errors.Is(err, ErrLastOwner) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := s.RemoveStaff(ctx, other.ID, clerk); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop's staff: %v", err)
		}
		if err := s.PutStaff(ctx, shop.ID, clerk, RoleOwner); err != nil {
			t.Fatal(err)
		}
		if err := s.SetShopState(ctx, other.ID, ShopOpen, ShopClosed, ""); err != nil {
			t.Fatal(err)
		}
		if err := s.SetShopState(ctx, other.ID, ShopOpen, ShopClosed, ""); !errors.Is(err, ErrState) {
			t.Errorf("closed twice: %v", err)
		}
		groups, err := s.StaffedShops(ctx)
		if err != nil || len(groups) != 1 || !slices.Equal(groups[shop.Addr], []string{clerk, boss}) {
			t.Errorf("groups %v, %v", groups, err)
		}
		if err := s.RemoveStaff(ctx, shop.ID, boss); err != nil {
			t.Error(err)
		}
		if team, err := s.Team(ctx, shop.ID); err != nil || len(team) != 1 || team[0].Login != clerk {
			t.Errorf("team %+v, %v", team, err)
		}
		for i := range MaxStaff - 1 {
			if err := s.PutStaff(ctx, shop.ID, fmt.Sprintf("a%d@mall.example", i), RoleAgent); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.PutStaff(ctx, shop.ID, boss, RoleAgent); !errors.Is(err, ErrFull) {
			t.Errorf("one more: %v", err)
		}
	})
}

// TestKeys: a key opens its own open shop, until it is removed; it is not in the database.
func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, other := newShop(t, s, "lamps"), newShop(t, s, "chairs")
		row, key, err := s.AddKey(ctx, shop.ID, "till")
		if err != nil || strings.Contains(fmt.Sprint(row), key) {
			t.Fatalf("%+v, %v", row, err)
		}
		if found, used, err := s.ShopOfKey(ctx, key); err != nil || found != shop || used.ID != row.ID {
			t.Errorf("%+v, %v", found, err)
		}
		if list, err := s.Keys(ctx, shop.ID); err != nil || len(list) != 1 || list[0].Used == 0 {
			t.Errorf("%+v, %v", list, err)
		}
		if err := s.RemoveKey(ctx, other.ID, row.ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop's key: %v", err)
		}
		if _, _, err := s.ShopOfKey(ctx, key+"A"); !errors.Is(err, ErrUnknown) {
			t.Errorf("a wrong key: %v", err)
		}
		if err := s.SetShopState(ctx, shop.ID, ShopOpen, ShopClosed, ""); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.ShopOfKey(ctx, key); !errors.Is(err, ErrUnknown) {
			t.Errorf("of a closed shop: %v", err)
		}
		if err := s.RemoveKey(ctx, shop.ID, row.ID); err != nil {
			t.Error(err)
		}
	})
}

// TestChangeShop: what stays, stays; hours, origins, notes, audit.
func TestChangeShop(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, other := newShop(t, s, "lamps"), newShop(t, s, "chairs")
		now, err := s.ChangeShop(ctx, shop.ID, func(shop *Shop) error {
			shop.About, shop.Slug, shop.State = "We sell lamps.", "stolen", ShopRefused
			return nil
		})
		if err != nil || now.About == "" {
			t.Fatalf("%+v, %v", now, err)
		}
		if read, err := s.Shop(ctx, shop.ID); err != nil || read.About != now.About || read.Slug != "lamps" ||
			read.State != ShopOpen {
			t.Errorf("%+v, %v", read, err)
		}
		if err := s.SetOrigins(ctx, shop.ID, []string{"https://Shop.example", "https://shop.example"}); err != nil {
			t.Fatal(err)
		}
		if list, err := s.Origins(ctx, shop.ID); err != nil || !slices.Equal(list, []string{"https://shop.example"}) {
			t.Errorf("%v, %v", list, err)
		}
		if list, err := s.Origins(ctx, other.ID); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := s.db.ExecContext(ctx, "INSERT INTO members (id, login, addr_hash, sealed, state, created)"+
			" VALUES ('m', 'm', 'h', '', 'active', 1)"); err != nil {
			t.Fatal(err)
		}
		if err := s.AddNote(ctx, Note{Shop: shop.ID, Member: "m", Login: boss, Text: "likes red"}); err != nil {
			t.Fatal(err)
		}
		notes, err := s.Notes(ctx, shop.ID, "m")
		if err != nil || len(notes) != 1 || notes[0].Text != "likes red" {
			t.Fatalf("%+v, %v", notes, err)
		}
		if list, err := s.Notes(ctx, other.ID, "m"); err != nil || len(list) != 0 {
			t.Errorf("another shop's notes: %+v, %v", list, err)
		}
		if err := s.RemoveNote(ctx, other.ID, notes[0].ID); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop's note removed: %v", err)
		}
		for _, of := range []string{shop.ID, other.ID, ""} {
			if err := s.AddAudit(ctx, Audit{Actor: boss, Role: ActorHost, Act: "member.read", About: "m",
				Shop: of}); err != nil {
				t.Fatal(err)
			}
		}
		if list, err := s.AuditTrail(ctx, shop.ID, "", 10); err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
		if list, err := s.AuditTrail(ctx, "", "", 10); err != nil || len(list) != 3 {
			t.Errorf("%+v, %v", list, err)
		}
		if err := s.ForgetAudit(ctx, time.Now().Add(AuditKept+time.Minute)); err != nil {
			t.Fatal(err)
		}
		if list, err := s.AuditTrail(ctx, "", "", 10); err != nil || len(list) != 0 {
			t.Errorf("after two years: %+v, %v", list, err)
		}
	})
}

// TestFigures: counted by the day of the shop's zone.
func TestFigures(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		shop, other := newShop(t, s, "lamps"), newShop(t, s, "chairs")
		zone, err := time.LoadLocation("Asia/Seoul")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 3, 5, 12, 0, 0, 0, zone)
		ask := func(shop Shop, at time.Time, rung bool, after time.Duration, ordered string) {
			t.Helper()
			id := idAt(at)[:10] + NewID()[10:]
			var rang, answered int64
			if rung {
				rang = Micros(at)
			}
			if after > 0 {
				answered = Micros(at.Add(after))
			}
			if _, err := s.db.ExecContext(ctx, "INSERT INTO inquiries (shop, id, member, subject, created, rung, answered)"+
				" VALUES (?, ?, 'm', 's', ?, ?, ?)", shop.ID, id, Micros(at), rang, answered); err != nil {
				t.Fatal(err)
			}
			if ordered == "" {
				return
			}
			if _, err := s.db.ExecContext(ctx, "INSERT INTO orders (shop, id, number, member, state, currency, total, inquiry,"+
				" created, changed) VALUES (?, ?, ?, 'm', ?, 'KRW', 1, ?, 1, 1)", shop.ID, NewID(), NewID(), ordered,
				id); err != nil {
				t.Fatal(err)
			}
		}
		ask(shop, now.Add(-time.Hour), true, time.Minute, "paid")
		ask(shop, now.Add(-time.Hour), true, 0, "")
		ask(shop, time.Date(2026, 3, 4, 0, 30, 0, 0, zone), false, 3*time.Minute, "offered")
		ask(shop, time.Date(2026, 3, 3, 23, 59, 0, 0, zone), true, 9*time.Minute, "") // too long ago
		ask(other, now, true, time.Hour, "paid")
		f, err := s.ShopFigures(ctx, shop.ID, now, zone, 2)
		if err != nil || len(f.Days) != 2 {
			t.Fatalf("%+v, %v", f, err)
		}
		want := Day{Asked: 3, Answered: 2, Rung: 2, Missed: 1, Orders: 1}
		if f.Sum != want || f.First != 3*time.Minute || f.Days[0].Asked != 1 || f.Days[1].Asked != 2 {
			t.Errorf("%+v", f)
		}
	})
}

// TestWall: in PostgreSQL a transaction of one shop neither sees nor writes the
// rows of another, whatever its statements say; and every table that has a shop has
// the policy.
func TestWall(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testpart.Postgres(t)
	admin, err := Open(ctx, dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "mall_" + strings.TrimPrefix(u.Path, "/") // superusers pass policies
	for _, sql := range []string{"CREATE ROLE " + role + " LOGIN", "GRANT ALL ON ALL TABLES IN SCHEMA public TO " + role} {
		if _, err := admin.db.ExecContext(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	u.User = url.User(role)
	s, err := Open(ctx, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ours, theirs := newShop(t, s, "lamps"), newShop(t, s, "chairs")
	for _, shop := range []Shop{ours, theirs} {
		if _, err := s.AddGoods(ctx, shop.ID, lamp("A")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.AddKey(ctx, shop.ID, "till"); err != nil {
			t.Fatal(err)
		}
	}
	err = s.OfShop(ctx, ours.ID, func(tx bun.Tx) error {
		for _, table := range []string{"goods", "variants", "staff", "shop_keys"} {
			var others, own int
			if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FILTER (WHERE shop <> ?), COUNT(*) FROM "+table,
				ours.ID).Scan(&others, &own); err != nil {
				return err
			}
			if others != 0 || own == 0 {
				t.Errorf("%s shows %d rows of others, %d in all", table, others, own)
			}
			res, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE shop <> ?", ours.ID)
			if err != nil {
				return err
			}
			if n, _ := res.RowsAffected(); n != 0 {
				t.Errorf("%s lost %d rows of others", table, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.OfShop(ctx, ours.ID, func(tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO staff (shop, login, role, created) VALUES (?, 'thief', 'owner', 1)",
			theirs.ID)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("a row of another shop: %v", err)
	}
	// Where the policies let no transaction through that names no shop, what a shop's
	// people do works all the same: each does it in a transaction of the shop.
	item, err := s.AddGoods(ctx, ours.ID, lamp("B"))
	if err != nil {
		t.Fatal(err)
	}
	asked, err := s.AddInquiry(ctx, Inquiry{Shop: ours.ID, Member: "m", Subject: "Light"})
	if err != nil {
		t.Fatal(err)
	}
	strict := func(name string) string {
		return "ALTER POLICY one_shop ON " + name + " USING (shop = current_setting('mall.shop', TRUE))"
	}
	for _, table := range []string{"orders", "order_lines", "order_events", "payments", "inquiries", "goods",
		"variants",
		"campaigns", "campaign_goods", "campaign_members", "staff", "shop_keys", "shop_notes"} {
		if _, err := admin.db.ExecContext(ctx, strict(table)); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for _, id := range []string{"buyer", "reader"} { // the first refuses what is mailed to them
		if err := s.AddMember(ctx, Member{ID: id, Login: id, AddrHash: id, State: MemberActive,
			Publicity: id == "buyer"},
			nil); err != nil {
			t.Fatal(err)
		}
	}
	lines := []OrderLine{{Goods: item.ID, Variant: item.Variants[0].ID, Quantity: 1}}
	var o Order
	var c Campaign
	for _, act := range []struct {
		what string
		do   func() (n int, err error)
	}{
		{"Offer", func() (int, error) {
			var err error
			o, err = s.Offer(ctx, Order{Shop: ours.ID, Member: "m", Inquiry: asked.ID}, lines, boss, "")
			return 1, err
		}},
		{"Move", func() (int, error) {
			_, err := s.Move(ctx, ours.ID, o.ID, Step{Act: order.Accept, By: order.Member, Actor: "m"})
			return 1, err
		}},
		{"Pay", func() (int, error) {
			_, paid, err := s.Pay(ctx, Payment{Shop: ours.ID, Notice: "1", Ordered: o.ID, Amount: o.Total})
			if err == nil && !paid {
				err = ErrState
			}
			return 1, err
		}},
		{"OrdersIn", func() (int, error) { list, err := s.OrdersIn(ctx, ours.ID, "", "", 5); return len(list), err }},
		{"OrdersFrom", func() (int, error) { list, err := s.OrdersFrom(ctx, ours.ID, "m", 5); return len(list), err }},
		{"Lines", func() (int, error) { list, err := s.Lines(ctx, o); return len(list), err }},
		{"Steps", func() (int, error) { list, err := s.Steps(ctx, o); return len(list) - 2, err }},
		{"Inquiry", func() (int, error) { _, err := s.Inquiry(ctx, ours.ID, asked.ID); return 1, err }},
		{"InquiriesIn", func() (int, error) { list, err := s.InquiriesIn(ctx, ours.ID, "", 5); return len(list), err }},
		{"SaveCampaign", func() (int, error) {
			var err error
			c, err = s.SaveCampaign(ctx, Campaign{Shop: ours.ID, Subject: "New", Text: "Lamps"}, []string{item.ID})
			return 1, err
		}},
		{"Campaign", func() (int, error) { _, err := s.Campaign(ctx, ours.ID, c.ID); return 1, err }},
		{"Campaigns", func() (int, error) { list, err := s.Campaigns(ctx, ours.ID, "", 5); return len(list), err }},
		{"ChooseMembers", func() (int, error) {
			_, err := s.ChooseMembers(ctx, ours.ID, c.ID, time.Now(), 5)
			return 1, err
		}},
		{"CountSegment", func() (int, error) { return s.CountSegment(ctx, ours.ID, SegmentAll) }},
		{"CampaignGoods", func() (int, error) {
			list, err := s.CampaignGoods(ctx, ours.ID, c.ID)
			return len(list), err
		}},
		{"GoodsNamed", func() (int, error) {
			list, err := s.GoodsNamed(ctx, ours.ID, []string{item.ID})
			return len(list), err
		}},
		{"SetCampaign", func() (int, error) {
			return 1, s.SetCampaign(ctx, ours.ID, c.ID, []string{CampaignDraft}, CampaignScheduled, "", now)
		}},
		{"LeaseCampaign", func() (int, error) {
			return 1, s.LeaseCampaign(ctx, ours.ID, c.ID, "host", now, now.Add(time.Hour))
		}},
		{"TakeMails", func() (int, error) {
			list, err := s.TakeMails(ctx, ours.ID, c.ID, now.Add(time.Hour), 5,
				func(m string) string { return "mail-" + m }, "1")
			return len(list), err
		}},
		{"HandingMails", func() (int, error) {
			list, err := s.HandingMails(ctx, ours.ID, c.ID, now, 5)
			return len(list), err
		}},
		{"SaveHanded", func() (int, error) {
			return 1, s.SaveHanded(ctx, ours.ID, c.ID, []HandedMail{{Member: "buyer", State: MailRefused, Stop: true,
				At: now}})
		}},
		{"CampaignFigures", func() (int, error) {
			f, err := s.CampaignFigures(ctx, ours.ID, c.ID)
			return f.Refused, err
		}},
		{"StopFailing", func() (int, error) {
			stopped, err := s.StopFailing(ctx, ours.ID, c.ID, 1, 100)
			if err == nil && !stopped {
				err = ErrState
			}
			return 1, err
		}},
		{"ShopAndOwner", func() (int, error) { _, _, err := s.ShopAndOwner(ctx, ours.ID); return 1, err }},
		{"StaffLogins", func() (int, error) { list, err := s.StaffLogins(ctx, ours.ID); return len(list), err }},
	} {
		if n, err := act.do(); err != nil || n != 1 {
			t.Errorf("%s: %d, %v", act.what, n, err)
		}
	}
	if list, err := s.OrdersIn(ctx, theirs.ID, "", "", 5); err != nil || len(list) != 0 {
		t.Errorf("another shop's orders: %v, %v", list, err)
	}
	if _, err := admin.db.ExecContext(ctx, "ALTER POLICY one_shop ON goods USING"+
		" (COALESCE(current_setting('mall.shop', TRUE), '') IN ('', shop))"); err != nil {
		t.Fatal(err)
	}
	// The next transaction of the connection is nobody's again.
	if n, err := s.db.NewSelect().Table("goods").Count(ctx); err != nil || n != 3 {
		t.Errorf("%d goods, %v", n, err)
	}

	var bare []string
	if err := admin.db.NewRaw("SELECT c.table_name FROM information_schema.columns c JOIN pg_class p ON p.relname = c.table_name"+
		" WHERE c.table_schema = current_schema() AND c.column_name = 'shop'"+
		" AND NOT (p.relrowsecurity AND p.relforcerowsecurity) ORDER BY 1").Scan(ctx, &bare); err != nil {
		t.Fatal(err)
	}
	if len(bare) > 0 {
		t.Errorf("tables of a shop without a policy: %v", bare)
	}
}
