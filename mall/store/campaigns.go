// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
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

	Host      string // that sends it
	HostUntil int64  // until then no other host does
	Tried     int64  // mails that were taken or refused
	Failed    int64  // of them, refused, returned or complained about
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
				" SELECT shop, ?, id, ? FROM goods WHERE shop = ? AND id = ? AND state = ? ON CONFLICT DO NOTHING",
				c.ID, place, c.Shop, id, GoodsShown).Exec(ctx); err != nil {
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

// shownGoods is what a query of CampaignGoods selects from goods g.
const shownGoods = "SELECT g.id, g.sku, g.title, g.price, COALESCE((SELECT p.hash FROM pictures p" +
	" WHERE p.shop = g.shop AND p.goods = g.id ORDER BY p.place LIMIT 1), '') AS picture FROM goods g "

// CampaignGoods returns the goods of a campaign that are on show, in their order.
func (s *Store) CampaignGoods(ctx context.Context, shop, campaign string) (all []CampaignGoods, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewRaw(shownGoods+"JOIN campaign_goods c ON c.shop = g.shop AND c.goods = g.id"+
			" WHERE c.shop = ? AND c.campaign = ? AND g.state = ? ORDER BY c.place", shop, campaign,
			GoodsShown).Scan(ctx, &all)
	})
	if err != nil {
		return nil, fmt.Errorf("reading a campaign's goods: %w", err)
	}
	return all, nil
}

// GoodsNamed returns those of a shop's goods on show that have one of the IDs.
func (s *Store) GoodsNamed(ctx context.Context, shop string, ids []string) (all []CampaignGoods, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewRaw(shownGoods+"WHERE g.shop = ? AND g.id IN (?) AND g.state = ?", shop, bun.List(ids),
			GoodsShown).
			Scan(ctx, &all)
	})
	if err != nil {
		return nil, fmt.Errorf("reading goods: %w", err)
	}
	return all, nil
}

// SetCampaign brings a campaign from one of some states into another. at is when
// it begins, where it is scheduled. ErrState: it is in none of them.
func (s *Store) SetCampaign(ctx context.Context, shop, id string, from []string, to, why string, at time.Time) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		q := tx.NewUpdate().Table("campaigns").Set("state = ?, why = ?, changed = ?", to, why, Micros(time.Now())).
			Where("shop = ? AND id = ? AND state IN (?)", shop, id, bun.List(from))
		if !at.IsZero() {
			q = q.Set("at = ?", Micros(at))
		}
		res, err := q.Exec(ctx)
		return changed(res, err, ErrState)
	})
	if err != nil {
		return fmt.Errorf("setting a campaign %s: %w", to, err)
	}
	return nil
}

// DueCampaigns returns those that a host is to send now.
func (s *Store) DueCampaigns(ctx context.Context, host string, now time.Time, limit int) (all []Campaign, err error) {
	err = s.rd.NewSelect().Model(&all).Where("state IN (?, ?) AND at <= ?", CampaignSending, CampaignScheduled,
		Micros(now)).
		Where("(host = ? OR host_until <= ?)", host, Micros(now)).Order("at").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for campaigns that are due: %w", err)
	}
	return all, nil
}

// LeaseCampaign makes a host the one that sends a campaign, until some time. ErrState:
// another host does, or the campaign is not to be sent any more.
func (s *Store) LeaseCampaign(ctx context.Context, shop, id, host string, now, until time.Time) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewRaw("UPDATE campaigns SET host = ?, host_until = ?, state = ? WHERE shop = ? AND id = ?"+
			" AND (host = ? OR host_until <= ?) AND state IN (?, ?)", host, Micros(until), CampaignSending, shop, id,
			host, Micros(now), CampaignSending, CampaignScheduled).Exec(ctx)
		return changed(res, err, ErrState)
	})
	if err != nil {
		return fmt.Errorf("taking a campaign over: %w", err)
	}
	return nil
}

// FinishCampaign ends a campaign that no mail of waits.
func (s *Store) FinishCampaign(ctx context.Context, shop, id string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		_, err := tx.NewRaw("UPDATE campaigns SET state = ?, changed = ? WHERE shop = ? AND id = ? AND state = ?"+
			" AND NOT EXISTS (SELECT 1 FROM campaign_members m WHERE m.shop = campaigns.shop AND m.campaign = campaigns.id"+
			" AND m.state IN (?, ?))", CampaignDone, Micros(time.Now()), shop, id, CampaignSending, MailWaiting,
			MailHanding).
			Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("ending a campaign: %w", err)
	}
	return nil
}

