// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
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
// base64url. The first browser gets it, and may claim it again; another one gets
// ErrClaimed, unless the first one has gone and nothing was said while it was there:
// a program may have pressed the link, before its owner did. proven says that the
// browser has proven to be the invite's recipient: it always gets it, and browsers
// that have not proven it lose it. With ErrClaimed, ErrExpired and ErrRevoked the
// invite is returned too.
func (s *Store) Claim(ctx context.Context, token, claim string, proven bool) (chat.Invite, error) {
	if err := checkClaim(claim); err != nil {
		return chat.Invite{}, fmt.Errorf("claiming an invite: %w", err)
	}
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) error {
		if proven {
			return prove(ctx, tx, token, claim, i)
		}
		switch a, err := holder(ctx, tx, hash(token), hash(claim)); {
		case err == nil && a.ID == i.Recipient.ID:
			return nil
		case err == nil: // a guest
			return chat.ErrClaimed
		case !errors.Is(err, chat.ErrUnknown):
			return err
		}
		if i.Claimed {
			if err := takeOver(ctx, tx, token, i); err != nil {
				return err
			}
		}
		return bind(ctx, tx, token, claim, i.Recipient.ID, false)
	})
	if err != nil {
		return i, fmt.Errorf("claiming an invite: %w", err)
	}
	if proven {
		s.accessChanged(i.Room)
	}
	i.Claimed = true
	return i, nil
}

// prove makes a browser stand for an invite's recipient, proven, and takes the
// invite from those that have not proven it.
func prove(ctx context.Context, tx querier, token, claim string, i chat.Invite) error {
	_, err := tx.ExecContext(ctx, "DELETE FROM claims WHERE invite = $1 AND participant = $2 AND claim <> $3"+
		" AND NOT proven", hash(token), i.Recipient.ID, hash(claim))
	if err != nil {
		return err
	}
	return bind(ctx, tx, token, claim, i.Recipient.ID, true)
}

// talked is the condition that something was said since the browser of claim l came
// into room.
func talked(room string) string {
	return "EXISTS (SELECT 1 FROM messages m WHERE m.room = " + room + " AND m.pos >= l.since" +
		" AND m.kind IN ('text', 'file'))"
}

// takeOver takes an invite from the browser that has claimed it; ErrClaimed if that
// is proven, is here, or was here when something was said.
func takeOver(ctx context.Context, tx querier, token string, i chat.Invite) error {
	var used int
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM claims l WHERE l.invite = $1 AND l.participant = $2"+
		" AND (l.proven OR l.idle = 0 OR l.idle > $3 OR "+talked("$4")+")",
		hash(token), i.Recipient.ID, micros(time.Now()), i.Room).Scan(&used)
	if err != nil {
		return err
	}
	if used > 0 {
		return chat.ErrClaimed
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM claims WHERE invite = $1 AND participant = $2",
		hash(token), i.Recipient.ID)
	return err
}

// words is the condition that message m is what somebody said, or a change of it; mails
// and what happened are not.
const words = "(m.kind NOT IN ('mail', 'note') OR m.kind = 'note' AND m.body LIKE 'declined_%')"

// bind makes a browser stand for a participant within an invite. An unproven one
// reads what is said from now on, or what the mail is about that the server sent the
// invite with.
func bind(ctx context.Context, tx querier, token, claim string, participant int64, proven bool) error {
	var n int
	err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM claims WHERE invite = $1 AND claim <> $2",
		hash(token), hash(claim)).Scan(&n)
	if err != nil {
		return err
	}
	if n >= maxClaims {
		return fmt.Errorf("%w: %d browsers use this link", chat.ErrFull, n)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO claims (invite, claim, participant, proven, since, idle)"+
		" SELECT $1, $2, CAST($3 AS BIGINT), $4, CASE WHEN i.since > 0 THEN i.since ELSE"+
		" (SELECT COALESCE(MAX(m.pos), 0) + 1 FROM messages m WHERE m.room = i.room AND "+words+") END,"+
		" CAST($5 AS BIGINT) FROM invites i WHERE i.token = $1"+
		" ON CONFLICT (invite, claim) DO UPDATE SET participant = excluded.participant, proven = excluded.proven",
		hash(token), hash(claim), participant, proven, micros(time.Now().Add(returnWithin)))
	return err
}

