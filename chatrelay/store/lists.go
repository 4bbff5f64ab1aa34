// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// params are the parameters of a statement, numbered in the order of their
// appearance.
type params []any

// put adds a parameter and returns its place in the statement.
func (p *params) put(v any) string {
	*p = append(*p, v)
	return "$" + strconv.Itoa(len(*p))
}

// among adds parameters and returns a list of them for IN.
func among[T any](p *params, values []T) string {
	places := make([]string, len(values))
	for i, v := range values {
		places[i] = p.put(v)
	}
	return "(" + strings.Join(places, ", ") + ")"
}

// folded are values in the form in which they are compared.
func folded(values []string) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = fold(v)
	}
	return list
}

// teamsOf returns a login and the groups of which it is a member.
func teamsOf(ctx context.Context, q querier, login string) ([]string, error) {
	login = fold(login)
	groups, err := collect(ctx, q, func(rows *sql.Rows) (addr string, err error) {
		err = rows.Scan(&addr)
		return addr, err
	}, "SELECT DISTINCT addr FROM members WHERE login = $1 ORDER BY addr LIMIT $2", login, maxPage)
	return append([]string{login}, groups...), err
}

// Rooms returns a list of the rooms of a login and of its groups, the one with
// the newest message first. To read on, q.Before is Touched of the last one.
func (s *Store) Rooms(ctx context.Context, login string, q chat.RoomQuery) (list []chat.Summary, err error) {
	teams, err := teamsOf(ctx, s.read, login)
	if err == nil && teams[0] != "" {
		var ids []string
		if ids, err = s.listed(ctx, teams, q); err == nil {
			list, err = s.summaries(ctx, teams, ids)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the conversations of a login: %w", err)
	}
	return list, nil
}

// Summary returns one room as Rooms does. ErrUnknown: neither the login nor a
// group of it is in that room.
func (s *Store) Summary(ctx context.Context, login, roomID string) (chat.Summary, error) {
	teams, err := teamsOf(ctx, s.read, login)
	var list []chat.Summary
	if err == nil {
		list, err = s.summaries(ctx, teams, []string{roomID})
	}
	if err == nil && len(list) == 0 {
		err = chat.ErrUnknown
	}
	if err != nil {
		return chat.Summary{}, fmt.Errorf("reading a conversation of a login: %w", err)
	}
	return list[0], nil
}

// Desks returns the logins at whose desks a room is listed: the participants
// and the members of groups.
func (s *Store) Desks(ctx context.Context, roomID string) ([]string, error) {
	list, err := collect(ctx, s.read, func(rows *sql.Rows) (login string, err error) {
		err = rows.Scan(&login)
		return login, err
	}, "SELECT DISTINCT COALESCE(m.login, p.login) FROM participants p LEFT JOIN members m ON m.addr = p.login"+
		" WHERE p.room = $1 AND p.login <> '' AND NOT p.guest", roomID)
	if err != nil {
		return nil, fmt.Errorf("reading at whose desks a room is: %w", err)
	}
	return list, nil
}

// listed returns the rooms of a list, for a login and its groups.
func (s *Store) listed(ctx context.Context, teams []string, q chat.RoomQuery) ([]string, error) {
	until := q.Before
	if until.IsZero() {
		until = time.Now().AddDate(1, 0, 0)
	}
	var args params
	query := "SELECT r.id FROM rooms r WHERE r.id IN (SELECT p.room FROM participants p WHERE p.login IN " +
		among(&args, teams) + " AND p.login <> '' AND NOT p.guest) AND r.touched < " + args.put(micros(until))
	// group is the condition that a group of the login is in the room, with an
	// assignee of these; nil: with any or none.
	group := func(assignees ...string) string {
		if len(teams) == 1 {
			return "FALSE"
		}
		query := "EXISTS (SELECT 1 FROM participants g WHERE g.room = r.id AND NOT g.guest AND g.login IN " +
			among(&args, teams[1:])
		if assignees != nil {
			query += " AND g.assignee IN " + among(&args, assignees)
		}
		return query + ")"
	}
	switch {
	case q.Label != "":
		query += " AND r.id IN (SELECT l.room FROM labels l WHERE l.owner IN " + among(&args, teams) +
			" AND l.label = " + args.put(q.Label) + ")"
	case q.List == chat.ListChats:
		query += " AND r.talked > 0 AND (NOT " + group() + " OR " + group("", teams[0]) + ")"
	case q.List == chat.ListMine:
		query += " AND r.talked > 0 AND (NOT " + group() + " OR " + group(teams[0]) + ")"
	case q.List == chat.ListUnassigned:
		query += " AND r.talked > 0 AND " + group("")
	case q.List == chat.ListAll:
		query += " AND r.talked > 0"
	case q.List == chat.ListMails:
		query += " AND r.talked = 0"
	case q.List == chat.ListMissed:
		query += " AND r.id IN (SELECT a.room" + missed(&args, teams) + ")"
	default:
		return nil, fmt.Errorf("%w: there is no list %q", chat.ErrQuery, q.List)
	}
	query += " ORDER BY r.touched DESC, r.id LIMIT " + args.put(page(q.Limit))
	return collect(ctx, s.read, func(rows *sql.Rows) (id string, err error) {
		err = rows.Scan(&id)
		return id, err
	}, query, args...)
}

// missed is FROM and WHERE of the attempts that a login and its groups missed.
func missed(args *params, teams []string) string {
	return " FROM participants p JOIN attempts a ON a.callee = p.id WHERE p.login IN " + among(args, teams) +
		" AND p.login <> '' AND NOT p.guest AND a.ended <> 0 AND NOT a.acked" +
		" AND a.state IN ('alarmed', 'unanswered', 'cancelled') AND " + undismissed(args.put(teams[0]))
}

// undismissed is the condition that a login, the parameter, has not dismissed
// the attempt a.
func undismissed(param string) string {
	return "NOT EXISTS (SELECT 1 FROM dismissals d WHERE d.login = " + param +
		" AND d.room = a.room AND d.at >= a.started)"
}

// Dismiss makes a login's missed calls be forgotten, those of one room or, when
// roomID is empty, of all, and returns of which rooms. ErrUnknown: no missed
// calls of the login are there.
func (s *Store) Dismiss(ctx context.Context, login, roomID string) (rooms []string, err error) {
	err = s.tx(ctx, func(tx querier) error {
		teams, err := teamsOf(ctx, tx, login)
		if err != nil {
			return err
		}
		var args params
		query := "SELECT DISTINCT a.room" + missed(&args, teams)
		if roomID != "" {
			query += " AND a.room = " + args.put(roomID)
		}
		rooms, err = collect(ctx, tx, func(rows *sql.Rows) (id string, err error) {
			err = rows.Scan(&id)
			return id, err
		}, query+" ORDER BY a.room LIMIT "+args.put(maxPage), args...)
		now := micros(time.Now())
		for _, id := range rooms {
			if err != nil {
				break
			}
			_, err = tx.ExecContext(ctx, "INSERT INTO dismissals (login, room, at) VALUES ($1, $2, $3)"+
				" ON CONFLICT (login, room) DO UPDATE SET at = excluded.at", teams[0], id, now)
		}
		if err == nil && roomID != "" && len(rooms) == 0 {
			_, err = s.place(ctx, tx, teams, roomID) // dismissed before, perhaps on another device
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("dismissing missed calls: %w", err)
	}
	return rooms, nil
}

// place returns the participants that a login and its groups are in a room, the
// login's own first. ErrUnknown: there is none.
func (s *Store) place(ctx context.Context, q querier, teams []string, roomID string) ([]chat.Participant, error) {
	var args params
	list, err := collect(ctx, q, func(rows *sql.Rows) (p chat.Participant, err error) {
		err = rows.Scan(participantFields(&p)...)
		return p, err
	}, "SELECT "+participantColumns+" FROM participants p WHERE p.room = "+args.put(roomID)+
		" AND NOT p.guest AND p.login <> '' AND p.login IN "+among(&args, teams)+" ORDER BY p.id", args...)
	if err == nil && len(list) == 0 {
		err = chat.ErrUnknown
	}
	slices.SortStableFunc(list, func(a, b chat.Participant) int {
		return slices.Index(teams, a.Login) - slices.Index(teams, b.Login)
	})
	return list, err
}

// summaries returns rooms as a login sees them, in the order of ids. Rooms in
// which neither the login nor a group of it is are left out.
func (s *Store) summaries(ctx context.Context, teams, ids []string) ([]chat.Summary, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var args params
	list, err := collect(ctx, s.read, summary,
		"SELECT r.id, r.epoch, r.next, r.subject, r.created, r.owner, r.touched, r.talked,"+
			" m.pos, m.id, m.sender, m.kind, m.body, m.at, m.edited, m.deleted, m.via"+
			" FROM rooms r LEFT JOIN messages m ON m.room = r.id AND m.pos ="+
			" (SELECT l.pos FROM messages l WHERE l.room = r.id AND "+isLine("l")+" ORDER BY l.pos DESC LIMIT 1)"+
			" WHERE r.id IN "+among(&args, ids), args...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b chat.Summary) int { return slices.Index(ids, a.ID) - slices.Index(ids, b.ID) })
	of := make(map[string]*chat.Summary, len(list))
	for i := range list {
		of[list[i].ID] = &list[i]
	}
	for _, add := range []func(context.Context, []string, []string, map[string]*chat.Summary) error{
		s.addPeople, s.addUnread, s.addMissed, s.addLabels, s.addNotes} {
		if err := add(ctx, teams, ids, of); err != nil {
			return nil, err
		}
	}
	list = slices.DeleteFunc(list, func(c chat.Summary) bool { return c.Me == 0 })
	for i := range list {
		if m := list[i].Last; m != nil && m.Kind == chat.KindFile && !m.Deleted {
			if m.File, err = s.fileAt(ctx, list[i].ID, m.Offset); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// summary scans a room and its newest message.
func summary(rows *sql.Rows) (c chat.Summary, err error) {
	var created, touched, talked int64
	var offset, from, at, edited sql.NullInt64
	var id, kind, text, via sql.NullString
	var deleted sql.NullBool
	err = rows.Scan(&c.ID, &c.Epoch, &c.Next, &c.Subject, &created, &c.Owner, &touched, &talked,
		&offset, &id, &from, &kind, &text, &at, &edited, &deleted, &via)
	c.Created, c.Touched, c.Talked = moment(created), moment(touched), talked > 0
	if offset.Valid {
		c.Last = &chat.Message{Offset: offset.Int64, ID: id.String, From: from.Int64, Kind: kind.String,
			Text: chat.Storable(text.String, maxPreview), At: moment(at.Int64),
			Edited: moment(edited.Int64), Deleted: deleted.Bool, Via: via.String}
	}
	return c, err
}

// addPeople adds who is in each room and who of them the login is.
func (s *Store) addPeople(ctx context.Context, teams, ids []string, of map[string]*chat.Summary) error {
	var args params
	_, err := collect(ctx, s.read, func(rows *sql.Rows) (none struct{}, err error) {
		var room, assignee string
		var p chat.Participant
		var muted bool
		if err := rows.Scan(append([]any{&room, &muted, &assignee}, participantFields(&p)...)...); err != nil {
			return none, err
		}
		c := of[room]
		if c == nil {
			return none, nil
		}
		c.Participants = append(c.Participants, p)
		switch at := slices.Index(teams, p.Login); {
		case p.Login == "" || p.Guest || at < 0:
		case at == 0:
			c.Me, c.Muted = p.ID, muted
		default:
			if c.Me == 0 {
				c.Me = p.ID
			}
			c.Teams = append(c.Teams, chat.Team{Group: p.Login, Name: p.Name, Assignee: assignee})
		}
		return none, nil
	}, "SELECT p.room, p.muted, p.assignee, "+participantColumns+" FROM participants p WHERE p.room IN "+
		among(&args, ids)+" ORDER BY p.id", args...)
	return err
}

// addUnread counts what the login has not seen.
func (s *Store) addUnread(ctx context.Context, teams, _ []string, of map[string]*chat.Summary) error {
	var mine []int64
	for _, c := range of {
		colleague := func(t chat.Team) bool { return t.Assignee != "" && t.Assignee != teams[0] }
		if c.Me != 0 && !slices.ContainsFunc(c.Teams, colleague) {
			mine = append(mine, c.Me)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	var args params
	return count(ctx, s.read, func(room string, n int64) { of[room].Unread = n },
		"SELECT p.room, COUNT(*) FROM participants p JOIN messages u ON u.room = p.room WHERE p.id IN "+
			among(&args, mine)+" AND u.pos > p.seen AND u.sender <> p.id AND "+isLine("u")+
			" AND NOT u.deleted GROUP BY p.room", args...)
}

// addMissed adds the calls that the login missed.
func (s *Store) addMissed(ctx context.Context, teams, ids []string, of map[string]*chat.Summary) error {
	var args params
	query := "SELECT a.room, a.id, a.caller, a.started" + missed(&args, teams)
	_, err := collect(ctx, s.read, func(rows *sql.Rows) (none struct{}, err error) {
		var room string
		var m chat.Missed
		var at int64
		err = rows.Scan(&room, &m.Attempt, &m.From, &at)
		if c := of[room]; c != nil {
			if m.At, m.Count = moment(at), 1; c.Missed != nil {
				m.Count += c.Missed.Count
			}
			c.Missed = &m
		}
		return none, err
	}, query+" AND a.room IN "+among(&args, ids)+" ORDER BY a.started, a.id LIMIT "+args.put(maxPage), args...)
	return err
}

func (s *Store) addLabels(ctx context.Context, teams, ids []string, of map[string]*chat.Summary) error {
	var args params
	_, err := collect(ctx, s.read, func(rows *sql.Rows) (none struct{}, err error) {
		var room, label string
		err = rows.Scan(&room, &label)
		if c := of[room]; c != nil {
			c.Labels = append(c.Labels, label)
		}
		return none, err
	}, "SELECT DISTINCT l.room, l.label FROM labels l WHERE l.room IN "+among(&args, ids)+" AND l.owner IN "+
		among(&args, teams)+" ORDER BY l.label", args...)
	return err
}

func (s *Store) addNotes(ctx context.Context, teams, ids []string, of map[string]*chat.Summary) error {
	var args params
	return count(ctx, s.read, func(room string, n int64) { of[room].Notes = n },
		"SELECT n.room, COUNT(*) FROM team_notes n WHERE n.room IN "+among(&args, ids)+" AND n.owner IN "+
			among(&args, teams)+" GROUP BY n.room", args...)
}

// count reads a number for each room.
func count(ctx context.Context, q querier, put func(room string, n int64), query string, args ...any) error {
	_, err := collect(ctx, q, func(rows *sql.Rows) (none struct{}, err error) {
		var room string
		var n int64
		if err = rows.Scan(&room, &n); err == nil {
			put(room, n)
		}
		return none, err
	}, query, args...)
	return err
}
