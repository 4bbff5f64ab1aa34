// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// States of a campaign.
const (
	CampaignDraft     = "draft"
	CampaignScheduled = "scheduled"
	CampaignSending   = "sending"
	CampaignPaused    = "paused"
	CampaignStopped   = "stopped" // for good
	CampaignDone      = "done"
)

// Why a campaign was paused or stopped, besides the host's own wish.
const (
	WhyFailures = "failures" // too many mails failed
	WhyRestored = "restored" // the database is older than what was sent
)

// Segments: which of the members who agreed a campaign goes to.
const (
	SegmentAll        = "all"
	SegmentAsked      = "asked" // the shop something
	SegmentBookmarked = "bookmarked"
	SegmentBought     = "bought"
)

// Segments in the order that a page lists them.
var Segments = []string{SegmentAll, SegmentAsked, SegmentBookmarked, SegmentBought}

// States of a member's mail in a campaign.
const (
	MailWaiting      = "waiting"
	MailHanding      = "handing" // to the queue; Message-ID is fixed, it may be there already
	MailQueued       = "queued"
	MailRefused      = "refused"
	MailBounced      = "bounced"
	MailComplained   = "complained"
	MailUnsubscribed = "unsubscribed"
	MailLeftOut      = "left-out" // no longer agreed, or suppressed
)

// MaxCampaignGoods is how many goods one campaign shows.
const MaxCampaignGoods = 12

// Campaign is publicity that a shop mails to members.
type Campaign struct {
	bun.BaseModel `bun:"table:campaigns"`

	Shop    string `bun:",pk"`
	ID      string `bun:",pk"`
	Subject string
	Text    string // Markdown
	Lang    string
	Segment string
	State   string
	Why     string
	At      int64
	PerHour int64
	ByStaff bool
	AdMark  bool
	Night   bool
	Reached string
	Chosen  bool
	Created int64
	Changed int64
}

// CampaignGoods is what a campaign says of goods.
type CampaignGoods struct {
	ID, SKU, Title, Picture string
	Price                   int64
}

// SaveCampaign stores a draft and its goods: a new one if it has no ID.
// ErrState: it is no draft any more.
func (s *Store) SaveCampaign(ctx context.Context, c Campaign, goods []string) (Campaign, error) {
	now := Micros(time.Now())
	c.State, c.Changed = CampaignDraft, now
	err := s.OfShop(ctx, c.Shop, func(tx bun.Tx) error {
		if c.ID == "" {
			c.ID, c.Created = NewID(), now
			if _, err := tx.NewInsert().Model(&c).Exec(ctx); err != nil {
				return err
			}
		} else {
			res, err := tx.NewUpdate().Model(&c).WherePK().Where("state = ?", CampaignDraft).
				Column("subject", "text", "lang", "segment", "at", "per_hour", "by_staff", "ad_mark", "night",
					"changed").Exec(ctx)
			if err := changed(res, err, ErrState); err != nil {
				return err
			}
		}
		if _, err := tx.NewRaw("DELETE FROM campaign_goods WHERE shop = ? AND campaign = ?", c.Shop, c.ID).
			Exec(ctx); err != nil {
			return err
		}
		for place, id := range goods[:min(len(goods), MaxCampaignGoods)] {
			// Goods of another shop are not found.
			if _, err := tx.NewRaw("INSERT INTO campaign_goods (shop, campaign, goods, place)"+
				" SELECT shop, ?, id, ? FROM goods WHERE shop = ? AND id = ? ON CONFLICT DO NOTHING",
				c.ID, place, c.Shop, id).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Campaign{}, fmt.Errorf("saving a campaign: %w", err)
	}
	return c, nil
}

// Campaign returns one campaign of a shop. ErrUnknown.
func (s *Store) Campaign(ctx context.Context, shop, id string) (c Campaign, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&c).Where("shop = ? AND id = ?", shop, id).Scan(ctx)
	})
	if err != nil {
		return Campaign{}, fmt.Errorf("reading a campaign: %w", known(err))
	}
	return c, nil
}

