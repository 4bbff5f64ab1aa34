// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
)

// TalkStore has the rooms that pages of other parts of the server ask for.
type TalkStore interface {
	OpenFromMail(ctx context.Context, m chat.Mail) (chat.Opened, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
}

// Talk opens the room of a mail that nobody sent, or finds it, and returns the link
// of its one recipient, which rings the sender. It is asked for by a page that knows
// who the recipient is. Errors are those of store.Store's OpenFromMail.
func (r *Relay) Talk(ctx context.Context, m chat.Mail) (roomID, token string, err error) {
	if len(m.Recipients) != 1 {
		return "", "", errors.New("opening a room: it has one recipient")
	}
	m.Unsent = true
	o, err := r.opt.Rooms.OpenFromMail(ctx, m)
	if err != nil {
		return "", "", err
	}
	return o.Room, o.Invites[m.Recipients[0].Addr], nil
}

// RoomOfMail is the room that a mail from an address opened; empty: none.
func (r *Relay) RoomOfMail(ctx context.Context, from, messageID string) (roomID string, err error) {
	roomID, err = r.opt.Rooms.RoomOfMail(ctx, from, messageID)
	if errors.Is(err, chat.ErrUnknown) {
		return "", nil
	}
	return roomID, err
}

// AnsweredIn is when the first call to a login, or to a group, in a room was answered after
// a time; the zero Time: none was.
func (r *Relay) AnsweredIn(ctx context.Context, roomID, callee string, after time.Time) (at time.Time, err error) {
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if errors.Is(err, chat.ErrUnknown) {
		return time.Time{}, nil // it was erased
	}
	var list []chat.Attempt
	if err == nil {
		list, err = r.opt.Rooms.Attempts(ctx, roomID, lookBack)
	}
	for _, a := range list { // the newest first
		if a.State == attempt.Answered && a.Ended.After(after) && info.Participant(a.Callee).Login == callee {
			at = a.Ended
		}
	}
	return at, err
}

// LinkInto makes a link into a room for a login that is in it, as for an answered
// ring: it rings whom the login's attempts would. chat.ErrUnknown: it is not in it.
func (r *Relay) LinkInto(ctx context.Context, login, roomID string) (token string, err error) {
	me, err := r.opt.Rooms.Member(ctx, login, roomID)
	if err != nil {
		return "", err
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return "", err
	}
	callee := r.calleeOf(info, me)
	if callee.ID == 0 {
		return "", fmt.Errorf("making a link into a room: %w: there is nobody to ring", chat.ErrUnknown)
	}
	return r.opt.Rooms.NewInvite(ctx, roomID, me.ID, callee.ID, info.Subject)
}

// Event is something that happened in a conversation, as other parts of the server
// are told of it. It may come twice.
type Event struct {
	Room string
	// Attempt is a call that came into a state, and Callee whom it rings; or nil.
	Attempt *chat.Attempt
	Callee  chat.Person
	// Message is what By said, in the chat or by mail; or nil.
	Message *chat.Message
	By      chat.Person // of an Attempt: the caller
}

// OnEvent makes f hear of what happens in the rooms that are served here. f must not
// wait.
func (r *Relay) OnEvent(f func(Event)) { r.heard.Store(&f) }

func (r *Relay) tellEvent(e Event) {
	if f := r.heard.Load(); f != nil {
		(*f)(e)
	}
}

// said tells of somebody's words.
func (r *Relay) said(roomID string, m chat.Message, by chat.Person) {
	r.tellEvent(Event{Room: roomID, Message: &m, By: by})
}

// mailed makes a mail appear in its room, and tells of it.
func (r *Relay) mailed(roomID string) {
	r.announce(roomID)
	if r.heard.Load() == nil {
		return
	}
	r.later("a mail into a room", func() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		defer cancel()
		info, err := r.opt.Rooms.Info(ctx, roomID)
		var last []chat.Message
		if err == nil {
			last, err = r.opt.Rooms.Messages(ctx, roomID, info.Next-2, 1)
		}
		if err != nil {
			r.log.Warn("reading a mail in its room", "room", roomID, "err", err)
		}
		if len(last) > 0 && last[0].Kind == chat.KindMail {
			r.said(roomID, last[0], info.Participant(last[0].From).Person)
		}
	})
}
