// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"slices"

	"github.com/chmail/chmail/chatrelay/chat"
)

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