// StopFailing stops a campaign if of at least enough mails percent of a hundred failed.
func (s *Store) StopFailing(ctx context.Context, shop, id string, enough, percent int) (stopped bool, err error) {
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewRaw("UPDATE campaigns SET state = ?, why = ?, changed = ? WHERE shop = ? AND id = ?"+
			" AND state IN (?, ?) AND tried >= ? AND failed * 100 >= tried * ?", CampaignStopped, WhyFailures,
			Micros(time.Now()), shop, id, CampaignScheduled, CampaignSending, enough, percent).Exec(ctx)
		return changed(res, err, ErrState)
	})
	switch {
	case errors.Is(err, ErrState):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("stopping a campaign: %w", err)
	}
	return true, nil
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
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewRaw("SELECT COUNT(*) FROM members m WHERE "+agreed+inSegment(segment), shop, Micros(time.Now())).
			Scan(ctx, &n)
	})
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
				" WHERE shop = ? AND campaign = ? AND member = ?", state, h.Mail, Micros(now), reason, shop, campaign,
				h.Member).
				Exec(ctx)
			if err != nil {
				return err
			}
		}
		if len(taken) == 0 {
			return nil
		}
		return addMark(ctx, tx, mark)
	})
	if err != nil {
		return nil, fmt.Errorf("taking mails of a campaign: %w", err)
	}
	return taken, nil
}

// HandingMails returns the mails whose handing over was cut off: they may be in
// the queue or not.
func (s *Store) HandingMails(ctx context.Context, shop, campaign string, now time.Time, limit int) (all []Handing, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewRaw(handings+" ORDER BY c.member LIMIT ?4", shop, Micros(now), campaign, MailHanding, limit).
			Scan(ctx, &all)
	})
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
	// Stop says that the refusal keeps further publicity from the address, until Until,
	// or for ever.
	Stop  bool
	Until time.Time
}

