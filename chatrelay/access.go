// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// AccessStore says what a browser that came in through a link may do, and takes
// that away from it.
type AccessStore interface {
	Access(ctx context.Context, key string) (chat.Access, error)
	Came(ctx context.Context, roomID, key string) error
	Went(ctx context.Context, roomID, key string) error
	RevokeRoom(ctx context.Context, login, roomID string, participant int64) (int64, error)
	Remove(ctx context.Context, by, roomID string, participant int64) error
	OnAccess(f func(roomID string))
}

// Why somebody has to leave a room. After errRoom a client is out; after a fault of
// the code ErrTicket it asks the front door, which says what can be done.
var (
	errOut     = &fault{frame.ErrRoom, "you are not in this conversation"}
	errRevoked = &fault{frame.ErrTicket, "the link was taken back"}
	errExpired = &fault{frame.ErrTicket, "the link has expired"}
	errPutOut  = &fault{frame.ErrTicket, "this link lets this browser in no more: prove that it is yours," +
		" or come in as a guest"}
	errProven = &fault{frame.ErrTicket, "you have proven who you are: come in again"}
)

// RevokeLinks takes back the links into a room that ring a login or its groups, and
// returns how many there were; with a participant, only that one's. Whoever came in
// through one leaves at once. chat.ErrUnknown: the login is not in the room.
func (r *Relay) RevokeLinks(ctx context.Context, login, roomID string, participant int64) (int64, error) {
	return r.opt.Rooms.RevokeRoom(ctx, login, roomID, participant)
}

// Remove puts a participant out of a room for a login; store.Store has the errors.
func (r *Relay) Remove(ctx context.Context, login, roomID string, participant int64) error {
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return err
	}
	if err := r.opt.Rooms.Remove(ctx, login, roomID, participant); err != nil {
		return err
	}
	if gone := info.Participant(participant).Login; gone != "" { // the room is in none of their lists
		logins := r.members(gone)
		r.publish("", note{T: noteRoom, Room: roomID, Logins: logins})
		r.later("news of a room", func() { r.tellRoom(roomID, logins) })
	}
	return nil
}

// accessChanged makes those leave a room who may not be in it any more, wherever it
// is served, and tells the desks of the others.
func (r *Relay) accessChanged(roomID string) {
	r.news.add(roomID)
	r.deliver(note{T: noteAccess, Room: roomID})
	r.publish("", note{T: noteAccess, Room: roomID})
}

// checkAll looks who of a live room may be in it still.
func (h *liveRoom) checkAll() {
	h.checks++
	ctx, cancel := h.store()
	defer cancel()
	if info, err := h.r.opt.Rooms.Info(ctx, h.id); err != nil {
		h.log("reading a room", err)
	} else {
		h.info = info
		h.people()
	}
	all := make([]*session, 0, len(h.sessions))
	for s := range h.sessions {
		all = append(all, s)
	}
	h.r.later("a look at who may be in a room", func() {
		for _, s := range all {
			s.check()
		}
	})
}

// check ends a connection that may not be in the room any more. A store that fails
// changes nothing.
func (s *session) check() {
	ctx, cancel := context.WithTimeout(s.r.ctx, callTimeout)
	defer cancel()
	a, wrong, err := s.look(ctx)
	switch {
	case err != nil:
	case wrong != nil:
		s.out.End(wrong.code, wrong.text)
	case s.byLink() && a.Proven && !s.access.Proven: // it reads everything from now on
		s.out.End(errProven.code, errProven.text)
	}
}

// checkSoon is check at a time at which nothing may wait for the store.
func (s *session) checkSoon() {
	s.r.later("a look at who may be in a room", s.check)
}

// byLink says whether the participant came through a link, and not at the desk.
func (s *session) byLink() bool { return s.ticket.Session == nil }

// look reads what the session may do, or why it may not be here.
func (s *session) look(ctx context.Context) (a chat.Access, wrong *fault, err error) {
	if s.byLink() {
		a, err = s.r.opt.Rooms.Access(ctx, s.ticket.Key)
		switch {
		case errors.Is(err, chat.ErrRevoked):
			return a, errRevoked, nil
		case errors.Is(err, chat.ErrExpired):
			return a, errExpired, nil
		case errors.Is(err, chat.ErrUnknown), err == nil && a.ID != s.ticket.Me:
			return a, errPutOut, nil
		}
		return a, nil, err
	}
	a.Participant, err = s.r.opt.Rooms.Member(ctx, s.ticket.Session.Login, s.ticket.Room)
	a.Proven = true
	if errors.Is(err, chat.ErrUnknown) || err == nil && a.ID != s.ticket.Me {
		return a, errOut, nil
	}
	return a, nil, err
}

