// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// maxBlocks is how many people a login blocks at most; further ones are
// refused with ErrFull.
const maxBlocks = 1000

const maxBrowser = 100 // octets of a browser's name

// PutSubscription keeps a browser of a login. An endpoint belongs to one
// login, the last that was signed in there; of more than most of a login, the
// one put the longest ago goes.
func (s *Store) PutSubscription(ctx context.Context, login string, sub chat.Subscription, most int) error {
	err := s.tx(ctx, func(tx querier) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO subscriptions AS s"+
			" (endpoint, login, p256dh, auth, put, name, lang, added) VALUES ($1, $2, $3, $4, $5, $6, $7, $5)"+
			" ON CONFLICT (endpoint) DO UPDATE SET p256dh = excluded.p256dh, auth = excluded.auth,"+
			" put = excluded.put, name = excluded.name, lang = excluded.lang,"+
			" added = CASE WHEN s.login = excluded.login THEN s.added ELSE excluded.added END,"+
			" shown = CASE WHEN s.login = excluded.login THEN s.shown ELSE 0 END, login = excluded.login",
			sub.Endpoint, fold(login), sub.P256dh, sub.Auth, micros(time.Now()),
			chat.Storable(sub.Name, maxBrowser), sub.Lang)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM subscriptions WHERE login = $1 AND endpoint NOT IN"+
			" (SELECT endpoint FROM subscriptions WHERE login = $1 ORDER BY put DESC, endpoint LIMIT $2)",
			fold(login), most)
		return err
	})
	if err != nil {
		return fmt.Errorf("keeping a push subscription: %w", err)
	}
	return nil
}

// Subscriptions returns a login's browsers, the one put the longest ago first.
func (s *Store) Subscriptions(ctx context.Context, login string) ([]chat.Subscription, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (sub chat.Subscription, err error) {
		var added, shown int64
		err = rows.Scan(&sub.Endpoint, &sub.P256dh, &sub.Auth, &sub.Name, &sub.Lang, &added, &shown)
		sub.Added, sub.Shown = moment(added), moment(shown)
		return sub, err
	}, "SELECT endpoint, p256dh, auth, name, lang, added, shown FROM subscriptions"+
		" WHERE login = $1 ORDER BY put, endpoint LIMIT $2",
		fold(login), maxPage)
	if err != nil {
		return nil, fmt.Errorf("reading push subscriptions: %w", err)
	}
	return list, nil
}

// NoteShown notes that a browser of a login has shown a notification now. A missing
// subscription is no error.
func (s *Store) NoteShown(ctx context.Context, login, endpoint string) error {
	_, err := s.write.ExecContext(ctx, "UPDATE subscriptions SET shown = $1 WHERE endpoint = $2 AND login = $3",
		micros(time.Now()), endpoint, fold(login))
	if err != nil {
		return fmt.Errorf("noting a notification: %w", err)
	}
	return nil
}

// DropSubscription forgets the push subscription of a browser if it belongs to the
// login; an empty login stands for any. A missing subscription is no error.
func (s *Store) DropSubscription(ctx context.Context, login, endpoint string) error {
	_, err := s.write.ExecContext(ctx, "DELETE FROM subscriptions WHERE endpoint = $1 AND (login = $2 OR $2 = '')",
		endpoint, fold(login))
	if err != nil {
		return fmt.Errorf("forgetting a push subscription: %w", err)
	}
	return nil
}