// SaveHanded stores what became of mails that were being handed over, and counts them.
func (s *Store) SaveHanded(ctx context.Context, shop, campaign string, all []HandedMail) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		tried, failed := 0, 0
		var stopped []HandedMail
		for _, h := range all {
			res, err := tx.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, room = ?, at = ?, tries = tries + 1"+
				" WHERE shop = ? AND campaign = ? AND member = ? AND state = ?",
				h.State, h.Reason, h.Room, Micros(h.At), shop, campaign, h.Member, MailHanding).Exec(ctx)
			switch err := changed(res, err, ErrState); {
			case errors.Is(err, ErrState): // it was stored before
				continue
			case err != nil:
				return err
			}
			switch h.State {
			case MailRefused:
				tried, failed = tried+1, failed+1
			case MailQueued:
				tried++
			}
			if h.Stop {
				stopped = append(stopped, h)
			}
		}
		if err := count(ctx, tx, shop, campaign, tried, failed); err != nil || len(stopped) == 0 {
			return err
		}
		if err := s.setShop(ctx, tx, ""); err != nil { // these rows are the whole mall's
			return err
		}
		for _, h := range stopped {
			var hash string
			err := tx.NewRaw("SELECT addr_hash FROM members WHERE id = ?", h.Member).Scan(ctx, &hash)
			if err == nil {
				err = suppress(ctx, tx, Suppression{AddrHash: hash, Why: MailBounced, At: Micros(h.At),
					Expires: Micros(h.Until)})
			}
			if err != nil {
				return known(err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing what was handed over: %w", err)
	}
	return nil
}

// count adds to how many mails of a campaign were tried, and failed.
func count(ctx context.Context, tx bun.Tx, shop, campaign string, tried, failed int) error {
	if tried == 0 && failed == 0 {
		return nil
	}
	_, err := tx.NewRaw("UPDATE campaigns SET tried = tried + ?, failed = failed + ? WHERE shop = ? AND id = ?",
		tried, failed, shop, campaign).Exec(ctx)
	return err
}

// CampaignFigures count a campaign's mails by state, and what came of them.
type CampaignFigures struct {
	Waiting, Queued, Refused, Bounced, Complained, Unsubscribed, LeftOut int

	Talks    int // members who came to talk by the link of their mail
	Answered int // of them, to whom the shop said something
	Orders   int // out of these talks
	Revenue  int64
}

// All is how many members there are.
func (f CampaignFigures) All() int {
	return f.Waiting + f.Queued + f.Refused + f.Bounced + f.Complained + f.Unsubscribed + f.LeftOut
}

// Delivered is how many mails went out and did not come back.
func (f CampaignFigures) Delivered() int { return f.Queued + f.Unsubscribed + f.Complained }

// CampaignFigures returns the figures of a campaign.
func (s *Store) CampaignFigures(ctx context.Context, shop, campaign string) (f CampaignFigures, err error) {
	var rows []struct {
		State string
		N     int
	}
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		rows = nil
		err := db.NewRaw("SELECT state, COUNT(*) AS n FROM campaign_members WHERE shop = ? AND campaign = ? GROUP BY state",
			shop, campaign).Scan(ctx, &rows)
		if err != nil {
			return err
		}
		err = db.NewRaw("SELECT COUNT(*), COALESCE(SUM(CASE WHEN answered > 0 THEN 1 ELSE 0 END), 0) FROM inquiries"+
			" WHERE shop = ? AND campaign = ?", shop, campaign).Scan(ctx, &f.Talks, &f.Answered)
		if err != nil {
			return err
		}
		return db.NewRaw("SELECT COUNT(*), COALESCE(SUM(o.total), 0) FROM inquiries i"+
			" JOIN orders o ON o.shop = i.shop AND o.inquiry = i.id WHERE i.shop = ? AND i.campaign = ?"+
			" AND o.state IN ('accepted', 'paid', 'sent', 'done')", shop, campaign).Scan(ctx, &f.Orders, &f.Revenue)
	})
	if err != nil {
		return CampaignFigures{}, fmt.Errorf("counting a campaign: %w", err)
	}
	for _, row := range rows {
		switch row.State {
		case MailWaiting, MailHanding:
			f.Waiting += row.N
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
	return f, nil
}

// CampaignTalk returns the inquiry that the talk in the room of a campaign's mail is,
// and stores it when it begins. ErrUnknown: the room is that of no campaign's mail.
func (s *Store) CampaignTalk(ctx context.Context, room string) (i Inquiry, err error) {
	err = s.tx(ctx, func(tx bun.Tx) error {
		i = Inquiry{}
		err := tx.NewSelect().Model(&i).Where("room = ? AND room <> '' AND campaign <> ''", room).Limit(1).Scan(ctx)
		if !errors.Is(known(err), ErrUnknown) {
			return err
		}
		err = tx.NewRaw("SELECT m.shop, m.campaign, m.member, m.mail, m.room, c.subject FROM campaign_members m"+
			" JOIN campaigns c ON c.shop = m.shop AND c.id = m.campaign WHERE m.room = ? AND m.room <> '' LIMIT 1",
			room).
			Scan(ctx, &i)
		if err != nil {
			return known(err)
		}
		if err := s.setShop(ctx, tx, i.Shop); err != nil {
			return err
		}
		i.ID, i.Created = NewID(), Micros(time.Now())
		_, err = tx.NewInsert().Model(&i).Exec(ctx)
		return err
	})
	if err != nil {
		return Inquiry{}, fmt.Errorf("storing a campaign's talk: %w", err)
	}
	return i, nil
}

// Returned is what a bounce or a complaint says of one mail.
type Returned struct {
	State   string // MailBounced or MailComplained
	Reason  string
	Expires time.Time // of the suppression; zero: never
	OneShop bool      // only this shop's publicity stops
}

// MailReturned stores what came back for a campaign's mail, and keeps publicity of
// every shop from the address, or OneShop. It returns whose campaign it is. ErrUnknown: no
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
		if err := s.setShop(ctx, tx, row.Shop); err != nil {
			return err
		}
		_, err = tx.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, at = ?"+
			" WHERE shop = ? AND campaign = ? AND member = ?", r.State, r.Reason, now, row.Shop, row.Campaign,
			row.Member).
			Exec(ctx)
		if err != nil {
			return err
		}
		tried, failed := 0, 0
		switch row.State {
		case MailQueued, MailUnsubscribed:
			failed = 1
		case MailHanding: // SaveHanded will not find it
			tried, failed = 1, 1
		}
		if err := count(ctx, tx, row.Shop, row.Campaign, tried, failed); err != nil {
			return err
		}
		x := Suppression{AddrHash: row.AddrHash, Why: r.State, At: now, Expires: Micros(r.Expires)}
		if r.OneShop {
			x.Shop = row.Shop
		} else if err := s.setShop(ctx, tx, ""); err != nil { // it is the whole mall's
			return err
		}
		return suppress(ctx, tx, x)
	})
	if err != nil {
		return "", "", fmt.Errorf("storing what came back: %w", err)
	}
	return shop, campaign, nil
}

// ShopAndOwner returns a shop and a login in whose name its mails are submitted.
// ErrUnknown.
func (s *Store) ShopAndOwner(ctx context.Context, id string) (shop Shop, owner string, err error) {
	err = s.readOfShop(ctx, id, func(db bun.IDB) error {
		if err := db.NewSelect().Model(&shop).Where("id = ?", id).Scan(ctx); err != nil {
			return err
		}
		return db.NewRaw("SELECT login FROM staff WHERE shop = ? ORDER BY CASE role WHEN ? THEN 0 WHEN ? THEN 1 ELSE 2 END,"+
			" created LIMIT 1", id, RoleOwner, RoleManager).Scan(ctx, &owner)
	})
	if err != nil {
		return Shop{}, "", fmt.Errorf("reading a shop and its owner: %w", known(err))
	}
	return shop, owner, nil
}

// StaffLogins returns the logins that work for a shop.
func (s *Store) StaffLogins(ctx context.Context, shop string) (all []string, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewRaw("SELECT login FROM staff WHERE shop = ? ORDER BY login LIMIT 1000", shop).Scan(ctx, &all)
	})
	if err != nil {
		return nil, fmt.Errorf("reading who works for a shop: %w", err)
	}
	return all, nil
}
