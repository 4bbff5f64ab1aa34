// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// What a member consents to.
const (
	ConsentRecord    = "record"    // their use of the mall is recorded
	ConsentPublicity = "publicity" // hosts mail them about goods
)

// Consent is the proof that a member gave or took back a consent.
type Consent struct {
	bun.BaseModel `bun:"table:consents"`

	ID      string `bun:",pk" json:"-"`
	Member  string `json:"-"`
	Shop    string `json:"shop,omitempty"`
	What    string `json:"what"`
	Given   bool   `json:"given"`
	At      int64  `json:"at"`
	Addr    string `json:"address"`
	Wording string `json:"wording"`
}

// SetConsent stores what a member agreed to or took back, with its proof. Consent
// of the mall as a whole (no shop) also changes what is true of the member.
func (s *Store) SetConsent(ctx context.Context, c Consent) error {
	c.ID, c.At = NewID(), Micros(time.Now())
	err := s.tx(ctx, func(tx bun.Tx) error {
		if c.Shop == "" {
			res, err := tx.NewUpdate().Table("members").Set("? = ?", bun.Ident(c.What), c.Given).
				Where("id = ? AND state = 'active'", c.Member).Exec(ctx)
			if err := changed(res, err, ErrUnknown); err != nil {
				return err
			}
		}
		if c.What == ConsentRecord && !c.Given {
			if _, err := tx.NewRaw("DELETE FROM uses WHERE member = ?", c.Member).Exec(ctx); err != nil {
				return err
			}
		}
		if c.What == ConsentPublicity && c.Given {
			// Who agrees again wants it again; what bounced or was complained about stays.
			_, err := tx.NewRaw("DELETE FROM suppressions WHERE why = ? AND shop = ?"+
				" AND addr_hash = (SELECT addr_hash FROM members WHERE id = ?)", WhyUnsubscribed, c.Shop,
				c.Member).Exec(ctx)
			if err != nil {
				return err
			}
		}
		_, err := tx.NewInsert().Model(&c).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("storing a consent: %w", err)
	}
	return nil
}

// Consents returns the proofs of a member, the newest first.
func (s *Store) Consents(ctx context.Context, member string) (all []Consent, err error) {
	err = s.rd.NewSelect().Model(&all).Where("member = ?", member).Order("id DESC").Limit(500).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading consents: %w", err)
	}
	return all, nil
}

// WhyUnsubscribed is why a suppression is there besides MailBounced and MailComplained.
const WhyUnsubscribed = "unsubscribed"

// Suppression keeps publicity of a shop, or of every one, from an address.
type Suppression struct {
	bun.BaseModel `bun:"table:suppressions"`

	AddrHash string `bun:",pk"`
	Shop     string `bun:",pk"`
	Why      string
	At       int64
	Expires  int64
}

// suppress stores a suppression; one that never expires is not replaced by one that does.
func suppress(ctx context.Context, tx bun.IDB, x Suppression) error {
	_, err := tx.NewRaw("INSERT INTO suppressions (addr_hash, shop, why, at, expires) VALUES (?, ?, ?, ?, ?)"+
		" ON CONFLICT (addr_hash, shop) DO UPDATE SET why = excluded.why, at = excluded.at, expires = excluded.expires"+
		" WHERE suppressions.expires <> 0 AND (excluded.expires = 0 OR excluded.expires > suppressions.expires)",
		x.AddrHash, x.Shop, x.Why, x.At, x.Expires).Exec(ctx)
	return err
}

// Unsubscribe keeps publicity of a shop from a member, or of every shop (shop
// empty), with its proof. campaign is the one whose mail they had, or empty.
// Doing it again is harmless.
func (s *Store) Unsubscribe(ctx context.Context, shop, campaign string, c Consent) error {
	c.What, c.Given, c.ID, c.At = ConsentPublicity, false, NewID(), Micros(time.Now())
	err := s.tx(ctx, func(tx bun.Tx) error {
		var hash string
		err := tx.NewRaw("SELECT addr_hash FROM members WHERE id = ? AND state = 'active'", c.Member).Scan(ctx, &hash)
		if err != nil {
			return known(err)
		}
		if c.Shop == "" {
			if _, err := tx.NewRaw("UPDATE members SET publicity = FALSE WHERE id = ?",
				c.Member).Exec(ctx); err != nil {
				return err
			}
		}
		var before int
		err = tx.NewRaw("SELECT COUNT(*) FROM suppressions WHERE addr_hash = ? AND shop = ? AND expires = 0", hash,
			c.Shop).
			Scan(ctx, &before)
		if err != nil || before > 0 {
			return err
		}
		if err := suppress(ctx, tx, Suppression{AddrHash: hash, Shop: c.Shop, Why: WhyUnsubscribed,
			At: c.At}); err != nil {
			return err
		}
		if campaign != "" {
			_, err := tx.NewRaw("UPDATE campaign_members SET state = ?, at = ? WHERE shop = ? AND campaign = ?"+
				" AND member = ? AND state = ?", MailUnsubscribed, c.At, shop, campaign, c.Member, MailQueued).Exec(ctx)
			if err != nil {
				return err
			}
		}
		_, err = tx.NewInsert().Model(&c).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("unsubscribing: %w", err)
	}
	return nil
}

// ForgetSuppressions removes those that expired.
func (s *Store) ForgetSuppressions(ctx context.Context, now time.Time) error {
	_, err := s.db.NewRaw("DELETE FROM suppressions WHERE expires > 0 AND expires <= ?", Micros(now)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("removing suppressions that expired: %w", err)
	}
	return nil
}
