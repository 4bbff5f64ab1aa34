// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
)

// A group is an address whose members share its mails and rings. The address is
// the login of the group's participant in a room; nobody signs in with it.

// SetGroups replaces the groups of one source: address → logins of its members. The
// source is empty for the configuration's. Nobody looks after the rooms of those who
// are members no more.
func (s *Store) SetGroups(ctx context.Context, source string, groups map[string][]string) error {
	err := s.tx(ctx, func(tx querier) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM members WHERE source = $1", source); err != nil {
			return err
		}
		for addr, logins := range groups {
			if len(logins) > chat.MaxMembers {
				return fmt.Errorf("%w: %d members of %s", chat.ErrFull, len(logins), addr)
			}
			for _, login := range logins {
				_, err := tx.ExecContext(ctx, "INSERT INTO members (source, addr, login) VALUES ($1, $2, $3)"+
					" ON CONFLICT DO NOTHING", source, fold(addr), fold(login))
				if err != nil {
					return err
				}
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE participants SET assignee = '' WHERE assignee <> '' AND NOT EXISTS"+
			" (SELECT 1 FROM members m WHERE m.addr = participants.login AND m.login = participants.assignee)")
		return err
	})
	if err != nil {
		return fmt.Errorf("storing the groups: %w", err)
	}
	return nil
}

// grouped returns p with the login of a group when p is the address of a group: for
// a recipient always, for a sender when the sender is a member of it.
func grouped(ctx context.Context, tx querier, p chat.Person, sender bool) (chat.Person, error) {
	if p.Addr == "" || p.Addr == p.Login {
		return p, nil // its login is right already
	}
	query, args := "SELECT COUNT(*) FROM members WHERE addr = $1", []any{p.Addr}
	if sender {
		query, args = query+" AND login = $2", append(args, p.Login)
	}
	var n int
	if err := tx.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return p, err
	}
	if n > 0 {
		p.Login = p.Addr
	}
	return p, nil
}

// membersIn are the logins that may answer in a room for a group.
func membersIn(ctx context.Context, tx querier, roomID string) (map[string]bool, error) {
	list, err := collect(ctx, tx, func(rows *sql.Rows) (login string, err error) {
		err = rows.Scan(&login)
		return login, err
	}, "SELECT m.login FROM members m JOIN participants p ON p.login = m.addr"+
		" WHERE p.room = $1 AND NOT p.guest", roomID)
	members := make(map[string]bool, len(list))
	for _, login := range list {
		members[login] = true
	}
	return members, err
}

// Join makes a login a participant of a room in which one of its groups is a
// participant. A login that is in the room already keeps its participant.
// ErrUnknown: no group of the login is in the room, or the login was put out of it.
func (s *Store) Join(ctx context.Context, login, roomID string) (p chat.Participant, err error) {
	err = s.tx(ctx, func(tx querier) error {
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return err
		}
		c := crowd{s: s}
		if c.people, err = participants(ctx, tx, roomID); err != nil {
			return err
		}
		login = fold(login)
		if i := slices.IndexFunc(c.people, func(p chat.Participant) bool {
			return p.Login == login && !p.Guest
		}); i >= 0 {
			p = c.people[i]
			return nil
		}
		if slices.ContainsFunc(c.people, func(p chat.Participant) bool { return p.Removed && p.Addr == login }) {
			return chat.ErrUnknown
		}
		var n int
		err = tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM members m JOIN participants p ON p.login = m.addr"+
			" WHERE m.login = $1 AND p.room = $2 AND NOT p.guest", login, roomID).Scan(&n)
		if err != nil {
			return err
		}
		if n == 0 {
			return chat.ErrUnknown
		}
		who := chat.Person{Login: login}
		if strings.Contains(login, "@") {
			who.Addr = login
		}
		i := c.admit(s.normal(who))
		if err := c.fits(); err != nil {
			return err
		}
		if err := c.store(ctx, tx, roomID); err != nil {
			return err
		}
		p = c.people[i]
		return nil
	})
	if err != nil {
		return chat.Participant{}, fmt.Errorf("joining a room: %w", err)
	}
	return p, nil
}

// theirs is the condition that participant p is a login, the parameter, or a
// group of which it is a member.
func theirs(param string) string {
	return "(p.login = " + param + " OR p.login IN (SELECT m.addr FROM members m WHERE m.login = " +
		param + ")) AND p.login <> '' AND NOT p.guest"
}
