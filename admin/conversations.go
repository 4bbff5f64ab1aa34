// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Conversations are the rooms, and the links into them. Whoever came in by what is
// taken away leaves at once, where a server runs.
type Conversations interface {
	// ListRooms lists the conversations of a login or an address, the oldest first.
	ListRooms(ctx context.Context, who string) ([]Room, error)
	// RevokeLink takes back a link: an address https://…/c/TOKEN, or the token.
	RevokeLink(ctx context.Context, link string) error
	// RemovePerson puts a login, an address or "#" and a participant's ID out of a
	// room, and returns whom it was.
	RemovePerson(ctx context.Context, room, who string) (chat.Participant, error)
}

// Room is a conversation without its messages.
type Room struct {
	ID      string             `json:"id"`
	Subject string             `json:"subject"`
	Created time.Time          `json:"created"`
	People  []chat.Participant `json:"people"`
}

// ListRooms implements Conversations.
func (o *Owner) ListRooms(ctx context.Context, who string) ([]Room, error) {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return nil, err
	}
	of, err := rooms.Memberships(ctx, who)
	if err != nil {
		return nil, err
	}
	list := []Room{}
	for _, m := range of {
		if slices.ContainsFunc(list, func(r Room) bool { return r.ID == m.Room }) {
			continue
		}
		info, err := rooms.Info(ctx, m.Room)
		if err != nil {
			return nil, err
		}
		list = append(list, Room{info.ID, info.Subject, info.Created, info.Participants})
	}
	return list, nil
}

// RevokeLink implements Conversations.
func (o *Owner) RevokeLink(ctx context.Context, link string) error {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return err
	}
	err = rooms.Revoke(ctx, tokenOf(link))
	if errors.Is(err, chat.ErrUnknown) {
		return fmt.Errorf("there is no link %s: it is the address in the mail, https://…/c/…, or the 22 characters"+
			" behind /c/", link)
	}
	return err
}

// tokenOf is the token of a link as people copy it.
func tokenOf(link string) string {
	if _, token, ok := strings.Cut(link, "/c/"); ok {
		link = token
	}
	link = strings.TrimSpace(link)
	return link[:min(len(link), 22)]
}

// RemovePerson implements Conversations.
func (o *Owner) RemovePerson(ctx context.Context, room, who string) (chat.Participant, error) {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return chat.Participant{}, err
	}
	info, err := rooms.Info(ctx, room)
	if errors.Is(err, chat.ErrUnknown) {
		return chat.Participant{}, fmt.Errorf("there is no conversation %s: `chmaild room list %s` lists those of a person",
			room, who)
	}
	if err != nil {
		return chat.Participant{}, err
	}
	who = strings.ToLower(strings.TrimSpace(who))
	i := slices.IndexFunc(info.Participants, func(p chat.Participant) bool {
		return slices.Contains(p.Names(), who) && !p.Removed
	})
	if i < 0 {
		return chat.Participant{}, fmt.Errorf("%s is not in the conversation %s", who, room)
	}
	return info.Participants[i], rooms.Remove(ctx, "", room, info.Participants[i].ID)
}