// Campaigns returns a shop's campaigns before the one named, the newest first.
func (s *Store) Campaigns(ctx context.Context, shop, before string, limit int) (all []Campaign, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		q := db.NewSelect().Model(&all).Where("shop = ?", shop).Order("id DESC").Limit(int64(limit))
		if before != "" {
			q = q.Where("id < ?", before)
		}
		return q.Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("listing campaigns: %w", err)
	}
	return all, nil
}

// CampaignGoods returns the goods of a campaign in their order.
func (s *Store) CampaignGoods(ctx context.Context, shop, campaign string) (all []CampaignGoods, err error) {
	err = s.rd.NewRaw("SELECT g.id, g.sku, g.title, g.price, COALESCE((SELECT p.hash FROM pictures p"+
		" WHERE p.shop = g.shop AND p.goods = g.id ORDER BY p.place LIMIT 1), '') AS picture"+
		" FROM campaign_goods c JOIN goods g ON g.shop = c.shop AND g.id = c.goods"+
		" WHERE c.shop = ? AND c.campaign = ? ORDER BY c.place", shop, campaign).Scan(ctx, &all)
	if err != nil {
		return nil, fmt.Errorf("reading a campaign's goods: %w", err)
	}
	return all, nil
}

// SetCampaign brings a campaign from one of some states into another. at is when
// it begins, where it is scheduled. ErrState: it is in none of them.
func (s *Store) SetCampaign(ctx context.Context, shop, id string, from []string, to, why string, at time.Time) error {
	q := s.db.NewUpdate().Table("campaigns").Set("state = ?, why = ?, changed = ?", to, why, Micros(time.Now())).
		Where("shop = ? AND id = ? AND state IN (?)", shop, id, bun.List(from))
	if !at.IsZero() {
		q = q.Set("at = ?", Micros(at))
	}
	res, err := q.Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return fmt.Errorf("setting a campaign %s: %w", to, err)
	}
	return nil
}

// DueCampaigns returns those that are to be sent now.
func (s *Store) DueCampaigns(ctx context.Context, now time.Time, limit int) (all []Campaign, err error) {
	err = s.rd.NewSelect().Model(&all).Where("state IN (?, ?) AND at <= ?", CampaignSending, CampaignScheduled, Micros(now)).
		Order("at").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for campaigns that are due: %w", err)
	}
	return all, nil
}

// inSegment is the condition that a member m belongs to a segment of a shop.
func inSegment(segment string) string {
	switch segment {
	case SegmentAsked:
		return " AND EXISTS (SELECT 1 FROM inquiries i WHERE i.shop = ?0 AND i.member = m.id)"
	case SegmentBookmarked:
		return " AND EXISTS (SELECT 1 FROM bookmarks b WHERE b.member = m.id AND b.shop = ?0)"
	case SegmentBought:
		return " AND EXISTS (SELECT 1 FROM orders o WHERE o.shop = ?0 AND o.member = m.id" +
			" AND o.state IN ('accepted', 'paid', 'sent', 'done'))"
	}
	return ""
}

// agreed is the condition that a member m may be mailed publicity of the shop ?0 at ?1.
const agreed = "m.state = 'active' AND m.publicity AND NOT EXISTS (SELECT 1 FROM suppressions x" +
	" WHERE x.addr_hash = m.addr_hash AND x.shop IN ('', ?0) AND (x.expires = 0 OR x.expires > ?1))"

// CountSegment says how many members a campaign would go to now.
func (s *Store) CountSegment(ctx context.Context, shop, segment string) (n int, err error) {
	err = s.rd.NewRaw("SELECT COUNT(*) FROM members m WHERE "+agreed+inSegment(segment), shop, Micros(time.Now())).
		Scan(ctx, &n)
	if err != nil {
		return 0, fmt.Errorf("counting a segment: %w", err)
	}
	return n, nil
}

