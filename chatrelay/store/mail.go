// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

// OpenFromMail finds the room of a mail or creates it, and makes one invite a
// recipient, with the sender as callee. The mail becomes a message of KindMail;
// submitting the same mail again adds only invites.
//
// A mail goes into a room of its thread whose people are its own: the sender and
// the recipients, nobody else. Whoever was in Bcc there need not be named again.
// A mail of the thread to other people opens another room, and a note there says
// where it came from; nobody reads what was said before they were written to.
//
// Message ids are looked up only in rooms the sender is in already, so a
// stranger who forges References opens a room of his own. Of several rooms
// the oldest wins, so a forged message id draws nobody elsewhere. Sender.Addr
// and Sender.Name are what the From field says; they are believed when the
// address is the login's own or that of a group of which it is a member, the name
// also beside an alias of the login, and Opened.Sender is who is left. ErrUnwanted:
// the login wants no links in its mails.
// ErrFull: too many recipients or participants.
func (s *Store) OpenFromMail(ctx context.Context, m chat.Mail) (chat.Opened, error) {
	m, err := s.tidy(m)
	if err != nil {
		return chat.Opened{}, fmt.Errorf("opening a room: %w", err)
	}
	opened := chat.Opened{Invites: make(map[string]string, len(m.Recipients))}
	for _, r := range m.Recipients {
		opened.Invites[r.Addr] = secret(16)
	}
	enter := func(ctx context.Context, tx querier) error {
		return s.enter(ctx, tx, m, &opened)
	}
	if s.Shared() { // PostgreSQL lets several connections share a commit by itself
		err = s.tx(ctx, func(tx querier) error { return enter(ctx, tx) })
	} else {
		err = s.share(ctx, "", enter)
	}
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

// sender returns who wrote a mail: the login that submitted it, or a group of
// which it is a member. Another address in the From field, and the name beside it,
// say nothing about the login.
func (s *Store) sender(ctx context.Context, tx querier, m chat.Mail) (chat.Person, error) {
	p, err := grouped(ctx, tx, s.normal(m.Sender), true)
	if err != nil || s.owns(p.Login, p.Addr) {
		return p, err
	}
	p.Addr = ""
	if !m.Alias {
		p.Name = ""
	}
	if strings.Contains(p.Login, "@") {
		p.Addr = p.Login
	}
	return p, nil
}

// owns says whether an address is a login's own.
func (s *Store) owns(login, addr string) bool {
	return login != "" && addr != "" && (login == addr || fold(s.opts.LoginOf(addr)) == login)
}

// enter does the work of OpenFromMail within a transaction; o has the tokens of the
// invites, and gets the rest. ErrUnwanted and ErrFull come before anything is changed.
func (s *Store) enter(ctx context.Context, tx querier, m chat.Mail, o *chat.Opened) error {
	own, err := settings(ctx, tx, fold(m.Sender.Login))
	if err != nil {
		return err
	}
	if !own.Stamp {
		return chat.ErrUnwanted
	}
	o.Lang, o.StampText = own.Lang, own.StampText
	if o.Sender, err = s.sender(ctx, tx, m); err != nil {
		return err
	}
	if o.Sender.Login == fold(m.Sender.Login) {
		o.Sender.Name = cmp.Or(o.Sender.Name, own.Name)
	}
	people := []chat.Person{o.Sender}
	places := make(map[string]int, len(m.Recipients)) // in people, by address as given
	for _, r := range m.Recipients {
		if _, twice := places[r.Addr]; twice {
			continue
		}
		who, err := grouped(ctx, tx, s.normal(r), false)
		if err != nil {
			return err
		}
		places[r.Addr] = len(people)
		people = append(people, who)
	}
	room, origin, err := s.find(ctx, tx, people, append([]string{m.MessageID}, m.References...))
	if err != nil {
		return err
	}
	c := crowd{s: s}
	if room != "" {
		if c.people, err = participants(ctx, tx, room); err != nil {
			return err
		}
	}
	var among []int // places of people in c.people
	for _, who := range people {
		among = append(among, c.admit(who))
	}
	if err := c.fits(); err != nil {
		return err
	}
	opens := room == ""
	if opens {
		room = secret(16)
		now := micros(time.Now())
		if _, err := tx.ExecContext(ctx, insertRoom, room, secret(8), m.Subject, now, now); err != nil {
			return err
		}
	}
	o.Room = room
	if err := c.store(ctx, tx, room); err != nil {
		return err
	}
	me := c.people[among[0]].ID
	if opens {
		if _, err := tx.ExecContext(ctx, setOwner, me, room); err != nil {
			return err
		}
	}
	if origin.ID != "" {
		note := chat.Message{ID: secret(16), From: me, Kind: chat.KindNote, Text: noteFrom(origin, m.Subject)}
		if _, _, err := s.put(ctx, tx, "", room, note); err != nil {
			return err
		}
	}
	message := chat.Message{ID: "mail:" + secret(16), From: me, Kind: chat.KindMail, Text: m.Subject}
	if m.Unsent {
		message.Kind, message.Text = chat.KindNote, chat.NoteAbout+"\n"+m.Subject
	}
	if m.MessageID != "" {
		message.ID = mailMessage(m.MessageID)
		if _, err := tx.ExecContext(ctx, insertMail, m.MessageID, room); err != nil {
			return err
		}
	}
	for addr, i := range places {
		if err := s.invite(ctx, tx, o.Invites[addr], room, c.people[among[i]].ID, me, m.Subject, m.Date); err != nil {
			return err
		}
	}
	_, _, err = s.put(ctx, tx, "", room, message)
	return err
}

// Statements of enter.
const (
	insertRoom = "INSERT INTO rooms (id, epoch, next, subject, created, touched, owner)" +
		" VALUES ($1, $2, 1, $3, $4, $5, 0)"
	setOwner   = "UPDATE rooms SET owner = $1 WHERE id = $2"
	insertMail = "INSERT INTO mails (message_id, room) VALUES ($1, $2) ON CONFLICT DO NOTHING"
	findRooms  = "SELECT m.room FROM mails m JOIN participants p ON p.room = m.room JOIN rooms r ON r.id = m.room" +
		" WHERE m.message_id = $1 AND NOT p.guest" +
		" AND (p.login <> '' AND p.login = $2 OR p.login = '' AND p.addr = $3)" +
		" ORDER BY r.created, r.id LIMIT $4"
	insertParticipant = "INSERT INTO participants (room, login, addr, name, guest, hidden)" +
		" VALUES ($1, $2, $3, $4, $5, $6) RETURNING id"
)

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

// find returns the room of people, the first of whom is the sender, that knows one
// of ids: the mail's own id, then its references, the newest first. It locks the
// room. Where the sender has rooms of the thread, but none of these people, the
// room is empty and origin is the newest mail of the thread there.
func (s *Store) find(
	ctx context.Context, tx querier, people []chat.Person, ids []string,
) (room string, origin chat.Message, err error) {
	slices.Reverse(ids[1:])
	looked := make(map[string]bool)
	for i, id := range ids {
		if id == "" || len(looked) >= maxThreadRooms {
			continue
		}
		rooms, err := collect(ctx, tx, func(rows *sql.Rows) (room string, err error) {
			err = rows.Scan(&room)
			return room, err
		}, findRooms, id, people[0].Login, people[0].Addr, maxThreadRooms)
		if err != nil {
			return "", origin, err
		}
		for _, room := range rooms {
			if looked[room] {
				continue
			}
			looked[room] = true
			if same, err := s.holds(ctx, tx, room, people); err != nil || same {
				return room, chat.Message{}, err
			}
			if i > 0 && origin.ID == "" { // a mail is no origin of itself
				if origin, err = mailIn(ctx, tx, room, id); err != nil {
					return "", origin, err
				}
			}
		}
	}
	return "", origin, nil
}

// holds says whether a room is that of people, and locks it if it is.
func (s *Store) holds(ctx context.Context, tx querier, room string, people []chat.Person) (bool, error) {
	same := func() (bool, error) {
		c := crowd{s: s}
		var err error
		if c.people, err = participants(ctx, tx, room); err != nil {
			return false, err
		}
		members, err := membersIn(ctx, tx, room)
		return err == nil && c.are(people, members), err
	}
	if same, err := same(); err != nil || !same {
		return false, err
	}
	if err := s.lockRoom(ctx, tx, room); err != nil {
		return false, err
	}
	return same() // somebody may have come in before the lock
}

// mailIn is the message of a mail in a room.
func mailIn(ctx context.Context, tx querier, room, id string) (chat.Message, error) {
	m := chat.Message{ID: mailMessage(id)}
	var at int64
	err := tx.QueryRowContext(ctx, "SELECT m.body, m.at FROM messages m WHERE m.room = $1 AND m.id = $2"+
		" AND m.kind = 'mail' ORDER BY m.pos LIMIT 1", room, m.ID).Scan(&m.Text, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return chat.Message{}, nil
	}
	m.At = moment(at)
	return m, err
}

// mailMessage is the message ID of a mail in its room.
func mailMessage(id string) string { return "mail:" + base64.RawURLEncoding.EncodeToString(hash(id)) }

// answers are what mail programs put before the subject of an answer or a forward.
var answers = regexp.MustCompile(`^(?:\s*\p{L}{1,5}(?:\[\d+\])?\s*[:：]\s*)+`)

// noteFrom is the text of the note that says where a room came from. The older
// mail's subject is in it only if the new one repeats it: whoever is written to
// anew need not know what the thread was about.
func noteFrom(origin chat.Message, subject string) string {
	text := chat.NoteFrom + "\n" + origin.At.UTC().Format(time.RFC3339)
	if old := answers.ReplaceAllString(origin.Text, ""); old != "" && strings.Contains(fold(subject), fold(old)) {
		text += "\n" + old
	}
	return text
}

// crowd is the people of a locked room, with those who come in.
type crowd struct {
	s       *Store
	people  []chat.Participant // an ID of 0: not stored yet
	changed []int              // places of those who are stored and have changed
	fresh   int                // how many are not stored yet
}

// place is where a person is among the people, or -1. People are one if their logins
// are the same or, where one of the two has no login, their addresses: but a login
// is nobody whose address is not its own. Whoever was put out is not among them.
func (c *crowd) place(who chat.Person) int {
	i := slices.IndexFunc(c.people, func(p chat.Participant) bool {
		return !p.Guest && !p.Removed && p.Login != "" && p.Login == who.Login
	})
	if i >= 0 {
		return i
	}
	return slices.IndexFunc(c.people, func(p chat.Participant) bool {
		return !p.Guest && !p.Removed && (p.Login == "" || who.Login == "") && p.Addr != "" && p.Addr == who.Addr &&
			(p.Login == who.Login || c.s.owns(cmp.Or(p.Login, who.Login), p.Addr))
	})
}

// are says whether the people are those of a mail. Guests, people who were erased or
// put out, whoever was in Bcc and members who answer for a group need not be named.
func (c *crowd) are(people []chat.Person, members map[string]bool) bool {
	named := make(map[int]bool, len(people))
	for _, who := range people {
		i := c.place(who)
		if i < 0 {
			return false
		}
		named[i] = true
	}
	for i, p := range c.people {
		if !named[i] && !p.Guest && !p.Removed && !p.Hidden && p.Addr != chat.ErasedName && !members[p.Login] {
			return false
		}
	}
	return true
}

// admit returns the place of a person among the people, and brings the person in
// if need be.
func (c *crowd) admit(who chat.Person) int {
	i := c.place(who)
	if i < 0 {
		c.people = append(c.people, chat.Participant{Person: who})
		c.fresh++
		return len(c.people) - 1
	}
	p := &c.people[i]
	if p.Login == "" && who.Login != "" || p.Name == "" && who.Name != "" || p.Hidden && !who.Hidden {
		p.Login, p.Name = cmp.Or(p.Login, who.Login), cmp.Or(p.Name, who.Name)
		p.Hidden = p.Hidden && who.Hidden
		if p.ID != 0 {
			c.changed = append(c.changed, i)
		}
	}
	return i
}

// fits returns ErrFull when there are too many people.
func (c *crowd) fits() error {
	if c.fresh > 0 && len(c.people) > maxParticipants {
		return fmt.Errorf("%w: %d participants", chat.ErrFull, len(c.people))
	}
	return nil
}

// store stores who is new or has changed.
func (c *crowd) store(ctx context.Context, tx querier, roomID string) error {
	for _, i := range c.changed {
		p := c.people[i]
		_, err := tx.ExecContext(ctx, "UPDATE participants SET login = $1, name = $2, hidden = $3 WHERE id = $4",
			p.Login, p.Name, p.Hidden, p.ID)
		if err != nil {
			return err
		}
	}
	for i := len(c.people) - c.fresh; i < len(c.people); i++ {
		if err := add(ctx, tx, roomID, i, &c.people[i]); err != nil {
			return err
		}
	}
	return nil
}

// InviteInto brings somebody into a room without a mail and makes their link,
// which rings callee. Somebody who is in the room keeps their place. ErrUnknown:
// callee is not in the room. ErrFull: too many participants.
func (s *Store) InviteInto(
	ctx context.Context, roomID string, callee int64, who chat.Person,
) (token string, p chat.Participant, err error) {
	token = secret(16)
	err = s.tx(ctx, func(tx querier) error {
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return err
		}
		if err := belongs(ctx, tx, roomID, callee); err != nil {
			return err
		}
		c := crowd{s: s}
		if c.people, err = participants(ctx, tx, roomID); err != nil {
			return err
		}
		who, err := grouped(ctx, tx, s.normal(who), false)
		if err != nil {
			return err
		}
		i := c.admit(who)
		if err := c.fits(); err != nil {
			return err
		}
		if err := c.store(ctx, tx, roomID); err != nil {
			return err
		}
		p = c.people[i]
		var subject string
		err = tx.QueryRowContext(ctx, "SELECT subject FROM rooms WHERE id = $1", roomID).Scan(&subject)
		if err != nil {
			return err
		}
		return s.invite(ctx, tx, token, roomID, p.ID, callee, subject, time.Now())
	})
	if err != nil {
		return "", chat.Participant{}, fmt.Errorf("inviting somebody into a room: %w", err)
	}
	return token, p, nil
}