// holder returns what a browser has within an invite, or ErrUnknown.
func holder(ctx context.Context, q querier, link, claim []byte) (a chat.Access, err error) {
	var expires, idle int64
	err = q.QueryRowContext(ctx, "SELECT "+participantColumns+", l.proven, l.since, l.idle, i.expires FROM claims l"+
		" JOIN participants p ON p.id = l.participant JOIN invites i ON i.token = l.invite"+
		" WHERE l.invite = $1 AND l.claim = $2", link, claim).
		Scan(append(participantFields(&a.Participant), &a.Proven, &a.Since, &idle, &expires)...)
	if err != nil {
		return chat.Access{}, known(err)
	}
	if a.Proven || a.Since == 1 { // 1: nothing had been said before
		a.Since = 0
	}
	a.Key = base64.RawURLEncoding.EncodeToString(slices.Concat(link, claim))
	a.Expires, a.Idle = moment(expires), idle != 0
	return a, nil
}

// Participant returns who the browser that holds claim is in the room of an
// invite, its recipient or a guest, and what it may read. ErrUnknown: that browser
// has not claimed it. With ErrExpired and ErrRevoked the invite is returned too.
func (s *Store) Participant(ctx context.Context, token, claim string) (chat.Access, chat.Invite, error) {
	i, err := look(ctx, s.read, hash(token))
	var a chat.Access
	if err == nil {
		a, err = holder(ctx, s.read, hash(token), hash(claim))
	}
	if err != nil {
		return chat.Access{}, i, fmt.Errorf("reading who a browser is: %w", err)
	}
	return a, i, nil
}

// Access is Participant by the key of an earlier Access: what the browser has by
// now. ErrUnknown: nothing any more.
func (s *Store) Access(ctx context.Context, key string) (a chat.Access, err error) {
	link, claim, err := keyParts(key)
	if err == nil {
		_, err = look(ctx, s.read, link)
	}
	if err == nil {
		a, err = holder(ctx, s.read, link, claim)
	}
	if err != nil {
		return chat.Access{}, fmt.Errorf("reading what a browser may do: %w", err)
	}
	return a, nil
}

// keyParts are the hashes of the link and the claim in the key of an Access.
func keyParts(key string) (link, claim []byte, err error) {
	b, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(b) != 2*sha256.Size {
		return nil, nil, chat.ErrUnknown
	}
	return b[:sha256.Size], b[sha256.Size:], nil
}

// Came notes that the browser of an Access is in the room, and Went that it has
// gone. One with which nothing was said loses its link to the next that presses it,
// if it does not come back soon.
func (s *Store) Came(ctx context.Context, roomID, key string) error {
	return s.stay(ctx, roomID, key, "UPDATE claims SET idle = $1 WHERE invite = $2 AND claim = $3 AND idle <> 0", 0)
}

// Went is described at Came.
func (s *Store) Went(ctx context.Context, roomID, key string) error {
	return s.stay(ctx, roomID, key, "UPDATE claims AS l SET idle = $1 WHERE l.invite = $2 AND l.claim = $3"+
		" AND NOT l.proven AND l.idle = 0 AND NOT "+talked("$4"), micros(time.Now().Add(returnWithin)), roomID)
}

func (s *Store) stay(ctx context.Context, roomID, key, query string, idle int64, more ...any) error {
	link, claim, err := keyParts(key)
	if err == nil {
		err = s.share(ctx, roomID, func(ctx context.Context, tx querier) error {
			_, err := tx.ExecContext(ctx, query, append([]any{idle, link, claim}, more...)...)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("noting whether a browser is here: %w", err)
	}
	return nil
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
	i, err := s.change(ctx, token, func(tx querier, i chat.Invite) error {
		a, err := holder(ctx, tx, hash(token), hash(claim))
		if p = a.Participant; !errors.Is(err, chat.ErrUnknown) {
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
		return bind(ctx, tx, token, claim, p.ID, false)
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

// ClaimWithCode lets a browser stand for the invite's recipient, proven, since
// they read code in a mail. Browsers that have not proven it lose the invite.
// ErrCode: the code is wrong, used, too old, or was tried too often.
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
			if err := prove(ctx, tx, token, claim, i); err != nil {
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
	s.accessChanged(i.Room)
	i.Claimed = true
	return i, nil
}
