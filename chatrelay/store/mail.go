// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

// OpenFromMail finds the room of a mail's thread or creates it, brings its
// people in, and makes one invite a recipient, with the sender as callee. The
// mail becomes a message of KindMail; submitting the same mail again adds
// only invites.
//
// Message ids are looked up only in rooms the sender is in already, so a
// stranger who forges References opens a room of his own. Of several rooms
// the oldest wins, so a forged message id draws nobody elsewhere. The caller
// has checked that Sender.Addr belongs to Sender.Login. ErrFull: too many
// recipients or participants.
func (s *Store) OpenFromMail(ctx context.Context, m chat.Mail) (chat.Opened, error) {
	m, err := s.tidy(m)
	if err != nil {
		return chat.Opened{}, fmt.Errorf("opening a room: %w", err)
	}
	opened := chat.Opened{Invites: make(map[string]string, len(m.Recipients))}
	for _, r := range m.Recipients {
		opened.Invites[r.Addr] = secret(16)
	}
	err = s.tx(ctx, func(tx querier) error {
		opened.Room, err = s.enter(ctx, tx, m, opened.Invites)
		return err
	})
	if err != nil {
		return chat.Opened{}, fmt.Errorf("opening a room: %w", err)
	}
	s.mailed(opened.Room)
	return opened, nil
}

// OnMail makes f hear of every room that a mail came into through this Store.
// f must be quick; OnMail is called before any mail comes.
func (s *Store) OnMail(f func(roomID string)) { s.mailed = f }

// tidy bounds a mail's texts and fills in the senders' and recipients'
// logins. Recipients' addresses stay as given: they are the keys of Opened.
func (s *Store) tidy(m chat.Mail) (chat.Mail, error) {
	if len(m.Recipients) > maxRecipients {
		return m, fmt.Errorf("%w: %d recipients", chat.ErrFull, len(m.Recipients))
	}
	for _, p := range append([]chat.Person{m.Sender}, m.Recipients...) {
		if len(p.Addr) > maxAddress || len(p.Login) > maxAddress {
			return m, fmt.Errorf("%w: an address of more than %d bytes", chat.ErrFull, maxAddress)
		}
	}
	m.Subject = tidy.Subject(m.Subject)
	if m.Date.IsZero() {
		m.Date = time.Now()
	}
	if len(m.References) > maxReferences {
		m.References = m.References[len(m.References)-maxReferences:]
	}
	m.References = slices.DeleteFunc(slices.Clone(m.References), func(id string) bool { return !mailID(id) })
	if !mailID(m.MessageID) {
		m.MessageID = ""
	}
	return m, nil
}

// mailID says whether a message id is worth storing.
func mailID(id string) bool {
	return id != "" && len(id) <= maxMailID && chat.Storable(id, maxMailID) == id
}

// normal brings a person into the form that is stored.
func (s *Store) normal(p chat.Person) chat.Person {
	p.Addr = chat.Storable(fold(p.Addr), maxAddress)
	p.Login = chat.Storable(fold(p.Login), maxAddress)
	p.Name = tidy.Name(p.Name)
	if p.Login == "" && p.Addr != "" {
		p.Login = chat.Storable(fold(s.opts.LoginOf(p.Addr)), maxAddress)
	}
	return p
}

// enter does the work of OpenFromMail within a transaction.
func (s *Store) enter(ctx context.Context, tx querier, m chat.Mail, tokens map[string]string) (string, error) {
	now := time.Now()
	sender, err := grouped(ctx, tx, s.normal(m.Sender), true)
	if err != nil {
		return "", err
	}
	roomID, err := find(ctx, tx, sender, append([]string{m.MessageID}, m.References...))
	if err != nil {
		return "", err
	}
	known := roomID != ""
	if known {
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return "", err
		}
	} else {
		roomID = secret(16)
		_, err := tx.ExecContext(ctx, "INSERT INTO rooms (id, epoch, next, subject, created, touched, owner)"+
			" VALUES ($1, $2, 1, $3, $4, $5, 0)",
			roomID, secret(8), m.Subject, micros(now), micros(now))
		if err != nil {
			return "", err
		}
	}
	people, err := participants(ctx, tx, roomID)
	if err != nil {
		return "", err
	}
	from, err := admit(ctx, tx, roomID, &people, sender)
	if err != nil {
		return "", err
	}
	if !known {
		if _, err := tx.ExecContext(ctx, "UPDATE rooms SET owner = $1 WHERE id = $2", from, roomID); err != nil {
			return "", err
		}
	}
	message := chat.Message{ID: "mail:" + secret(16), From: from, Kind: chat.KindMail, Text: m.Subject}
	if m.MessageID != "" {
		message.ID = "mail:" + base64.RawURLEncoding.EncodeToString(hash(m.MessageID))
		_, err := tx.ExecContext(ctx, "INSERT INTO mails (message_id, room) VALUES ($1, $2) ON CONFLICT DO NOTHING",
			m.MessageID, roomID)
		if err != nil {
			return "", err
		}
	}
	done := make(map[string]bool, len(m.Recipients))
	for _, r := range m.Recipients {
		if done[r.Addr] {
			continue
		}
		done[r.Addr] = true
		who, err := grouped(ctx, tx, s.normal(r), false)
		if err != nil {
			return "", err
		}
		to, err := admit(ctx, tx, roomID, &people, who)
		if err != nil {
			return "", err
		}
		if err := s.invite(ctx, tx, tokens[r.Addr], roomID, to, from, m.Subject, m.Date); err != nil {
			return "", err
		}
	}
	_, _, err = s.put(ctx, tx, "", roomID, message)
	return roomID, err
}