// add stores a new participant of a room that has count already.
func add(ctx context.Context, tx querier, roomID string, count int, p *chat.Participant) error {
	if count >= maxParticipants {
		return fmt.Errorf("%w: %d participants", chat.ErrFull, count)
	}
	return tx.QueryRowContext(ctx, insertParticipant,
		roomID, p.Login, p.Addr, p.Name, p.Guest, p.Hidden).Scan(&p.ID)
}

// RoomOfMail returns the room that a mail of a login opened or came into.
// ErrUnknown: there is none.
func (s *Store) RoomOfMail(ctx context.Context, login, messageID string) (room string, err error) {
	err = s.write.QueryRowContext(ctx, findRooms, messageID, fold(login), fold(login), 1).Scan(&room)
	if err != nil {
		return "", fmt.Errorf("looking for the room of a mail: %w", known(err))
	}
	return room, nil
}

// NameOf returns the name that a login has set, or the one beside its address in its
// newest mail; empty: there was none.
func (s *Store) NameOf(ctx context.Context, login string) (name string, err error) {
	own, err := settings(ctx, s.read, fold(login))
	if err != nil || own.Name != "" {
		return own.Name, err
	}
	err = s.read.QueryRowContext(ctx, "SELECT name FROM participants"+
		" WHERE login = $1 AND login <> '' AND NOT guest AND name <> '' ORDER BY id DESC LIMIT 1", fold(login)).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("reading a login's name: %w", err)
	}
	return name, nil
}