// ChooseMembers gives the next members of a campaign's segment a row each, at most
// limit, in the order of their ids. more: there may be others.
func (s *Store) ChooseMembers(
	ctx context.Context, shop, campaign string, now time.Time, limit int,
) (more bool, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		more = false
		var c Campaign
		q := tx.NewSelect().Model(&c).Where("shop = ? AND id = ?", shop, campaign)
		if err := s.locked(q).Scan(ctx); err != nil {
			return known(err)
		}
		if c.Chosen {
			return nil
		}
		var ids []string
		err := tx.NewRaw("SELECT m.id FROM members m WHERE m.id > ?2 AND "+agreed+inSegment(c.Segment)+
			" ORDER BY m.id LIMIT ?3", shop, Micros(now), c.Reached, limit).Scan(ctx, &ids)
		if err != nil {
			return err
		}
		more = len(ids) == limit
		if len(ids) > 0 {
			c.Reached = ids[len(ids)-1]
			_, err := tx.NewRaw("INSERT INTO campaign_members (shop, campaign, member, state)"+
				" SELECT ?, ?, id, ? FROM members WHERE id IN (?) ON CONFLICT DO NOTHING",
				shop, campaign, MailWaiting, bun.List(ids)).Exec(ctx)
			if err != nil {
				return err
			}
		}
		_, err = tx.NewRaw("UPDATE campaigns SET reached = ?, chosen = ? WHERE shop = ? AND id = ?",
			c.Reached, !more, shop, campaign).Exec(ctx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("choosing a campaign's members: %w", err)
	}
	return more, nil
}

// locked makes PostgreSQL keep other transactions from the rows; SQLite has one writer.
func (s *Store) locked(q *bun.SelectQuery) *bun.SelectQuery {
	if s.db != s.rd {
		return q
	}
	return q.For("UPDATE SKIP LOCKED")
}

// Handing is a member's mail on its way to the queue.
type Handing struct {
	Member string
	Mail   string // Message-ID
	Login  string
	Lang   string
	Sealed string
	Agreed bool
	Tries  int
}

// handings is what a query of Handing selects.
const handings = "SELECT c.member, c.mail, c.tries, m.login, m.lang, m.sealed, (" + agreed + ") AS agreed" +
	" FROM campaign_members c JOIN members m ON m.id = c.member" +
	" WHERE c.shop = ?0 AND c.campaign = ?2 AND c.state = ?3"

// TakeMails fixes the Message-IDs of a campaign's next mails and marks them as
// being handed over, in one transaction with the mark of what was sent (marks.go).
// Members who do not agree any more are left out.
func (s *Store) TakeMails(
	ctx context.Context, shop, campaign string, now time.Time, limit int, mail func(member string) string, mark string,
) (taken []Handing, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		taken = nil
		var next []Handing
		query := handings + " AND c.at <= ?1 ORDER BY c.at, c.member LIMIT ?4"
		if s.db == s.rd {
			query += " FOR UPDATE OF c SKIP LOCKED"
		}
		if err := tx.NewRaw(query, shop, Micros(now), campaign, MailWaiting, limit).Scan(ctx, &next); err != nil {
			return err
		}
		for _, h := range next {
			state, reason := MailHanding, ""
			if h.Mail == "" {
				h.Mail = mail(h.Member)
			}
			if h.Agreed {
				taken = append(taken, h)
			} else {
				state, reason = MailLeftOut, "no longer agreed"
			}
			_, err := tx.NewRaw("UPDATE campaign_members SET state = ?, mail = ?, at = ?, reason = ?"+
				" WHERE shop = ? AND campaign = ? AND member = ?", state, h.Mail, Micros(now), reason, shop, campaign, h.Member).
				Exec(ctx)
			if err != nil {
				return err
			}
		}
		if len(taken) == 0 {
			return nil
		}
		return setMark(ctx, tx, mark)
	})
	if err != nil {
		return nil, fmt.Errorf("taking mails of a campaign: %w", err)
	}
	return taken, nil
}

