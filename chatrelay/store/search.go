// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
	tidy "github.com/chmail/chmail/internal/clean"
)

const (
	maxQuery     = 200 // characters of a search
	maxWords     = 8   // of a search; what follows is left out
	maxHits      = 50
	searchRooms  = 100             // looked into by one statement
	searchWithin = 2 * time.Second // one search; then what was found so far is returned
	snippetRunes = 160
	snippetLead  = 40 // runes before what was found
)

// Search finds messages of a login's conversations whose text, or whose file's
// name, has all the words of q, whatever their case and their accents; the conversation with the
// newest message first and in it the newest message. more is not empty when
// there may be more: it is after for the next call. The words may stand within
// others, as Korean needs. ErrQuery: nothing to search for, or after is not
// from here.
func (s *Store) Search(
	ctx context.Context, login, q, after string, limit int,
) (hits []chat.Hit, more string, err error) {
	words := strings.Fields(tidy.Line(q, maxQuery, 4*maxQuery))
	c, ok := readCursor(after)
	if len(words) == 0 || utf8.RuneCountInString(q) > maxQuery || !ok {
		return nil, "", fmt.Errorf("searching: %w", chat.ErrQuery)
	}
	words = words[:min(len(words), maxWords)]
	if limit <= 0 || limit > maxHits {
		limit = maxHits
	}
	timed, cancel := context.WithTimeout(ctx, searchWithin)
	defer cancel()
	for {
		rooms, err := s.searchable(timed, login, c)
		if len(rooms) == 0 && err == nil {
			return hits, "", nil
		}
		var found []chat.Hit
		if err == nil {
			found, err = s.searchIn(timed, rooms, words, c, limit+1-len(hits))
		}
		if err != nil {
			if timed.Err() != nil && ctx.Err() == nil && c.String() != after { // some way has been made
				return hits, c.String(), nil
			}
			return nil, "", fmt.Errorf("searching: %w", err)
		}
		hits = append(hits, found...)
		if len(hits) > limit {
			last := hits[limit-1]
			i := slices.IndexFunc(rooms, func(r searchRoom) bool { return r.id == last.Room })
			return hits[:limit], cursor{rooms[i].touched, last.Room, last.Offset}.String(), nil
		}
		end := rooms[len(rooms)-1]
		c = cursor{end.touched, end.id, 0}
	}
}

// cursor is how far a search has come: everything of newer rooms, and of this
// one the messages from pos on.
type cursor struct {
	touched int64
	room    string
	pos     int64
}

func (c cursor) String() string {
	if c.room == "" {
		return ""
	}
	return fmt.Sprintf("%d.%d.%s", c.touched, c.pos, c.room)
}

func readCursor(s string) (c cursor, ok bool) {
	if s == "" {
		return c, true
	}
	n, err := fmt.Sscanf(s, "%d.%d.%s", &c.touched, &c.pos, &c.room)
	return c, err == nil && n == 3 && len(c.room) <= chat.MaxMessageID && c.String() == s
}

type searchRoom struct {
	id, subject string
	touched     int64
}

// searchable returns a login's next rooms.
func (s *Store) searchable(ctx context.Context, login string, c cursor) ([]searchRoom, error) {
	if c.room == "" {
		c.touched = micros(time.Now().AddDate(1, 0, 0))
	}
	// The cursor's room comes again while some of it is left.
	return collect(ctx, s.read, func(rows *sql.Rows) (r searchRoom, err error) {
		err = rows.Scan(&r.id, &r.subject, &r.touched)
		return r, err
	}, "SELECT r.id, r.subject, r.touched FROM rooms r WHERE r.id IN (SELECT p.room FROM participants p WHERE "+
		theirs("$1")+") AND (r.touched < $2 OR r.touched = $2 AND (r.id > $3"+
		" OR r.id = $3 AND CAST($4 AS BIGINT) > 0))"+
		" ORDER BY r.touched DESC, r.id LIMIT $5", fold(login), c.touched, c.room, c.pos, searchRooms)
}

func (s *Store) searchIn(
	ctx context.Context, rooms []searchRoom, words []string, c cursor, limit int,
) ([]chat.Hit, error) {
	args := params{c.room, c.pos}
	like, patterns := "GLOB", globs
	if s.Shared() {
		like, patterns = "~", expressions
	}
	query := "SELECT m.room, m.pos, m.sender, CASE WHEN p.name <> '' THEN p.name ELSE COALESCE(p.addr, '') END," +
		" m.at, m.kind, m.body" +
		" FROM messages m JOIN rooms r ON r.id = m.room" +
		" LEFT JOIN participants p ON p.id = m.sender AND p.room = m.room" +
		" LEFT JOIN files f ON f.room = m.room AND f.pos = m.pos" +
		" WHERE (m.room <> $1 OR CAST($2 AS BIGINT) = 0 OR m.pos < $2)" +
		" AND m.kind IN ('text', 'mail', 'file') AND NOT m.deleted"
	for _, word := range words {
		var any []string
		for _, pattern := range patterns(word) {
			place := args.put(pattern)
			any = append(any, fmt.Sprintf("m.body %s %s OR f.name %s %s", like, place, like, place))
		}
		query += " AND (" + strings.Join(any, " OR ") + ")"
	}
	ids := make([]string, len(rooms))
	for i, r := range rooms {
		ids[i] = r.id
	}
	query += " AND m.room IN " + among(&args, ids) + " ORDER BY r.touched DESC, r.id, m.pos DESC LIMIT " + args.put(limit)
	hits, err := collect(ctx, s.read, func(rows *sql.Rows) (h chat.Hit, err error) {
		var at int64
		var text string
		err = rows.Scan(&h.Room, &h.Offset, &h.From, &h.Name, &at, &h.Kind, &text)
		h.At, h.Snippet = moment(at), snippet(text, words[0])
		return h, err
	}, query, args...)
	for i := range hits {
		h := &hits[i]
		h.Subject = rooms[slices.IndexFunc(rooms, func(r searchRoom) bool { return r.id == h.Room })].subject
		if h.Kind == chat.KindFile && err == nil {
			h.File, err = s.fileAt(ctx, h.Room, h.Offset)
		}
	}
	return hits, err
}

// snippet is one line of the text around a word.
func snippet(text, word string) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	plain := alike(string(runes)) // as many runes
	start := 0
	for _, spelling := range spellings(word) {
		if at := strings.Index(plain, alike(spelling)); at > 0 {
			start = max(0, utf8.RuneCountInString(plain[:at])-snippetLead)
			break
		}
	}
	end := min(len(runes), start+snippetRunes)
	s := string(runes[start:end])
	if start > 0 {
		s = "…" + s
	}
	if end < len(runes) {
		s += "…"
	}
	return s
}
