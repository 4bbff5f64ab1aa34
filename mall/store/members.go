// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// States of a member.
const (
	MemberActive  = "active"
	MemberLeaving = "leaving" // erased, but their account may still be there
	MemberErased  = "erased"
)

// SessionIdle and SessionLife are when a session ends: unused for so long, and anyhow.
const (
	SessionIdle = 30 * 24 * time.Hour
	SessionLife = 180 * 24 * time.Hour
	seenEvery   = time.Hour // a session's last use is written so often at most
)

// Member is somebody who may buy and ask.
type Member struct {
	bun.BaseModel `bun:"table:members"`

	ID        string `bun:",pk"`
	Login     string
	AddrHash  string
	Sealed    string // Personal
	Lang      string
	State     string
	Record    bool
	Publicity bool
	Created   int64
	Made      bool // the mall made its account
	Bare      bool // and nobody knows the account's password: they registered by a passkey alone
}

// Personal is what is sealed of a member.
type Personal struct {
	Name    string `json:"name"`
	Addr    string `json:"addr"` // their own e-mail address
	Phone   string `json:"phone,omitempty"`
	Deliver string `json:"deliver,omitempty"` // where goods are sent, as lines
}

// Registration is one whose address is not confirmed yet.
type Registration struct {
	bun.BaseModel `bun:"table:registrations"`

	Hash     string `bun:",pk"`
	Sealed   string
	Password string // its hash
	Expires  int64
}

// Session is a browser that is signed in.
type Session struct {
	bun.BaseModel `bun:"table:sessions"`

	Hash    string `bun:",pk"`
	Login   string
	Created int64
	Seen    int64
}

// AddMember stores a member, what they agreed to, and the passkey by which they
// registered. ErrTaken: the login or the address is a member's already.
func (s *Store) AddMember(ctx context.Context, m Member, consents []Consent, keys ...Passkey) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(&m).Exec(ctx); err != nil {
			return taken(err)
		}
		for _, key := range keys {
			if _, err := tx.NewInsert().Model(&key).Exec(ctx); err != nil {
				return taken(err)
			}
		}
		return addConsents(ctx, tx, m.ID, consents)
	})
	if err != nil {
		return fmt.Errorf("adding a member: %w", err)
	}
	return nil
}