// HandingMails returns the mails whose handing over was cut off: they may be in
// the queue or not.
func (s *Store) HandingMails(ctx context.Context, shop, campaign string, now time.Time, limit int) (all []Handing, err error) {
	err = s.rd.NewRaw(handings+" ORDER BY c.member LIMIT ?4", shop, Micros(now), campaign, MailHanding, limit).
		Scan(ctx, &all)
	if err != nil {
		return nil, fmt.Errorf("looking for mails whose handing over was cut off: %w", err)
	}
	return all, nil
}

// HandedMail is what became of one mail of a batch.
type HandedMail struct {
	Member string
	State  string // MailQueued, MailRefused or, to be tried again, MailWaiting
	Reason string
	Room   string
	At     time.Time // waiting: not before
}

// SaveHanded stores what became of mails that were being handed over.
func (s *Store) SaveHanded(ctx context.Context, shop, campaign string, all []HandedMail) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, h := range all {
			_, err := tx.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, room = ?, at = ?, tries = tries + 1"+
				" WHERE shop = ? AND campaign = ? AND member = ? AND state = ?",
				h.State, h.Reason, h.Room, Micros(h.At), shop, campaign, h.Member, MailHanding).Exec(ctx)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing what was handed over: %w", err)
	}
	return nil
}

// CampaignFigures count a campaign's mails by state, and what came of them.
type CampaignFigures struct {
	Waiting, Queued, Refused, Bounced, Complained, Unsubscribed, LeftOut int
	Next                                                                 time.Time // the earliest that waits
	Talks                                                                int
	Orders                                                               int
	Revenue                                                              int64
}

// All is how many members there are.
func (f CampaignFigures) All() int {
	return f.Waiting + f.Queued + f.Refused + f.Bounced + f.Complained + f.Unsubscribed + f.LeftOut
}

// Delivered is how many mails went out and came back in no way.
func (f CampaignFigures) Delivered() int { return f.Queued + f.Unsubscribed + f.Complained }

// Failed is how many mails did not arrive or were complained about.
func (f CampaignFigures) Failed() int { return f.Refused + f.Bounced + f.Complained }

// CampaignFigures returns the figures of a campaign.
func (s *Store) CampaignFigures(ctx context.Context, shop, campaign string) (f CampaignFigures, err error) {
	var rows []struct {
		State  string
		N      int
		Talked int
		Next   int64
	}
	err = s.rd.NewRaw("SELECT state, COUNT(*) AS n, SUM(CASE WHEN talked > 0 THEN 1 ELSE 0 END) AS talked, MIN(at) AS next"+
		" FROM campaign_members WHERE shop = ? AND campaign = ? GROUP BY state", shop, campaign).Scan(ctx, &rows)
	if err != nil {
		return f, fmt.Errorf("counting a campaign: %w", err)
	}
	for _, row := range rows {
		f.Talks += row.Talked
		switch row.State {
		case MailWaiting, MailHanding:
			f.Waiting += row.N
			f.Next = Time(row.Next)
		case MailQueued:
			f.Queued = row.N
		case MailRefused:
			f.Refused = row.N
		case MailBounced:
			f.Bounced = row.N
		case MailComplained:
			f.Complained = row.N
		case MailUnsubscribed:
			f.Unsubscribed = row.N
		case MailLeftOut:
			f.LeftOut = row.N
		}
	}
	var orders struct {
		N     int
		Total int64
	}
	// An order counts if it was offered in the talk, or made after it.
	err = s.rd.NewRaw("SELECT COUNT(*) AS n, COALESCE(SUM(o.total), 0) AS total FROM orders o"+
		" JOIN campaign_members c ON c.shop = o.shop AND c.member = o.member"+
		" WHERE c.shop = ? AND c.campaign = ? AND c.talked > 0 AND o.created >= c.talked"+
		" AND o.state IN ('accepted', 'paid', 'sent', 'done')", shop, campaign).Scan(ctx, &orders)
	if err != nil {
		return f, fmt.Errorf("counting a campaign's orders: %w", err)
	}
	f.Orders, f.Revenue = orders.N, orders.Total
	return f, nil
}

