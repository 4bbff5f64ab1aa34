// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
)

// TeamStore has what the members of a group do about its rooms, and the lists
// of the desk.
type TeamStore interface {
	Rooms(ctx context.Context, login string, q chat.RoomQuery) ([]chat.Summary, error)
	Summary(ctx context.Context, login, roomID string) (chat.Summary, error)
	Desks(ctx context.Context, roomID string) ([]string, error)
	Dismiss(ctx context.Context, login, roomID string) ([]string, error)
	Assign(ctx context.Context, login, roomID, group, to string, was *string) error
	Take(ctx context.Context, login, roomID string) (taken bool, err error)
	AddTeamNote(ctx context.Context, login, roomID string, n chat.TeamNote) (chat.TeamNote, error)
	TeamNotes(ctx context.Context, login, roomID string) ([]chat.TeamNote, error)
	Label(ctx context.Context, login, roomID, group, label string, on bool) error
	Labels(ctx context.Context, login string) ([]chat.Label, error)
	Figures(ctx context.Context, login string, from, until time.Time, zone *time.Location) (chat.Figures, error)
}

// Rooms lists the conversations of a login and its groups; store.Store documents it.
func (r *Relay) Rooms(ctx context.Context, login string, q chat.RoomQuery) ([]chat.Summary, error) {
	list, err := r.opt.Rooms.Rooms(ctx, login, q)
	for i := range list {
		shorten(&list[i])
	}
	return list, err
}

// Summary is a conversation as Rooms lists it. chat.ErrUnknown: it is none of
// the login's.
func (r *Relay) Summary(ctx context.Context, login, roomID string) (chat.Summary, error) {
	c, err := r.opt.Rooms.Summary(ctx, login, roomID)
	shorten(&c)
	return c, err
}

// shorten leaves the participants whom a list needs: not the hidden ones, and of
// many those who are named first, and those whom the rest of the summary names.
func shorten(c *chat.Summary) {
	c.Participants = chat.Listed(c.Participants, c.Me)
	if c.People = len(c.Participants); c.People <= chat.MaxListed {
		return
	}
	named := []int64{c.Me, c.Owner}
	if c.Last != nil {
		named = append(named, c.Last.From)
	}
	if c.Missed != nil {
		named = append(named, c.Missed.From)
	}
	kept := make([]chat.Participant, 0, chat.MaxListed+len(named))
	for i, p := range c.Participants {
		if i < chat.MaxListed || slices.Contains(named, p.ID) {
			kept = append(kept, p)
		}
	}
	c.Participants = kept
}

// Dismiss makes a login's missed calls be forgotten at all its desks: those of a
// room or, when roomID is empty, of all. chat.ErrUnknown: the room is none of the
// login's.
func (r *Relay) Dismiss(ctx context.Context, login, roomID string) error {
	rooms, err := r.opt.Rooms.Dismiss(ctx, login, roomID)
	for _, id := range rooms {
		r.news.add(id, login)
	}
	return err
}

// Assign makes a member of a group look after a room, or nobody; store.Store
// documents it. All desks of the room learn of it.
func (r *Relay) Assign(ctx context.Context, login, roomID, group, to string, was *string) error {
	err := r.opt.Rooms.Assign(ctx, login, roomID, group, to, was)
	if err == nil || errors.Is(err, chat.ErrTaken) { // who had seen something older sees it now
		r.news.add(roomID)
	}
	return err
}

// take makes a member of a group, who said something in a room or answered
// there, look after it if nobody does. It never waits.
func (h *liveRoom) take(login string) {
	groups := h.r.groupsOf(login)[1:]
	if !slices.ContainsFunc(h.info.Participants, func(p chat.Participant) bool {
		return !p.Guest && slices.Contains(groups, p.Login)
	}) {
		return
	}
	h.r.later("taking a room", func() {
		ctx, cancel := h.store()
		defer cancel()
		taken, err := h.r.opt.Rooms.Take(ctx, login, h.id)
		if err != nil {
			h.log("taking a room", err)
		}
		if taken {
			h.r.news.add(h.id)
		}
	})
}

// AddTeamNote notes something about a room for colleagues; store.Store documents
// it. chat.ErrQuery: there is nothing to see in it.
func (r *Relay) AddTeamNote(ctx context.Context, login, roomID string, n chat.TeamNote) (chat.TeamNote, error) {
	var err error
	if n.Text, err = clean.Message(n.Text, chat.MaxTeamNote); err != nil {
		return n, fmt.Errorf("adding a note: %w: %w", chat.ErrFull, err)
	}
	if n.Text == "" || n.ID == "" {
		return n, fmt.Errorf("adding a note: %w", chat.ErrQuery)
	}
	n, err = r.opt.Rooms.AddTeamNote(ctx, login, roomID, n)
	if err == nil {
		r.news.add(roomID)
	}
	return n, err
}

// TeamNotes are the notes of a login and its groups about a room; store.Store
// documents it.
func (r *Relay) TeamNotes(ctx context.Context, login, roomID string) ([]chat.TeamNote, error) {
	return r.opt.Rooms.TeamNotes(ctx, login, roomID)
}

// Label puts a label on a room or takes it away; store.Store documents it.
func (r *Relay) Label(ctx context.Context, login, roomID, group, label string, on bool) error {
	err := r.opt.Rooms.Label(ctx, login, roomID, group, label, on)
	if err == nil {
		r.news.add(roomID)
	}
	return err
}

// Labels are those of a login and its groups; store.Store documents it.
func (r *Relay) Labels(ctx context.Context, login string) ([]chat.Label, error) {
	return r.opt.Rooms.Labels(ctx, login)
}

// Colleagues are a group and its members.
type Colleagues struct {
	Group   string      `json:"group"`
	Members []Colleague `json:"members"`
}

// Colleague is a member of a group.
type Colleague struct {
	Login string `json:"login"`
	State string `json:"state"` // of frame.Status
	Busy  bool   `json:"busy,omitempty"`
}

// Colleagues are the members of a login's groups, and whether they are there.
func (r *Relay) Colleagues(ctx context.Context, login string) []Colleagues {
	list := []Colleagues{}
	groups := r.groupsOf(login)[1:]
	slices.Sort(groups)
	for _, g := range groups {
		c := Colleagues{Group: g}
		for _, m := range r.members(g) {
			s := r.Status(ctx, m)
			c.Members = append(c.Members, Colleague{m, s.State, s.Busy})
		}
		list = append(list, c)
	}
	return list
}

// Figures count how a login and its groups were asked for in so many days, until
// a day like "2026-11-20"; empty: today. Days are those of the login's time zone.
// chat.ErrQuery: too many days or none, or no day.
func (r *Relay) Figures(ctx context.Context, login string, days int, until string) (chat.Figures, error) {
	of, err := r.opt.Rooms.Settings(ctx, login)
	if err != nil {
		return chat.Figures{}, err
	}
	zone, failed := time.LoadLocation(of[login].Zone)
	if failed != nil {
		zone = time.UTC
	}
	last := time.Now().In(zone)
	if until != "" {
		last, err = time.ParseInLocation(time.DateOnly, until, zone)
	}
	if err != nil || days < 1 || days > chat.MaxFigureDays {
		return chat.Figures{}, fmt.Errorf("counting attempts: %w: %d days until %q", chat.ErrQuery, days, until)
	}
	end := time.Date(last.Year(), last.Month(), last.Day()+1, 0, 0, 0, 0, zone)
	begin := time.Date(last.Year(), last.Month(), last.Day()+1-days, 0, 0, 0, 0, zone)
	return r.opt.Rooms.Figures(ctx, login, begin, end, zone)
}
