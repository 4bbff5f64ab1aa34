// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
)

// words is the cleaned text of a frame that says something. If it is empty,
// the frame has been refused or the connection ends with the error.
func (s *session) words(f *frame.Frame) (string, error) {
	if f.ID == "" || len(f.ID) > frame.MaxID || f.Text == "" {
		return "", &fault{frame.ErrBadFrame, f.T + " needs an id of at most 64 octets and a text"}
	}
	// More than may be kept is refused as it came, so that a page can tell before.
	text, err := clean.Message(f.Text, frame.MaxText)
	switch {
	case err != nil || len(f.Text) > frame.MaxText:
		s.refuse(f.ID, frame.ErrTooLarge, "a message is at most 16 KiB long")
		return "", nil
	case text == "":
		s.refuse(f.ID, frame.ErrEmpty, "there is nothing to see in this message")
	}
	return text, nil
}

// refuse answers a frame that cannot be done; the connection goes on.
func (s *session) refuse(id, code, text string) {
	s.out.Put(frame.Encode(&frame.Frame{T: frame.TError, ID: id, Code: code, Text: text}))
}

// change commits an edit or a delete of one's own message. It is a message
// itself, so that everybody learns of it exactly once.
func (s *session) change(ctx context.Context, f *frame.Frame) error {
	m := chat.Message{ID: f.ID, From: s.me, Kind: chat.KindDelete, Ref: f.Offset, Via: s.via()}
	if f.T == frame.TEdit {
		text, err := s.words(f)
		if text == "" {
			return err
		}
		m.Kind, m.Text = chat.KindEdit, text
	} else if f.ID == "" || len(f.ID) > frame.MaxID {
		return &fault{frame.ErrBadFrame, "delete needs an id of at most 64 octets"}
	}
	if !s.turn() {
		s.tooOften(f.ID, turnWait)
		return nil
	}
	s.own.add(f.ID)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	m, err := s.r.opt.Rooms.Change(ctx, s.r.home(), s.room.id, m, s.access.Since)
	if err == nil {
		s.room.do(func() { s.room.posted(s, m) })
		return nil
	}
	if errors.Is(err, chat.ErrMoved) {
		s.room.post(s.room.moved) // the client sends it again to the room's new home
		return nil
	}
	s.own.take(f.ID)
	switch {
	case errors.Is(err, chat.ErrForbidden):
		s.refuse(f.ID, frame.ErrForbidden, "this message cannot be changed")
	case errors.Is(err, chat.ErrLate):
		s.refuse(f.ID, frame.ErrTooLate, "a message can be changed for 15 minutes")
	default:
		s.r.log.Warn("changing a message", "room", s.room.id, "err", err)
		s.refuse(f.ID, frame.ErrStore, "the change could not be kept, send it again")
	}
	return nil
}
