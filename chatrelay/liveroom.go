// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/serial"
)

// errFenced: this relay has lost the database, and another one has not.
var errFenced = errors.New("this host has lost the database")

// errFull: the relay has maxRooms live rooms.
var errFull = errors.New("the relay is full")

// MessageStore has the messages of rooms, and who has seen them.
type MessageStore interface {
	Info(ctx context.Context, roomID string) (chat.Info, error)
	Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error)
	Append(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
	AppendThen(ctx context.Context, home, roomID string, m chat.Message, then func(chat.Message, error))
	Change(ctx context.Context, home, roomID string, m chat.Message, since int64) (chat.Message, error)
	Post(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
	Reveal(ctx context.Context, home, roomID string, participant int64) error
	Seen(ctx context.Context, home, roomID string, participant, offset int64) error
	SeenBy(ctx context.Context, roomID string) (map[int64]int64, error)
	OnMail(f func(roomID string))
}

// liveRoom is a live room. Only the functions that are posted to jobs use the
// fields below jobs, and one of these functions runs at a time. The room lives
// while it has a user: a connection, a ringing attempt or an alarm on its way.
type liveRoom struct {
	r     *Relay
	id    string
	users atomic.Int64 // from 0 only under Relay.mu
	over  bool         // under Relay.mu: the last user has left
	jobs  serial.Queue

	info        chat.Info
	last        int64                  // offset of the newest message that was passed on
	early       map[int64]chat.Message // committed before a message of a lower offset was read; maxFlying a session
	sessions    map[*session]bool
	seen        map[int64]int64 // participant ID → offset
	unsaved     map[int64]int64 // of seen, what is not stored yet
	proven      map[int64]bool  // who of those that came in has ever proven who they are
	saving      bool            // it is being stored
	transcripts map[int64]bool  // who gets a transcript by mail
	call        *call           // the newest attempt; nil when there was none
	pending     *pendingAttempt // an attempt that was not made, since the callee seemed to be here
	newsAt      time.Time       // when browsers were told of news
	chats       map[string]bool // logins that are here with somebody else
	behind      bool            // messages could not be read, and will be tried again
	gone        bool            // another relay serves the room
	direct      *part           // what is said past the server; nil: nothing
	checks      int             // how often it was looked who may be in the room
}

// enter returns the live room, for whose use leave must be called. A
// *movedError says that it is at another relay.
func (r *Relay) enter(ctx context.Context, id string) (*liveRoom, error) {
	if h := r.use(id, nil); h != nil {
		return h, nil
	}
	if r.cluster.Fenced() {
		return nil, errFenced
	}
	if to := r.cluster.Pick(id); r.cluster.Draining() && to != "" {
		return nil, &movedError{to}
	}
	if home, err := r.cluster.Claim(ctx, id); err != nil {
		return nil, err
	} else if home != r.opt.Host {
		return nil, &movedError{home}
	}
	info, err := r.opt.Rooms.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	seen, err := r.opt.Rooms.SeenBy(ctx, id)
	if err != nil {
		return nil, err
	}
	transcripts, err := r.wantTranscripts(ctx, id)
	if err != nil {
		return nil, err
	}
	h := &liveRoom{r: r, id: id, info: info, last: info.Next - 1, seen: seen, transcripts: transcripts,
		sessions: map[*session]bool{}, early: map[int64]chat.Message{}, proven: map[int64]bool{}}
	latest, err := r.opt.Rooms.Attempts(ctx, id, 1)
	if err != nil {
		return nil, err
	}
	if len(latest) > 0 {
		h.call = oldCall(latest[0], r.opt.Rings)
	}
	h = r.use(id, h)
	if h == nil {
		return nil, errFull
	}
	return h, nil
}

// use counts one more user of a live room; fresh becomes it if there is none.
func (r *Relay) use(id string, fresh *liveRoom) *liveRoom {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.rooms[id]
	if h == nil {
		if fresh == nil || len(r.rooms) >= maxRooms || r.closed {
			return nil
		}
		h = fresh
		r.rooms[id] = h
		roomsLive.Inc()
		h.users.Add(1)
		h.post(h.resume) // before all other jobs: nobody else has the room yet
		return h
	}
	h.users.Add(1)
	return h
}

func (h *liveRoom) leave() {
	if h.users.Add(-1) > 0 {
		return
	}
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	if h.users.Load() > 0 || h.over {
		return // somebody came meanwhile, or went as well
	}
	h.over = true
	h.r.transcripts.Left(h.id) // the last one's part may not have run
	if h.r.rooms[h.id] == h {
		delete(h.r.rooms, h.id)
		h.r.cluster.Vacate(h.id)
	}
	h.disband()
	roomsLive.Dec()
}

// hold counts one more user of a room that is still live.
func (h *liveRoom) hold() bool {
	for {
		n := h.users.Load()
		if n == 0 {
			return false
		}
		if h.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// store returns the context of one call to the store.
func (h *liveRoom) store() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(h.r.ctx), callTimeout)
}

func (h *liveRoom) log(doing string, err error) {
	h.r.log.Warn(doing, "room", h.id, "err", err)
}

// broadcast encodes a frame once and queues it for everyone but one.
func (h *liveRoom) broadcast(f *frame.Frame, but *session) {
	b := frame.Encode(f)
	for s := range h.sessions {
		if s == but {
			continue
		}
		if own := s.cut(f); own != f {
			s.out.Put(frame.Encode(own))
		} else {
			s.out.Put(b)
		}
	}
}

// here are the participants who are connected.
func (h *liveRoom) here() []int64 {
	ids := []int64{}
	known := map[int64]bool{}
	for s := range h.sessions {
		if !known[s.me] {
			known[s.me] = true
			ids = append(ids, s.me)
		}
	}
	return ids
}

func (h *liveRoom) isHere(id int64) bool {
	for s := range h.sessions {
		if s.me == id {
			return true
		}
	}
	return false
}

// refresh reads the participants again when one is not known yet.
func (h *liveRoom) refresh(id int64) {
	if id == 0 || h.info.Participant(id).ID != 0 {
		return
	}
	ctx, cancel := h.store()
	defer cancel()
	info, err := h.r.opt.Rooms.Info(ctx, h.id)
	if err != nil {
		h.log("reading a room", err)
		return
	}
	h.info = info
}

// people tells who is in the room.
func (h *liveRoom) people() {
	f := &frame.Frame{T: frame.TPeople, People: h.listed(0), Here: h.here()}
	h.broadcast(f, nil) // nobody here is hidden: whoever comes in is revealed
	h.company()
}

// welcome is the answer to a session's hello.
func (h *liveRoom) welcome(s *session) *frame.Frame {
	h.refresh(s.me)
	now := time.Now().UTC()
	f := &frame.Frame{T: frame.TWelcome, Room: h.id, Epoch: s.epoch(h.info.Epoch), Me: s.me, Subject: h.info.Subject,
		People: h.listed(s.me, s), Here: append(h.here(), s.me),
		SeenBy: maps.Clone(h.seen), At: &now,
		Carrier: s.conn.Carrier(), Port: s.conn.Port(), Ticket: s.pass(now), Peers: h.r.cluster.Sockets(),
		Transcript: h.transcripts[s.me], MaxFile: h.r.files.MaxFile(), EditFor: int(chat.EditFor / time.Second)}
	if h.isHere(s.me) {
		f.Here = f.Here[:len(f.Here)-1]
	}
	if h.call != nil {
		f.Attempt = h.call.frame()
	}
	return s.cut(f)
}

// reveal makes somebody from Bcc known to the others, now that they came in.
func (h *liveRoom) reveal(id int64) {
	i := slices.IndexFunc(h.info.Participants, func(p chat.Participant) bool { return p.ID == id && p.Hidden })
	if i < 0 {
		return
	}
	ctx, cancel := h.store()
	defer cancel()
	if err := h.r.opt.Rooms.Reveal(ctx, h.r.home(), h.id, id); err != nil {
		h.log("revealing a participant", err)
	}
	h.info.Participants[i].Hidden = false
}

// join adds a session that has everything up to after. It reads the little
// that is left to the room's newest message; false: it is more than a page,
// and the session must read on by itself first.
func (h *liveRoom) join(s *session, after int64) (joined bool) {
	h.catchUp()
	if h.last-after > joinPage {
		return false
	}
	if after < h.last {
		ctx, cancel := h.store()
		defer cancel()
		rest, err := h.r.opt.Rooms.Messages(ctx, h.id, after, joinPage)
		if err != nil {
			h.log("reading messages", err)
			s.out.End(frame.ErrStore, "the conversation cannot be read at the moment")
			return true
		}
		for i := range rest {
			if rest[i].Offset <= h.last {
				s.out.Put(s.message(&rest[i]))
			}
		}
	}
	h.sessions[s] = true
	h.r.log.Info("came into a conversation", "room", h.id, "person", s.me, "session", s.id,
		"login", h.info.Participant(s.me).Login, "proven", s.access.Proven)
	h.meet()
	if s.checked != h.checks {
		s.checkSoon() // what has changed since it looked
	}
	if h.gone {
		h.redirect(s)
		return true
	}
	h.attend(s, s.fresh)
	h.reveal(s.me)
	h.people()
	h.lookAtPart()
	if h.call != nil {
		// A page that comes back by itself says nothing of who sits before it.
		if s.fresh && h.standsFor(s.me, h.call.a.Callee) {
			h.calleeEntered(s.me)
		}
		if h.call.a.Caller == s.me {
			h.callerBack()
		}
		s.out.Put(frame.Encode(s.cut(&frame.Frame{T: frame.TState, Attempt: h.call.frame()})))
	}
	return true
}

func (h *liveRoom) part(s *session) {
	if !h.sessions[s] {
		return
	}
	h.meet()
	h.r.log.Info("left a conversation", "room", h.id, "person", s.me, "session", s.id)
	delete(h.sessions, s)
	h.lookAtPart()
	if h.isHere(s.me) {
		if !s.access.Proven {
			h.people() // who is left may have proven who they are
		}
		return
	}
	if len(h.sessions) == 0 {
		h.r.transcripts.Left(h.id)
	}
	h.people()
	if h.call != nil && h.call.a.Caller == s.me {
		h.call.callerGone(h, callerGrace)
	}
	h.attemptPending(s)
}

// posted passes on a message that a session has committed, and acknowledges
// it. The messages of lower offsets are passed on first.
func (h *liveRoom) posted(s *session, m chat.Message) {
	h.spoke(s)
	h.r.said(h.id, m, h.info.Participant(m.From).Person)
	if m.Offset == h.last+1 {
		h.pass(m)
	} else if m.Offset > h.last {
		h.await(m)
	}
	if m.Offset <= h.last && s.own.take(m.ID) { // it was passed on before: sent again
		s.ack(m)
	}
}

// await keeps a message until the messages of lower offsets come. They were
// committed with it or before it, and other goroutines bring them. Messages that do
// not come within earlyWait are read from the store.
func (h *liveRoom) await(m chat.Message) {
	if h.early[m.Offset] = m; len(h.early) > 1 {
		return // the timer runs already
	}
	time.AfterFunc(earlyWait, func() {
		h.post(func() {
			if len(h.early) > 0 {
				h.catchUp()
			}
		})
	})
}

// catchUp passes on the messages that the store has beyond last.
func (h *liveRoom) catchUp() {
	ctx, cancel := h.store()
	defer cancel()
	for {
		page, err := h.r.opt.Rooms.Messages(ctx, h.id, h.last, historyPage)
		if err != nil {
			h.log("reading messages", err)
			h.catchUpLater()
			return
		}
		for _, m := range page {
			if m.Offset > h.last { // not passed on with the one before it
				h.pass(m)
			}
		}
		if len(page) < historyPage {
			return
		}
	}
}

// catchUpLater tries again, while somebody is connected: committed messages must
// not wait for the next message.
func (h *liveRoom) catchUpLater() {
	if h.behind || len(h.sessions) == 0 || h.gone {
		return
	}
	h.behind = true
	time.AfterFunc(catchUpAgain, func() {
		h.post(func() {
			if h.behind = false; !h.gone {
				h.catchUp()
			}
		})
	})
}

// pass sends the next message to everybody in the room, and the early messages that
// follow it. The writer of a message gets the acknowledgement instead.
func (h *liveRoom) pass(m chat.Message) {
	h.last = m.Offset
	delete(h.early, m.Offset)
	h.refresh(m.From)
	b := frame.Message(&m)
	for s := range h.sessions {
		b := b
		if m.Kind == chat.KindEdit {
			b = s.message(&m)
		}
		if s.me == m.From && s.own.take(m.ID) {
			s.ack(m)
		} else if len(h.sessions) <= inlineWrites {
			s.out.Send(b)
		} else {
			s.out.Put(b)
		}
	}
	h.r.news.add(h.id)
	// Files and mails were taken as they were stored: store.Post.
	if p := h.info.Participant(m.From); p.Login != "" && !p.Guest && m.Via == "" && m.Kind == chat.KindText {
		h.take(p.Login)
	}
	h.pushNews(m)
	if next, ok := h.early[h.last+1]; ok {
		h.pass(next)
	}
}

// absent are the logins of the room that are not here.
func (h *liveRoom) absent() (logins []string) {
	for _, p := range h.info.Participants {
		if p.Login != "" && !p.Guest && !h.isHere(p.ID) {
			logins = append(logins, p.Login)
		}
	}
	return logins
}

// note appends one of the server's own lines.
func (h *liveRoom) note(about int64, text string) {
	if h.gone {
		return
	}
	ctx, cancel := h.store()
	defer cancel()
	m, err := h.r.opt.Rooms.Append(ctx, h.r.home(), h.id, chat.Message{Kind: chat.KindNote, From: about, Text: text})
	if errors.Is(err, chat.ErrMoved) {
		h.moved()
		return
	}
	if err != nil {
		h.log("appending a note", err)
		return
	}
	if m.Offset == h.last+1 {
		h.pass(m)
	} else {
		h.catchUp()
	}
}