// via is the Via of what the session says.
func (s *session) via() string { return viaOf(s.access) }

// viaOf is the Via of what somebody says. A guest claims to be nobody else.
func viaOf(a chat.Access) string {
	if a.Proven || a.Guest {
		return ""
	}
	return chat.ViaLink
}

// epoch is the room's epoch as the session is told it. A browser that may not read
// everything is told another one: when it may later, it is sent everything anew.
func (s *session) epoch(of string) string {
	if s.access.Since == 0 {
		return of
	}
	return of + "~" + strconv.FormatInt(s.access.Since, 36)
}

// cut returns a frame without what the session may not read: the new words of an old
// message, and the words with which an old call was declined.
func (s *session) cut(f *frame.Frame) *frame.Frame {
	switch {
	case s.access.Since == 0:
	case f.Msg != nil && f.Msg.Kind == chat.KindEdit && s.access.Guards(f.Msg.Ref):
		cut, m := *f, *f.Msg
		m.Text, cut.Msg = "", &m
		return &cut
	case f.Attempt != nil && f.Attempt.Words != "" && s.room.call != nil && s.access.Guards(s.room.call.from):
		cut, a := *f, *f.Attempt
		a.Words, cut.Attempt = "", &a
		return &cut
	}
	return f
}

// came notes that a browser is here which the store counts as gone.
func (s *session) came() {
	if !s.access.Idle {
		return
	}
	s.r.later("a link in use", func() {
		ctx, cancel := context.WithTimeout(s.r.ctx, callTimeout)
		defer cancel()
		if err := s.r.opt.Rooms.Came(ctx, s.room.id, s.ticket.Key); err != nil && s.r.ctx.Err() == nil {
			s.r.log.Warn("noting that a link is in use", "room", s.room.id, "err", err)
		}
	})
}

// went notes that the browser has left with which nothing was said, so that another
// one may take its link.
func (s *session) went() {
	if s.via() == "" {
		return
	}
	here := false // in another tab
	if !s.room.do(func() {
		for other := range s.room.sessions {
			here = here || other.ticket.Key == s.ticket.Key
		}
	}) || here {
		return
	}
	s.r.later("a link not in use", func() {
		ctx, cancel := context.WithTimeout(s.r.ctx, callTimeout)
		defer cancel()
		if err := s.r.opt.Rooms.Went(ctx, s.room.id, s.ticket.Key); err != nil && s.r.ctx.Err() == nil {
			s.r.log.Warn("noting that a link is not in use", "room", s.room.id, "err", err)
		}
	})
}

// listed are the participants whom one of them, me, may know of, with what those
// who are here have proven; coming is one who comes in just now.
func (h *liveRoom) listed(me int64, coming ...*session) []chat.Participant {
	here := map[int64]bool{} // participant → all their connections are proven
	for s := range h.sessions {
		proven, known := here[s.me]
		here[s.me] = s.access.Proven && (proven || !known)
	}
	for _, s := range coming { // who is told how it came in itself
		here[s.me] = s.access.Proven
	}
	list := chat.Listed(h.info.Participants, me)
	for i, p := range list {
		list[i].Proven = here[p.ID]
	}
	return list
}

// accountGone reports whether the person of a link has an account here no more. Groups have
// none, and strangers neither.
func (r *Relay) accountGone(ctx context.Context, p chat.Participant) bool {
	if r.opt.Exists == nil || p.Login == "" || len(r.groups.members(p.Login)) > 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	there, err := r.opt.Exists(ctx, p.Login)
	if err != nil {
		r.log.Warn("looking for an account", "login", p.Login, "err", err)
	}
	return err == nil && !there
}

// letsIn returns chat.ErrProve where the sender of a link lets nobody in who has not
// proven who they are.
func (r *Relay) letsIn(ctx context.Context, i chat.Invite) error {
	if i.Callee.Login == "" {
		return nil
	}
	of, err := r.opt.Rooms.Settings(ctx, i.Callee.Login)
	if err == nil && of[i.Callee.Login].Unproven == chat.No {
		err = chat.ErrProve
	}
	return err
}

// expired says whether the link of a session has.
func (s *session) expired(now time.Time) bool {
	return s.byLink() && now.After(s.access.Expires)
}
