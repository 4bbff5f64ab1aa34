// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// The mark of what was sent names the last batch of mails that was taken. It is in
// the database, with the one before it, and in a file beside the database that no
// backup has: package publicity compares them.
const (
	markSetting     = "publicity.mark"
	lastMarkSetting = "publicity.mark.before"
)

// SentMarks returns the mark of the last batch, and of the one before.
func (s *Store) SentMarks(ctx context.Context) (mark, before string, err error) {
	var rows []struct{ Name, Value string }
	err = s.rd.NewRaw("SELECT name, value FROM settings WHERE name IN (?, ?)", markSetting, lastMarkSetting).Scan(ctx, &rows)
	if err != nil {
		return "", "", fmt.Errorf("reading the mark of what was sent: %w", err)
	}
	for _, row := range rows {
		if row.Name == markSetting {
			mark = row.Value
		} else {
			before = row.Value
		}
	}
	return mark, before, nil
}

func setMark(ctx context.Context, tx bun.Tx, mark string) error {
	for _, query := range []string{
		"INSERT INTO settings (name, value) SELECT ?0, value FROM settings WHERE name = ?1" +
			" ON CONFLICT (name) DO UPDATE SET value = excluded.value",
		"INSERT INTO settings (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
	} {
		if _, err := tx.NewRaw(query, lastMarkSetting, markSetting, mark).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// PauseRestored pauses every campaign that would send, since the database is older
// than what was sent, and sets the mark. It returns how many.
func (s *Store) PauseRestored(ctx context.Context, mark string) (n int, err error) {
	err = s.tx(ctx, func(tx bun.Tx) error {
		res, err := tx.NewRaw("UPDATE campaigns SET state = ?, why = ?, changed = ? WHERE state IN (?, ?)",
			CampaignPaused, WhyRestored, Micros(time.Now()), CampaignScheduled, CampaignSending).Exec(ctx)
		if err != nil {
			return err
		}
		count, err := res.RowsAffected()
		if err != nil {
			return err
		}
		n = int(count)
		return setMark(ctx, tx, mark)
	})
	if err != nil {
		return 0, fmt.Errorf("pausing campaigns after a restore: %w", err)
	}
	return n, nil
}

// LeaveOutWaiting ends a restored campaign for the members whose mail may have
// gone out after the backup.
func (s *Store) LeaveOutWaiting(ctx context.Context, shop, campaign, reason string) error {
	_, err := s.db.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, at = ? WHERE shop = ? AND campaign = ?"+
		" AND state IN (?, ?)", MailLeftOut, reason, Micros(time.Now()), shop, campaign, MailWaiting, MailHanding).Exec(ctx)
	if err != nil {
		return fmt.Errorf("leaving out who waits: %w", err)
	}
	return nil
}

// AnyMailSent says whether a mail of any campaign went out.
func (s *Store) AnyMailSent(ctx context.Context) (sent bool, err error) {
	err = s.rd.NewRaw("SELECT EXISTS (SELECT 1 FROM campaign_members WHERE state NOT IN (?, ?, ?))",
		MailWaiting, MailHanding, MailLeftOut).Scan(ctx, &sent)
	if err != nil {
		return false, fmt.Errorf("looking for mails that were sent: %w", err)
	}
	return sent, nil
}