// Block makes a login block a participant of a room. A person with an address is
// blocked in every room, a guest only as this participant. ErrUnknown: one of them
// is not in the room, or the participant is the login itself. ErrFull: the login
// blocks too many people.
func (s *Store) Block(ctx context.Context, login, roomID string, participant int64) error {
	err := s.tx(ctx, func(tx querier) error {
		me, err := member(ctx, tx, login, roomID)
		if err != nil {
			return err
		}
		var p chat.Participant
		err = tx.QueryRowContext(ctx, "SELECT "+participantColumns+" FROM participants p"+
			" WHERE p.id = $1 AND p.room = $2", participant, roomID).Scan(participantFields(&p)...)
		if err != nil {
			return known(err)
		}
		if p.ID == me.ID || p.Addr != "" && p.Addr == me.Addr && !p.Guest {
			return chat.ErrUnknown
		}
		who := p.Names()[0]
		if p.Addr != "" && !p.Guest {
			who = p.Addr
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM blocks WHERE login = $1",
			fold(login)).Scan(&n); err != nil {
			return err
		}
		if n >= maxBlocks {
			return fmt.Errorf("%w: %d people are blocked", chat.ErrFull, n)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO blocks (login, who, name, at)"+
			" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
			fold(login), who, p.Name, micros(time.Now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("blocking: %w", err)
	}
	return nil
}

// UnblockParticipant is Unblock by a participant of a room.
func (s *Store) UnblockParticipant(ctx context.Context, login, roomID string, participant int64) error {
	info, err := s.Info(ctx, roomID)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(info.Participants, func(p chat.Participant) bool { return p.ID == participant })
	if i < 0 {
		return fmt.Errorf("unblocking: %w", chat.ErrUnknown)
	}
	for _, name := range info.Participants[i].Names() {
		if err := s.Unblock(ctx, login, name); err != nil {
			return err
		}
	}
	return nil
}

// Unblock ends the block of the name who, as Blocks returns it. A missing block is no error.
func (s *Store) Unblock(ctx context.Context, login, who string) error {
	if _, err := s.write.ExecContext(ctx, "DELETE FROM blocks WHERE login = $1 AND who = $2",
		fold(login), fold(who)); err != nil {
		return fmt.Errorf("unblocking: %w", err)
	}
	return nil
}

// Blocks returns whom a login has blocked, the newest first.
func (s *Store) Blocks(ctx context.Context, login string) ([]chat.Block, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (b chat.Block, err error) {
		var at int64
		err = rows.Scan(&b.Who, &b.Name, &at)
		b.At = moment(at)
		return b, err
	}, "SELECT who, name, at FROM blocks WHERE login = $1 ORDER BY at DESC, who LIMIT $2", fold(login), maxBlocks)
	if err != nil {
		return nil, fmt.Errorf("reading blocks: %w", err)
	}
	return list, nil
}

// BlockedBy returns those of logins that have blocked a participant.
func (s *Store) BlockedBy(ctx context.Context, p chat.Participant, logins ...string) ([]string, error) {
	var args params
	if len(logins) == 0 {
		return nil, nil
	}
	found, err := collect(ctx, s.read, func(rows *sql.Rows) (login string, err error) {
		err = rows.Scan(&login)
		return login, err
	}, "SELECT DISTINCT login FROM blocks WHERE login IN "+among(&args, folded(logins))+
		" AND who IN "+among(&args, folded(p.Names())), args...)
	if err != nil {
		return nil, fmt.Errorf("reading blocks: %w", err)
	}
	return found, nil
}

// Mute makes the rings of a room silent for a login, or sound again.
// ErrUnknown: the login is not in that room.
func (s *Store) Mute(ctx context.Context, login, roomID string, on bool) error {
	done, err := s.write.ExecContext(ctx, "UPDATE participants SET muted = $1"+
		" WHERE login = $2 AND login <> '' AND room = $3 AND NOT guest",
		on, fold(login), roomID)
	if err == nil {
		var n int64
		if n, err = done.RowsAffected(); err == nil && n == 0 {
			err = chat.ErrUnknown
		}
	}
	if err != nil {
		return fmt.Errorf("muting a room: %w", err)
	}
	return nil
}

// Muted says whether a login has muted a room.
func (s *Store) Muted(ctx context.Context, login, roomID string) (muted bool, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT muted FROM participants"+
		" WHERE login = $1 AND login <> '' AND room = $2 AND NOT guest",
		fold(login), roomID).Scan(&muted)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading whether a room is muted: %w", err)
	}
	return muted, nil
}
