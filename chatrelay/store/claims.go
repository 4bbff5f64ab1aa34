// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

// checkClaim refuses what is not 128 bits in base64url: a claim is a
// browser's key to the room.
func checkClaim(claim string) error {
	if b, err := base64.RawURLEncoding.DecodeString(claim); err != nil || len(b) != 16 {
		return fmt.Errorf("%w: a claim is 16 bytes in base64url", chat.ErrUnknown)
	}
	return nil
}

// Claim binds an invite to the browser that holds claim, 16 random bytes in
// base64url. The first browser gets it, and may claim it again; another one
// gets ErrClaimed. With ErrClaimed, ErrExpired and ErrRevoked the invite is
// returned too.
func (s *Store) Claim(ctx context.Context, token, claim string) (chat.Invite, error) {
	if err := checkClaim(claim); err != nil {
		return chat.Invite{}, fmt.Errorf("claiming an invite: %w", err)
	}
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) error {
		if !i.Claimed {
			return bind(ctx, tx, token, claim, i.Recipient.ID)
		}
		holder, err := holder(ctx, tx, token, claim)
		if errors.Is(err, chat.ErrUnknown) || err == nil && holder.ID != i.Recipient.ID {
			return chat.ErrClaimed
		}
		return err
	})
	if err != nil {
		return i, fmt.Errorf("claiming an invite: %w", err)
	}
	i.Claimed = true
	return i, nil
}

// bind makes a browser stand for a participant within an invite.
func bind(ctx context.Context, tx querier, token, claim string, participant int64) error {
	var n int
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM claims WHERE invite = $1 AND claim <> $2",
		hash(token), hash(claim)).Scan(&n)
	if err != nil {
		return err
	}
	if n >= maxClaims {
		return fmt.Errorf("%w: %d browsers use this link", chat.ErrFull, n)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO claims (invite, claim, participant) VALUES ($1, $2, $3)"+
		" ON CONFLICT (invite, claim) DO UPDATE SET participant = excluded.participant",
		hash(token), hash(claim), participant)
	return err
}

// holder returns whom a browser stands for within an invite, or ErrUnknown.
func holder(ctx context.Context, q querier, token, claim string) (p chat.Participant, err error) {
	err = q.QueryRowContext(ctx, "SELECT "+participantColumns+" FROM claims l"+
		" JOIN participants p ON p.id = l.participant"+
		" WHERE l.invite = $1 AND l.claim = $2", hash(token), hash(claim)).Scan(participantFields(&p)...)
	return p, known(err)
}

// Participant returns who the browser that holds claim is in the room of an
// invite: its recipient, or a guest. ErrUnknown: that browser has not claimed
// it. With ErrExpired and ErrRevoked the invite is returned too.
func (s *Store) Participant(ctx context.Context, token, claim string) (chat.Participant, chat.Invite, error) {
	i, err := look(ctx, s.read, token)
	var p chat.Participant
	if err == nil {
		p, err = holder(ctx, s.read, token, claim)
	}
	if err != nil {
		return chat.Participant{}, i, fmt.Errorf("reading who a browser is: %w", err)
	}
	return p, i, nil
}

// ClaimAsGuest lets the browser that holds claim in as a new guest of that
// name. The caller decides whether guests are allowed. A browser that is in the
// room already keeps its participant. ErrFull: too many browsers or participants.
func (s *Store) ClaimAsGuest(ctx context.Context, token, claim, name string) (chat.Invite, chat.Participant, error) {
	var p chat.Participant
	err := checkClaim(claim)
	if err != nil {
		return chat.Invite{}, p, fmt.Errorf("letting a guest in: %w", err)
	}
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) (err error) {
		if p, err = holder(ctx, tx, token, claim); !errors.Is(err, chat.ErrUnknown) {
			return err
		}
		if err := s.lockRoom(ctx, tx, i.Room); err != nil {
			return err
		}
		people, err := participants(ctx, tx, i.Room)
		if err != nil {
			return err
		}
		p = chat.Participant{Person: chat.Person{Name: tidy.Name(name)}, Guest: true}
		if err := add(ctx, tx, i.Room, len(people), &p); err != nil {
			return err
		}
		return bind(ctx, tx, token, claim, p.ID)
	})
	if err != nil {
		return i, chat.Participant{}, fmt.Errorf("letting a guest in: %w", err)
	}
	return i, p, nil
}

// NewCode makes a confirmation code of six digits that is good for 10
// minutes and 5 tries, and returns it with the participant to whom it must be
// sent. A new code replaces the one before. ErrFull: 3 codes were made within the hour.
func (s *Store) NewCode(ctx context.Context, token string) (string, chat.Participant, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", chat.Participant{}, fmt.Errorf("making a code: %w", err)
	}
	code := fmt.Sprintf("%06d", n)
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) error {
		now := time.Now()
		var made int
		err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM codes WHERE invite = $1 AND made > $2",
			hash(token), micros(now.Add(-time.Hour))).Scan(&made)
		if err != nil {
			return err
		}
		if made >= codesAnHour {
			return fmt.Errorf("%w: %d codes within the hour", chat.ErrFull, made)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO codes (invite, hash, made) VALUES ($1, $2, $3)",
			hash(token), hash(token, code), micros(now))
		return err
	})
	if err != nil {
		return "", chat.Participant{}, fmt.Errorf("making a code: %w", err)
	}
	return code, i.Recipient, nil
}

// ClaimWithCode lets one more browser stand for the invite's recipient, who
// read code in a mail. ErrCode: the code is wrong, used, too old, or was
// tried too often.
func (s *Store) ClaimWithCode(ctx context.Context, token, claim, code string) (chat.Invite, error) {
	if err := checkClaim(claim); err != nil {
		return chat.Invite{}, fmt.Errorf("claiming an invite with a code: %w", err)
	}
	var wrong error // returned after the try is counted, that is after the commit
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) error {
		var want []byte
		var made, tries int64
		err := tx.QueryRowContext(ctx, "SELECT hash, made, tries FROM codes WHERE invite = $1"+
			" ORDER BY made DESC LIMIT 1", hash(token)).
			Scan(&want, &made, &tries)
		if errors.Is(err, sql.ErrNoRows) {
			return chat.ErrCode
		}
		if err != nil {
			return err
		}
		if tries >= codeTries || time.Since(moment(made)) > codeTTL {
			return chat.ErrCode
		}
		wrong = nil
		tries++
		if subtle.ConstantTimeCompare(want, hash(token, strings.TrimSpace(code))) == 1 {
			tries = codeTries // a code is good for one browser
			if err := bind(ctx, tx, token, claim, i.Recipient.ID); err != nil {
				return err
			}
		} else {
			wrong = chat.ErrCode
		}
		_, err = tx.ExecContext(ctx, "UPDATE codes SET tries = $1 WHERE invite = $2 AND made = $3",
			tries, hash(token), made)
		return err
	})
	if err == nil {
		err = wrong
	}
	if err != nil {
		return i, fmt.Errorf("claiming an invite with a code: %w", err)
	}
	i.Claimed = true
	return i, nil
}