// lockRoom keeps other transactions from changing a room until the end of tx.
func (s *Store) lockRoom(ctx context.Context, tx querier, roomID string) error {
	var next int64
	err := tx.QueryRowContext(ctx, "SELECT next FROM rooms WHERE id = $1"+s.forUpdate, roomID).Scan(&next)
	return known(err)
}

// known turns the absence of a row into ErrUnknown.
func known(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return chat.ErrUnknown
	}
	return err
}

// find returns the room of the first of ids that is known in a room of the
// sender's: the mail's own id, then its references, the newest first. It
// returns an empty string if there is none.
func find(ctx context.Context, tx querier, sender chat.Person, ids []string) (string, error) {
	slices.Reverse(ids[1:])
	type hit struct{ id, room string }
	args := []any{sender.Login, sender.Addr}
	places := make([]string, len(ids))
	for i, id := range ids {
		args = append(args, id)
		places[i] = "$" + strconv.Itoa(len(args))
	}
	hits, err := collect(ctx, tx, func(rows *sql.Rows) (h hit, err error) {
		err = rows.Scan(&h.id, &h.room)
		return h, err
	}, "SELECT m.message_id, m.room FROM participants p JOIN mails m ON m.room = p.room JOIN rooms r ON r.id = p.room"+
		" WHERE NOT p.guest AND (p.login <> '' AND p.login = $1 OR p.login = '' AND p.addr = $2)"+
		" AND m.message_id IN ("+strings.Join(places, ", ")+") ORDER BY r.created, r.id", args...)
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		for _, h := range hits {
			if h.id == id {
				return h.room, nil
			}
		}
	}
	return "", nil
}

// admit returns the participant ID of a person in a locked room, making the
// person a participant if need be. People are one if their logins are the
// same or, where one of the two has no login, their addresses.
func admit(ctx context.Context, tx querier, roomID string, people *[]chat.Participant, who chat.Person) (int64, error) {
	i := slices.IndexFunc(*people, func(p chat.Participant) bool {
		return !p.Guest && p.Login != "" && p.Login == who.Login
	})
	if i < 0 {
		i = slices.IndexFunc(*people, func(p chat.Participant) bool {
			return !p.Guest && (p.Login == "" || who.Login == "") && p.Addr != "" && p.Addr == who.Addr
		})
	}
	if i < 0 {
		p := chat.Participant{Person: who}
		if err := add(ctx, tx, roomID, len(*people), &p); err != nil {
			return 0, err
		}
		*people = append(*people, p)
		return p.ID, nil
	}
	p := &(*people)[i]
	if p.Login == "" && who.Login != "" || p.Name == "" && who.Name != "" || p.Hidden && !who.Hidden {
		if p.Login == "" {
			p.Login = who.Login
		}
		if p.Name == "" {
			p.Name = who.Name
		}
		p.Hidden = p.Hidden && who.Hidden
		_, err := tx.ExecContext(ctx, "UPDATE participants SET login = $1, name = $2, hidden = $3 WHERE id = $4",
			p.Login, p.Name, p.Hidden, p.ID)
		if err != nil {
			return 0, err
		}
	}
	return p.ID, nil
}

// add stores a new participant of a room that has count already.
func add(ctx context.Context, tx querier, roomID string, count int, p *chat.Participant) error {
	if count >= maxParticipants {
		return fmt.Errorf("%w: %d participants", chat.ErrFull, count)
	}
	return tx.QueryRowContext(ctx, "INSERT INTO participants (room, login, addr, name, guest, hidden)"+
		" VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
		roomID, p.Login, p.Addr, p.Name, p.Guest, p.Hidden).Scan(&p.ID)
}
