// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
)

// ErrWorks: the member still works for a shop.
var ErrWorks = errors.New("they work for a shop")

// erasedText is the login and the hash of whom nothing is known any more.
func erasedText(member string) string { return "erased:" + member }

// Erase takes a member out of the mall: what they typed and what is known about them is
// gone, and their orders stay as sums and goods that were sold to nobody. The login stays
// until EraseDone, so that its account can be taken away meanwhile and nobody else gets it.
// ErrUnknown: there is no such member. ErrWorks.
func (s *Store) Erase(ctx context.Context, member string) (login string, made bool, err error) {
	err = s.tx(ctx, func(tx bun.Tx) error {
		var m Member
		q := tx.NewSelect().Model(&m).Where("id = ? AND state = ?", member, MemberActive)
		if err := s.forUpdate(q).Scan(ctx); err != nil {
			return known(err)
		}
		login, made = m.Login, m.Made
		var works bool
		err := tx.NewRaw("SELECT EXISTS (SELECT 1 FROM staff WHERE login = ?)", login).Scan(ctx, &works)
		if err != nil {
			return err
		}
		if works {
			return ErrWorks
		}
		for _, query := range []string{
			"DELETE FROM sessions WHERE login = ?1",
			"DELETE FROM passkeys WHERE member = ?0",
			"DELETE FROM consents WHERE member = ?0",
			"DELETE FROM uses WHERE member = ?0",
			"DELETE FROM bookmarks WHERE member = ?0",
			"DELETE FROM basket WHERE member = ?0",
			"DELETE FROM shop_notes WHERE member = ?0",
			"UPDATE shop_notes SET login = ?2 WHERE login = ?1",
			"UPDATE inquiries SET room = '', mail = '', subject = '', question = '', answer = '', public = FALSE WHERE member = ?0",
			"UPDATE order_events SET note = '' WHERE EXISTS (SELECT 1 FROM orders o WHERE o.shop = order_events.shop" +
				" AND o.id = order_events.ordered AND o.member = ?0)",
			"UPDATE order_events SET actor = ?2 WHERE actor = ?1",
			"UPDATE orders SET deliver = '' WHERE member = ?0",
			"UPDATE campaign_members SET state = 'left-out' WHERE member = ?0 AND state IN ('waiting', 'handing')",
			"UPDATE campaign_members SET mail = '', reason = '', room = '' WHERE member = ?0",
			"UPDATE audit SET actor = ?2 WHERE actor = ?1",
			"UPDATE members SET state = ?3, sealed = '', addr_hash = ?2, record = FALSE, publicity = FALSE WHERE id = ?0",
		} {
			if _, err := tx.NewRaw(query, member, login, erasedText(member), MemberLeaving).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", false, fmt.Errorf("erasing a member: %w", err)
	}
	return login, made, nil
}

// EraseDone forgets the login of an erased member, and clears the log of SQLite, in
// which what was erased still stands.
func (s *Store) EraseDone(ctx context.Context, member string) error {
	res, err := s.db.NewUpdate().Table("members").Set("login = ?, state = ?", erasedText(member), MemberErased).
		Where("id = ? AND state = ?", member, MemberLeaving).Exec(ctx)
	if err := changed(res, err, ErrUnknown); err != nil {
		return fmt.Errorf("erasing a member: %w", err)
	}
	return s.ClearLog(ctx)
}

// ClearLog empties the write-ahead log of SQLite. Pages that were read long ago may keep
// it from that: then ErrState, and it is to be done again.
func (s *Store) ClearLog(ctx context.Context) error {
	if s.postgres() {
		return nil
	}
	var busy, pages, moved int
	err := s.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err == nil && busy != 0 {
		err = ErrState
	}
	if err != nil {
		return fmt.Errorf("clearing the log of the mall's database: %w", err)
	}
	return nil
}

// Leaving are members who are erased, but for their login and perhaps their account.
func (s *Store) Leaving(ctx context.Context, limit int) (list []Member, err error) {
	err = s.rd.NewSelect().Model(&list).Where("state = ?", MemberLeaving).Order("id").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing members who leave: %w", err)
	}
	return list, nil
}

// Received is a mail of a campaign to a member.
type Received struct {
	Shop    string
	Subject string
	State   string
	At      int64
}

// Known is all that the store has about a member, beside what is sealed.
type Known struct {
	Consents  []Consent
	Passkeys  []Passkey
	Sessions  []Session
	Inquiries []Inquiry
	Orders    []Order
	Lines     []OrderLine
	Steps     []OrderEvent
	Basket    []BasketLine
	Bookmarks []Bookmark
	Uses      []Use
	Notes     []Note
	Looks     []Audit // of others at the member
	Campaigns []Received
}

// KnownOf reads all that the store has about a member, for their export.
func (s *Store) KnownOf(ctx context.Context, m Member) (k Known, err error) {
	ofOrders := "EXISTS (SELECT 1 FROM orders o WHERE o.shop = ?TableAlias.shop AND o.id = ?TableAlias.ordered AND o.member = ?)"
	for _, q := range []*bun.SelectQuery{
		s.rd.NewSelect().Model(&k.Consents).Where("member = ?", m.ID).Order("id"),
		s.rd.NewSelect().Model(&k.Passkeys).Where("member = ?", m.ID).Order("created"),
		s.rd.NewSelect().Model(&k.Sessions).Where("login = ?", m.Login).Order("created"),
		s.rd.NewSelect().Model(&k.Inquiries).Where("member = ?", m.ID).Order("id"),
		s.rd.NewSelect().Model(&k.Orders).Where("member = ?", m.ID).Order("id"),
		s.rd.NewSelect().Model(&k.Lines).Where(ofOrders, m.ID).Order("ordered", "place"),
		s.rd.NewSelect().Model(&k.Steps).Where(ofOrders, m.ID).Order("ordered", "n"),
		s.rd.NewSelect().Model(&k.Basket).Where("member = ?", m.ID).Order("created"),
		s.rd.NewSelect().Model(&k.Bookmarks).Where("member = ?", m.ID).Order("created"),
		s.rd.NewSelect().Model(&k.Uses).Where("member = ?", m.ID).Order("at"),
		s.rd.NewSelect().Model(&k.Notes).Where("member = ?", m.ID).Order("id"),
		s.rd.NewSelect().Model(&k.Looks).Where("about = ?", m.ID).Order("id"),
	} {
		if err := q.Scan(ctx); err != nil {
			return k, fmt.Errorf("reading what is known about a member: %w", err)
		}
	}
	err = s.rd.NewRaw("SELECT s.name AS shop, c.subject, r.state, r.at FROM campaign_members r"+
		" JOIN campaigns c ON c.shop = r.shop AND c.id = r.campaign JOIN shops s ON s.id = r.shop"+
		" WHERE r.member = ? AND r.state NOT IN (?, ?) ORDER BY c.id", m.ID, MailWaiting, MailLeftOut).Scan(ctx,
		&k.Campaigns)
	if err != nil {
		return k, fmt.Errorf("reading what is known about a member: %w", err)
	}
	return k, nil
}
