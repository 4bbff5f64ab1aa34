// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

// Limits of what a team keeps about a room.
const (
	maxLabel       = 40   // characters
	maxLabelOctets = 160  //
	maxLabelsRoom  = 10   // of a login or group at one room
	maxLabels      = 200  // of a login or group, in all
	maxTeamNotes   = 2000 // of a login or group about one room
)

// Assign makes a member of a group, to, look after a room; empty: nobody does.
// An empty group stands for the only one, or first, that login shares with the
// room. was, unless it is nil, is who login believes looks after it. ErrTaken:
// somebody else does. ErrUnknown: no such group of the login is in the room, or to
// is no member.
func (s *Store) Assign(ctx context.Context, login, roomID, group, to string, was *string) error {
	err := s.tx(ctx, func(tx querier) error {
		p, err := s.teamIn(ctx, tx, login, roomID, group)
		if err != nil {
			return err
		}
		var now string
		err = tx.QueryRowContext(ctx, "SELECT assignee FROM participants WHERE id = $1"+s.forUpdate, p.ID).Scan(&now)
		if err != nil {
			return known(err)
		}
		to = fold(to)
		switch {
		case p.Login == fold(login):
			return chat.ErrUnknown // no group
		case was != nil && now != fold(*was):
			return chat.ErrTaken
		case to != "":
			var n int
			err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM members WHERE addr = $1 AND login = $2",
				p.Login, to).Scan(&n)
			if err != nil || n == 0 {
				return cmp.Or(err, chat.ErrUnknown)
			}
		}
		_, err = tx.ExecContext(ctx, "UPDATE participants SET assignee = $1 WHERE id = $2", to, p.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("assigning a room: %w", err)
	}
	return nil
}

// Take makes a member of a group look after a room that nobody looks after, and
// says whether that changed anything. It writes nothing otherwise.
func (s *Store) Take(ctx context.Context, login, roomID string) (taken bool, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM participants p WHERE p.room = $1"+free("$2")+")",
		roomID, fold(login)).Scan(&taken)
	if err == nil && taken {
		taken, err = take(ctx, s.write, login, roomID)
	}
	if err != nil {
		return false, fmt.Errorf("taking a room: %w", err)
	}
	return taken, nil
}

// free is the rest of a condition: participant p is a group of a login, the
// parameter, and nobody looks after its room.
func free(login string) string {
	return " AND p.assignee = '' AND p.login <> '' AND NOT p.guest AND p.login IN" +
		" (SELECT m.addr FROM members m WHERE m.login = " + login + ")"
}

func take(ctx context.Context, q querier, login, roomID string) (taken bool, err error) {
	done, err := q.ExecContext(ctx, "UPDATE participants AS p SET assignee = $1 WHERE p.room = $2"+free("$1"),
		fold(login), roomID)
	if err != nil {
		return false, err
	}
	n, err := done.RowsAffected()
	return n > 0, err
}

// takeFor is Take for a participant of the room.
func takeFor(ctx context.Context, tx querier, roomID string, participant int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE participants AS p"+
		" SET assignee = (SELECT f.login FROM participants f WHERE f.id = $1) WHERE p.room = $2"+
		free("(SELECT f.login FROM participants f WHERE f.id = $1 AND f.login <> '' AND NOT f.guest)"),
		participant, roomID)
	return err
}

// teamIn returns the participant that a group of a login is in a room; where
// there is none, the login's own. An empty group stands for the first.
func (s *Store) teamIn(ctx context.Context, q querier, login, roomID, group string) (chat.Participant, error) {
	teams, err := teamsOf(ctx, q, login)
	if err != nil {
		return chat.Participant{}, err
	}
	list, err := s.place(ctx, q, teams, roomID)
	if err != nil {
		return chat.Participant{}, err
	}
	i := slices.IndexFunc(list, func(p chat.Participant) bool {
		return p.Login != teams[0] && (group == "" || p.Login == fold(group))
	})
	switch {
	case i >= 0:
		return list[i], nil
	case group == "" || fold(group) == teams[0]:
		return list[0], nil
	}
	return chat.Participant{}, chat.ErrUnknown
}

