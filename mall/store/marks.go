// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/uptrace/bun"
)

// Each batch of mails that is taken has a mark, an ID of NewID, in the same
// transaction. Whoever knows a mark that the database does not have knows more than
// the database: it was restored. Package publicity compares them.

// marksKept is for how long a mark is known.
const marksKept = 90 * 24 * time.Hour

// SentMarks returns the newest mark, and whether the database has another one.
func (s *Store) SentMarks(ctx context.Context, mark string) (newest string, has bool, err error) {
	err = s.rd.NewRaw("SELECT COALESCE((SELECT MAX(mark) FROM sent_marks), ''),"+
		" EXISTS (SELECT 1 FROM sent_marks WHERE mark = ?)", mark).Scan(ctx, &newest, &has)
	if err != nil {
		return "", false, fmt.Errorf("reading the marks of what was sent: %w", err)
	}
	return newest, has, nil
}

func addMark(ctx context.Context, tx bun.Tx, mark string) error {
	_, err := tx.NewRaw("INSERT INTO sent_marks (mark) VALUES (?)", mark).Exec(ctx)
	return err
}

// ForgetMarks removes marks that are too old. The newest stays: a host that has sent nothing
// since compares itself with it.
func (s *Store) ForgetMarks(ctx context.Context, now time.Time) error {
	var oldest ulid.ULID
	err := oldest.SetTime(ulid.Timestamp(now.Add(-marksKept)))
	if err == nil {
		_, err = s.db.NewRaw("DELETE FROM sent_marks WHERE mark < ?"+
			" AND mark < (SELECT MAX(mark) FROM sent_marks)", oldest.String()).Exec(ctx)
	}
	if err != nil {
		return fmt.Errorf("removing old marks of what was sent: %w", err)
	}
	return nil
}

// PauseRestored pauses every campaign that would send, since the database may be older
// than what was sent, and adds a mark. It returns how many.
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
		return addMark(ctx, tx, mark)
	})
	if err != nil {
		return 0, fmt.Errorf("pausing campaigns after a restore: %w", err)
	}
	return n, nil
}

// LeaveOutWaiting ends a campaign for the members whose mail waits.
func (s *Store) LeaveOutWaiting(ctx context.Context, shop, campaign, reason string) error {
	_, err := s.db.NewRaw("UPDATE campaign_members SET state = ?, reason = ?, at = ? WHERE shop = ? AND campaign = ?"+
		" AND state IN (?, ?)", MailLeftOut, reason, Micros(time.Now()), shop, campaign, MailWaiting,
		MailHanding).Exec(ctx)
	if err != nil {
		return fmt.Errorf("leaving out who waits: %w", err)
	}
	return nil
}