// CampaignTalked stores that a member opened the chat of a campaign's mail.
// It does nothing for rooms of other mails.
func (s *Store) CampaignTalked(ctx context.Context, room string, at time.Time) error {
	if room == "" {
		return nil
	}
	_, err := s.db.NewRaw("UPDATE campaign_members SET talked = ? WHERE room = ? AND talked = 0", Micros(at), room).Exec(ctx)
	if err != nil {
		return fmt.Errorf("storing a campaign's talk: %w", err)
	}
	return nil
}

// Returned is what a bounce or a complaint says of one mail.
type Returned struct {
	State   string // MailBounced or MailComplained
	Reason  string
	Expires time.Time // of the suppression; zero: never
}

// MailReturned stores what came back for a campaign's mail, and keeps publicity of
// every shop from the address. It returns whose campaign it is. ErrUnknown: no
// campaign sent that mail.
func (s *Store) MailReturned(ctx context.Context, mail string, r Returned) (shop, campaign string, err error) {
	now := Micros(time.Now())
	err = s.tx(ctx, func(tx bun.Tx) error {
		var row struct{ Shop, Campaign, Member, AddrHash, State string }
		err := tx.NewRaw("SELECT c.shop, c.campaign, c.member, c.state, m.addr_hash FROM campaign_members c"+
			" JOIN members m ON m.id = c.member WHERE c.mail = ? AND c.mail <> ''", mail).Scan(ctx, &row)
		if err != nil {
			return known(err)
		}
		shop, campaign = row.Shop, row.Campaign
		if row.State == MailComplained || row.State == MailWaiting {
			return nil // a bounce after a complaint says less; a mail that was not sent cannot come back
		}
		_, err = tx.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, at = ?"+
			" WHERE shop = ? AND campaign = ? AND member = ?", r.State, r.Reason, now, row.Shop, row.Campaign, row.Member).
			Exec(ctx)
		if err != nil {
			return err
		}
		return suppress(ctx, tx, Suppression{AddrHash: row.AddrHash, Why: r.State, At: now, Expires: Micros(r.Expires)})
	})
	if err != nil {
		return "", "", fmt.Errorf("storing what came back: %w", err)
	}
	return shop, campaign, nil
}

// ShopAndOwner returns a shop and a login in whose name its mails are submitted.
// ErrUnknown.
func (s *Store) ShopAndOwner(ctx context.Context, id string) (shop Shop, owner string, err error) {
	err = s.rd.NewSelect().Model(&shop).Where("id = ?", id).Scan(ctx)
	if err == nil {
		err = s.rd.NewRaw("SELECT login FROM staff WHERE shop = ? ORDER BY CASE role WHEN ? THEN 0 WHEN ? THEN 1 ELSE 2 END,"+
			" created LIMIT 1", id, RoleOwner, RoleManager).Scan(ctx, &owner)
	}
	if err != nil {
		return Shop{}, "", fmt.Errorf("reading a shop and its owner: %w", known(err))
	}
	return shop, owner, nil
}

// StaffLogins returns the logins that work for a shop.
func (s *Store) StaffLogins(ctx context.Context, shop string) (all []string, err error) {
	err = s.rd.NewRaw("SELECT login FROM staff WHERE shop = ? ORDER BY login LIMIT 1000", shop).Scan(ctx, &all)
	if err != nil {
		return nil, fmt.Errorf("reading who works for a shop: %w", err)
	}
	return all, nil
}