// AddMembers stores many at once, who all agreed to the same.
func (s *Store) AddMembers(ctx context.Context, all []Member, agreed Consent) error {
	err := s.tx(ctx, func(tx bun.Tx) error {
		for _, m := range all {
			if _, err := tx.NewInsert().Model(&m).Exec(ctx); err != nil {
				return taken(err)
			}
			if err := addConsents(ctx, tx, m.ID, []Consent{agreed}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("adding members: %w", err)
	}
	return nil
}

func addConsents(ctx context.Context, tx bun.Tx, member string, consents []Consent) error {
	for _, c := range consents {
		c.ID, c.Member = NewID(), member
		if _, err := tx.NewInsert().Model(&c).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// MemberByLogin finds an active member. ErrUnknown.
func (s *Store) MemberByLogin(ctx context.Context, login string) (Member, error) {
	return s.member(ctx, "login", login)
}

// MemberByAddr finds an active member by the hash of their own address. ErrUnknown.
func (s *Store) MemberByAddr(ctx context.Context, hash string) (Member, error) {
	return s.member(ctx, "addr_hash", hash)
}

// MemberByID finds an active member. ErrUnknown.
func (s *Store) MemberByID(ctx context.Context, id string) (Member, error) {
	return s.member(ctx, "id", id)
}

func (s *Store) member(ctx context.Context, column, is string) (m Member, err error) {
	err = s.rd.NewSelect().Model(&m).Where("? = ? AND state = ?", bun.Ident(column), is, MemberActive).Scan(ctx)
	if err != nil {
		return Member{}, fmt.Errorf("reading a member: %w", known(err))
	}
	return m, nil
}

// Members are active members after an id, in the order of their ids.
func (s *Store) Members(ctx context.Context, after string, limit int) (list []Member, err error) {
	err = s.rd.NewSelect().Model(&list).Where("id > ? AND state = ?", after, MemberActive).Order("id").
		Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing members: %w", err)
	}
	return list, nil
}

// SetLang sets the language of a member's mails and pages.
func (s *Store) SetLang(ctx context.Context, member, lang string) error {
	res, err := s.db.NewUpdate().Table("members").Set("lang = ?", lang).Where("id = ?", member).Exec(ctx)
	if err := changed(res, err, ErrUnknown); err != nil {
		return fmt.Errorf("setting a member's language: %w", err)
	}
	return nil
}

// AddRegistration stores a registration.
func (s *Store) AddRegistration(ctx context.Context, r Registration) error {
	if _, err := s.db.NewInsert().Model(&r).Exec(ctx); err != nil {
		return fmt.Errorf("storing a registration: %w", err)
	}
	return nil
}

// ForgetRegistrations removes those that have expired.
func (s *Store) ForgetRegistrations(ctx context.Context, now time.Time) error {
	_, err := s.db.NewDelete().Table("registrations").Where("expires < ?", Micros(now)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("removing registrations that expired: %w", err)
	}
	return nil
}

// Registration finds one that has not expired. ErrUnknown.
func (s *Store) Registration(ctx context.Context, hash string) (r Registration, err error) {
	err = s.rd.NewSelect().Model(&r).Where("hash = ? AND expires > ?", hash, Micros(time.Now())).Scan(ctx)
	if err != nil {
		return Registration{}, fmt.Errorf("reading a registration: %w", known(err))
	}
	return r, nil
}

// RemoveRegistration takes a registration away: its link works once. ErrUnknown: it
// is gone already.
func (s *Store) RemoveRegistration(ctx context.Context, hash string) error {
	res, err := s.db.NewDelete().Table("registrations").Where("hash = ?", hash).Exec(ctx)
	if err := changed(res, err, ErrUnknown); err != nil {
		return fmt.Errorf("removing a registration: %w", err)
	}
	return nil
}

// AddSession begins a session, whose password was looked at after it began.
func (s *Store) AddSession(ctx context.Context, hash, login string, began time.Time) error {
	now := Micros(began)
	err := s.tx(ctx, func(tx bun.Tx) error {
		_, err := tx.NewDelete().Table("sessions").Where("login = ? AND (seen < ? OR created < ?)", login,
			now-SessionIdle.Microseconds(), now-SessionLife.Microseconds()).Exec(ctx)
		if err == nil {
			_, err = tx.NewInsert().Model(&Session{Hash: hash, Login: login, Created: now, Seen: now}).Exec(ctx)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("beginning a session: %w", err)
	}
	return nil
}

// Session is who is signed in. ErrUnknown: nobody, or not any more.
func (s *Store) Session(ctx context.Context, hash string) (found Session, err error) {
	now := Micros(time.Now())
	err = s.rd.NewSelect().Model(&found).Where("hash = ? AND seen > ? AND created > ?", hash,
		now-SessionIdle.Microseconds(), now-SessionLife.Microseconds()).Scan(ctx)
	if err == nil && found.Seen < now-seenEvery.Microseconds() {
		_, err = s.db.NewUpdate().Table("sessions").Set("seen = ?", now).Where("hash = ?", hash).Exec(ctx)
	}
	if err != nil {
		return Session{}, fmt.Errorf("reading a session: %w", known(err))
	}
	return found, nil
}

// EndSession ends one session.
func (s *Store) EndSession(ctx context.Context, hash string) error {
	if _, err := s.db.NewDelete().Table("sessions").Where("hash = ?", hash).Exec(ctx); err != nil {
		return fmt.Errorf("ending a session: %w", err)
	}
	return nil
}

// ForgetSessions removes those that have ended by themselves.
func (s *Store) ForgetSessions(ctx context.Context, now time.Time) error {
	_, err := s.db.NewDelete().Table("sessions").Where("seen < ? OR created < ?",
		Micros(now.Add(-SessionIdle)), Micros(now.Add(-SessionLife))).Exec(ctx)
	if err != nil {
		return fmt.Errorf("removing sessions that have ended: %w", err)
	}
	return nil
}

// StaffOf are the places in shops that a login has.
func (s *Store) StaffOf(ctx context.Context, login string) (list []Staff, err error) {
	if err := s.rd.NewSelect().Model(&list).Where("login = ?", login).Order("shop").Scan(ctx); err != nil {
		return nil, fmt.Errorf("reading the shops of a login: %w", err)
	}
	return list, nil
}