// AddTeamNote stores a note about a room for the colleagues of a group, or for
// the login alone where none of its groups is in the room. It is no message of
// the room, and whoever reads messages never reads it. The same n.ID again adds
// nothing. ErrUnknown is as of Assign. ErrFull: too many, or too long.
func (s *Store) AddTeamNote(ctx context.Context, login, roomID string, n chat.TeamNote) (chat.TeamNote, error) {
	n.Login, n.At = fold(login), moment(micros(time.Now()))
	err := s.tx(ctx, func(tx querier) (err error) {
		if n.ID, err = whole("note id", n.ID, chat.MaxMessageID); err != nil {
			return err
		}
		if n.Text, err = whole("note", n.Text, chat.MaxTeamNote); err != nil {
			return err
		}
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return err
		}
		team, err := s.teamIn(ctx, tx, login, roomID, n.Group)
		if err != nil {
			return err
		}
		n.Group = team.Login
		before, err := collect(ctx, tx, scanTeamNote, "SELECT "+teamNoteColumns+" FROM team_notes n"+
			" WHERE n.room = $1 AND n.owner = $2 AND n.login = $3 AND n.id = $4", roomID, n.Group, n.Login, n.ID)
		if err != nil {
			return err
		}
		if len(before) > 0 {
			n = before[0]
			return nil
		}
		err = tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(n.pos), 0) + 1, (SELECT r.next - 1 FROM rooms r WHERE r.id = $1)"+
			" FROM team_notes n WHERE n.room = $1 AND n.owner = $2", roomID, n.Group).Scan(&n.Pos, &n.Behind)
		if err != nil {
			return err
		}
		if n.Pos > maxTeamNotes {
			return fmt.Errorf("%w: %d notes", chat.ErrFull, n.Pos-1)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO team_notes (room, owner, pos, id, login, body, behind, at)"+
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
			roomID, n.Group, n.Pos, n.ID, n.Login, n.Text, n.Behind, micros(n.At))
		return err
	})
	if err != nil {
		return chat.TeamNote{}, fmt.Errorf("adding a note: %w", err)
	}
	return n, nil
}

const teamNoteColumns = "n.owner, n.pos, n.id, n.login, n.body, n.behind, n.at"

func scanTeamNote(rows *sql.Rows) (n chat.TeamNote, err error) {
	var at int64
	err = rows.Scan(&n.Group, &n.Pos, &n.ID, &n.Login, &n.Text, &n.Behind, &at)
	n.At = moment(at)
	return n, err
}

// TeamNotes returns what a login and its groups noted about a room, oldest
// first. ErrUnknown: neither the login nor a group of it is in the room.
func (s *Store) TeamNotes(ctx context.Context, login, roomID string) ([]chat.TeamNote, error) {
	teams, err := teamsOf(ctx, s.read, login)
	if err == nil {
		_, err = s.place(ctx, s.read, teams, roomID)
	}
	var list []chat.TeamNote
	if err == nil {
		var args params
		list, err = collect(ctx, s.read, scanTeamNote, "SELECT "+teamNoteColumns+" FROM team_notes n"+
			" WHERE n.room = "+args.put(roomID)+" AND n.owner IN "+among(&args, teams)+
			" ORDER BY n.at, n.owner, n.pos", args...)
	}
	if err != nil {
		return nil, fmt.Errorf("reading notes: %w", err)
	}
	return list, nil
}

// Label puts a label on a room for a group of the login, or for the login alone
// where none of its groups is in the room; off takes it away. ErrUnknown is as
// of Assign. ErrQuery: nothing of the label can be seen. ErrFull: too many.
func (s *Store) Label(ctx context.Context, login, roomID, group, label string, on bool) error {
	label = tidy.Line(label, maxLabel, maxLabelOctets)
	err := s.tx(ctx, func(tx querier) error {
		if label == "" {
			return chat.ErrQuery
		}
		team, err := s.teamIn(ctx, tx, login, roomID, group)
		if err != nil {
			return err
		}
		if !on {
			_, err := tx.ExecContext(ctx, "DELETE FROM labels WHERE owner = $1 AND room = $2 AND label = $3",
				team.Login, roomID, label)
			return err
		}
		if err := s.lockRoom(ctx, tx, roomID); err != nil {
			return err
		}
		var here, all, same int
		err = tx.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM labels WHERE owner = $1 AND room = $2 AND label <> $3),"+
			" (SELECT COUNT(DISTINCT label) FROM labels WHERE owner = $1),"+
			" (SELECT COUNT(*) FROM labels WHERE owner = $1 AND label = $3)", team.Login, roomID, label).
			Scan(&here, &all, &same)
		switch {
		case err != nil:
			return err
		case here >= maxLabelsRoom || same == 0 && all >= maxLabels:
			return fmt.Errorf("%w: %d labels at the room, %d in all", chat.ErrFull, here, all)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO labels (owner, room, label) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			team.Login, roomID, label)
		return err
	})
	if err != nil {
		return fmt.Errorf("labelling a room: %w", err)
	}
	return nil
}

// Labels returns the labels of a login and its groups, by name.
func (s *Store) Labels(ctx context.Context, login string) ([]chat.Label, error) {
	teams, err := teamsOf(ctx, s.read, login)
	var list []chat.Label
	if err == nil {
		var args params
		list, err = collect(ctx, s.read, func(rows *sql.Rows) (l chat.Label, err error) {
			err = rows.Scan(&l.Label, &l.Rooms)
			return l, err
		}, "SELECT label, COUNT(DISTINCT room) FROM labels WHERE owner IN "+among(&args, teams)+
			" GROUP BY label ORDER BY label LIMIT "+args.put(maxPage), args...)
	}
	if err != nil {
		return nil, fmt.Errorf("reading labels: %w", err)
	}
	return list, nil
}
