// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/serial"
)

// session is one connection in a room.
type session struct {
	r       *Relay
	conn    carrier.Conn
	out     *carrier.Queue
	room    *liveRoom
	ticket  ticket      // with which it came
	direct  bool        // it can go past the server
	access  chat.Access // what it may do; does not change while it lasts
	checked int         // liveRoom.checks when that was read
	id      string
	me      int64
	callee  chat.Participant // whom attempt rings; ID 0: nobody

	frames  serial.Queue    // what it sent, one frame after the other
	own     ids             // messages on their way to the store
	storing context.Context // of them: it ends with the first that cannot be stored
	stop    context.CancelFunc
	flying  chan struct{} // holds one token for each text among them
	written time.Time     // when typing was passed on
	passed  time.Time     // when it got a ticket for coming back
	peers   atomic.Int64  // Cluster.Changes then
	refused atomic.Bool   // the callee has blocked them
	heard   atomic.Int64  // when the last frame came, in Unix nanoseconds

	// Of the room's functions:
	undirect *program  // which could not be reached from there
	fresh    bool      // it came in by itself, not again after a lost connection
	active   time.Time // the person was seen at it: they came in, pressed something, or said something
	away     bool      // they are away from it
}

// fault is why the relay ends a connection: an error frame.
type fault struct{ code, text string }

func (f *fault) Error() string { return f.code + ": " + f.text }

// reader reads the frames of one connection within its limits.
type reader struct {
	conn carrier.Conn
	rate *rate.Limiter
}

func newReader(c carrier.Conn) *reader {
	return &reader{conn: c, rate: rate.NewLimiter(sayRate, sayBurst)}
}

// next returns the next frame, a *fault, or the connection's own error.
func (r *reader) next(wait time.Duration) (*frame.Frame, error) {
	b, err := r.conn.Read(carrier.Within(wait))
	if errors.Is(err, carrier.ErrTooLarge) || err == nil && len(b) > frame.MaxFrame {
		return nil, &fault{frame.ErrTooLarge, "a frame is at most 64 KiB long"}
	}
	if err != nil {
		return nil, err
	}
	// Reading later slows down who sends too many, and loses nothing.
	time.Sleep(r.rate.Reserve().Delay())
	f, err := frame.Decode(b)
	if err != nil {
		return nil, &fault{frame.ErrBadFrame, "not a frame"}
	}
	return f, nil
}

// ServeRoom serves a connection to a room until it is over. Its first frame
// must be hello with a ticket.
func (r *Relay) ServeRoom(ctx context.Context, c carrier.Conn) {
	out, detach, err := r.attach(c, "room")
	if err != nil {
		c.Close("shutdown")
		return
	}
	defer detach()
	defer context.AfterFunc(ctx, func() { out.End("", "") })() // which ends the reading
	defer safely.Recover(r.log, "a connection")
	s := &session{r: r, id: rand.Text(), conn: c, out: out, flying: make(chan struct{}, maxFlying)}
	s.storing, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	err = s.serve(ctx)
	if f := (*fault)(nil); errors.As(err, &f) {
		out.End(f.code, f.text)
	}
}

func (s *session) serve(ctx context.Context) error {
	in := newReader(s.conn)
	hello, err := in.next(frame.HelloWait)
	if err != nil {
		return err
	}
	if hello.T != frame.THello {
		return &fault{frame.ErrBadFrame, "the first frame must be hello"}
	}
	t, err := openTicket(s.r.ticketKey, hello.Ticket, time.Now())
	if err != nil || s.conn.Port() != 0 && s.conn.Port() != t.Port {
		return &fault{frame.ErrTicket, errTicket.Error()}
	}
	if hello.Room != "" && hello.Room != t.Room {
		return &fault{frame.ErrRoom, "the ticket is for another room"}
	}
	s.ticket = t
	if s.room, err = s.r.await(ctx, t.Room, t.Login); elsewhere(err) {
		s.redirect()
		return nil
	}
	if err != nil {
		switch {
		case errors.Is(err, chat.ErrUnknown):
			return &fault{frame.ErrRoom, "there is no such room"}
		case errors.Is(err, errFenced):
			return errShutdown
		}
		s.r.log.Warn("entering a room", "room", t.Room, "err", err)
		return &fault{frame.ErrStore, "the conversation cannot be read at the moment"}
	}
	defer s.room.leave()
	if t.Session != nil {
		if err := s.r.begin(ctx, *t.Session, s.out); err != nil {
			return err
		}
	}
	s.me = t.Me
	s.heard.Store(time.Now().UnixNano())
	if err := s.admit(ctx); err != nil {
		return err
	}
	if err := s.enter(ctx, hello, t.Callee); err != nil {
		return err
	}
	defer s.went()
	defer s.room.post(func() { s.room.part(s) })
	defer s.r.unwatch(s)
	defer s.frames.Wait() // what they said before they left counts
	return s.read(ctx, in)
}

// read takes the frames in their order, one at a time. A ping is answered at
// once, so that a slow database ends no connection.
func (s *session) read(ctx context.Context, in *reader) error {
	waiting := make(chan struct{}, maxFrames)
	for {
		f, err := in.next(frame.IdleWait)
		if err != nil {
			return err
		}
		s.heard.Store(time.Now().UnixNano())
		if f.Room != "" && f.Room != s.room.id {
			return &fault{frame.ErrRoom, "the frame is for another room"}
		}
		switch f.T {
		case frame.TPing:
			s.pong(f)
			continue
		case frame.TLeave:
			s.frames.Wait()
			s.room.do(func() { s.room.cancel(s) }) // nobody is to answer to an empty room
			return nil
		}
		select {
		case waiting <- struct{}{}:
		case <-s.out.Done():
			return nil
		}
		s.frames.Post(func() {
			defer func() { <-waiting }()
			s.take(ctx, f)
		})
	}
}

// take handles a frame. One that is not allowed ends the connection, and so does
// a panic.
func (s *session) take(ctx context.Context, f *frame.Frame) {
	done := false
	defer func() {
		if !done {
			s.out.End("", "")
		}
	}()
	defer safely.Recover(s.r.log, "a connection")
	var wrong *fault
	if err := s.handle(ctx, f); errors.As(err, &wrong) {
		s.out.End(wrong.code, wrong.text)
	}
	done = true
}

// pong answers a ping, and brings a new ticket from time to time.
func (s *session) pong(f *frame.Frame) {
	s.out.Send(frame.Encode(&frame.Frame{T: frame.TPong, N: f.N}))
	now := time.Now()
	if s.expired(now) {
		s.out.End(errExpired.code, errExpired.text)
	}
	if now.Sub(s.passed) > passEvery || s.peers.Load() != s.r.cluster.Changes() {
		if s.ticket.Session != nil {
			s.r.check(*s.ticket.Session, s.out)
		}
		s.checkSoon() // the letter about it may have been lost
		s.out.Put(frame.Encode(&frame.Frame{T: frame.TTicket, Ticket: s.pass(now), Peers: s.r.cluster.Sockets()}))
	}
}

// admit looks what the session may do in the room.
func (s *session) admit(ctx context.Context) error {
	s.room.do(func() { s.checked = s.room.checks })
	a, wrong, err := s.look(ctx)
	switch {
	case wrong != nil:
		return wrong
	case err != nil:
		s.r.log.Warn("looking what a client may do", "room", s.room.id, "err", err)
		return &fault{frame.ErrStore, "the conversation cannot be read at the moment"}
	}
	s.access = a
	return nil
}

// message is a message's frame, as the session may read it.
func (s *session) message(m *chat.Message) []byte {
	return frame.Encode(s.cut(&frame.Frame{T: frame.TMsg, Msg: m}))
}

// errShutdown: the relay ended meanwhile; the client comes back to another.
var errShutdown = &fault{frame.ErrShutdown, "the relay goes away"}

// enter sends welcome and history, and joins the room.
func (s *session) enter(ctx context.Context, hello *frame.Frame, callee int64) error {
	var welcome *frame.Frame
	var me chat.Participant
	if !s.room.do(func() {
		welcome = s.room.welcome(s)
		me = s.room.info.Participant(s.me)
		s.callee = s.room.info.Participant(callee)
	}) {
		return errShutdown
	}
	if welcome == nil || me.ID == 0 {
		return errOut
	}
	s.fresh = hello.Epoch == ""
	s.direct = hello.Direct
	welcome.Transcript = s.usualTranscript(ctx, me, welcome.Transcript)
	after := max(hello.After, 0)
	if hello.Epoch != welcome.Epoch || after > s.newest() {
		if hello.Epoch != "" {
			s.out.Put(frame.Encode(&frame.Frame{T: frame.TReset, Epoch: welcome.Epoch}))
		}
		after = 0
	}
	after = max(after, s.access.Since-1)
	turned := s.r.turned.Load()
	status, next := s.r.statusIn(ctx, s.callee.Login, s.room.id)
	welcome.Status = &status
	s.out.Put(frame.Encode(welcome))
	var last int64
	for {
		joined := false
		if !s.room.do(func() { joined, last = s.room.join(s, after), s.room.last }) {
			return errShutdown
		}
		if joined {
			break
		}
		page, err := s.r.opt.Rooms.Messages(ctx, s.room.id, after, historyPage)
		if err != nil || len(page) == 0 {
			return &fault{frame.ErrStore, "the conversation cannot be read at the moment"}
		}
		for i := range page {
			if err := s.out.PutSlowly(ctx, s.message(&page[i])); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Offset
	}
	s.came()
	if proven, err := s.r.opt.Rooms.CameIn(ctx, s.me, last, s.access.Proven); err != nil {
		s.r.log.Warn("noting who came in", "room", s.room.id, "err", err)
	} else if proven {
		s.room.do(func() { s.room.proven[s.me] = true })
	}
	s.r.watch(s, next)
	if s.r.turned.Load() != turned { // perhaps that of the callee, while nobody watched it
		status, next := s.r.statusIn(ctx, s.callee.Login, s.room.id)
		s.r.statusChangesAt(s.callee.Login, next) // watch had the time of before
		s.out.Put(frame.Encode(&frame.Frame{T: frame.TStatus, Status: &status}))
	}
	if me.Login != "" && !me.Guest && s.access.Proven {
		if err := s.r.opt.Rooms.AckWaiting(ctx, me.Login, s.room.id); err != nil {
			s.r.log.Warn("acknowledging waiting rings", "room", s.room.id, "err", err)
		}
		s.r.news.add(s.room.id) // nobody has missed these calls any more
	}
	return nil
}

// newest is the offset of the newest message that was passed on.
func (s *session) newest() (last int64) {
	s.room.do(func() { s.room.catchUp(); last = s.room.last })
	return last
}

func (s *session) handle(ctx context.Context, f *frame.Frame) error {
	h := s.room
	if s.refused.Load() {
		if done, err := s.quietly(f); done {
			return err
		}
	}
	switch f.T {
	case frame.TSay:
		return s.say(ctx, f)
	case frame.TTyping:
		if now := time.Now(); now.Sub(s.written) >= typingEvery {
			s.written = now
			h.do(func() {
				h.spoke(s)
				h.broadcast(&frame.Frame{T: frame.TTyping, From: s.me}, s)
			})
		}
	case frame.TDirect:
		h.do(func() { h.partSaid(s, f) })
	case frame.TAway:
		h.do(func() { h.attend(s, !f.On) })
	case frame.TEdit, frame.TDelete:
		return s.change(ctx, f)
	case frame.TTranscript:
		return s.prefer(ctx, f)
	case frame.TSeen:
		h.do(func() { h.sawUpTo(s, f.Offset) })
	case frame.TAttempt:
		if s.callee.ID == 0 || s.callee.ID == s.me {
			s.out.Put(frame.Encode(&frame.Frame{T: frame.TError, Code: frame.ErrForbidden,
				Text: "there is nobody to ring"}))
			return nil
		}
		if wait := s.r.limiters.mayCall(s.me, s.conn.RemoteIP(), s.callee.Login); wait > 0 {
			s.tooOften("", wait)
			return nil
		}
		h.do(func() { h.attempt(s) })
	case frame.TCancel:
		h.do(func() { h.cancel(s) })
	case frame.TTell:
		h.do(func() { h.tell(s, f.On) })
	default:
		return &fault{frame.ErrBadFrame, "a room does not know this type of frame"}
	}
	return nil
}

// say commits a message, and reads on meanwhile. A message that the person sent
// before they left is committed all the same.
func (s *session) say(ctx context.Context, f *frame.Frame) error {
	m := chat.Message{ID: f.ID, From: s.me, Kind: chat.KindText, Via: s.via(), Ref: f.Ref}
	if f.Epoch != "" {
		handed, ok := s.r.handed(s.room.id, f)
		if ok && handed.From != s.me {
			may, err := s.r.mayWrite(ctx, s.room.id, handed.From)
			if err != nil {
				s.out.End(frame.ErrStore, "a message could not be kept, come back and send it again")
				return nil
			}
			ok = may
		}
		if !ok {
			s.refuse(f.ID, frame.ErrForbidden, "this was not said past the server")
			return nil
		}
		m = handed
	} else if text, err := s.words(f); text == "" {
		return err
	} else {
		m.Text = text
	}
	if !s.turn() {
		s.tooOften(f.ID, turnWait)
		return nil
	}
	select {
	case s.flying <- struct{}{}:
	case <-s.out.Done():
		return nil
	}
	if s.access.Guards(m.Ref) {
		m.Ref = 0
	}
	if m.From == s.me {
		s.own.add(f.ID)
	}
	h := s.room
	h.hold() // others are to learn of the message, also if this session leaves now
	h.r.opt.Rooms.AppendThen(s.storing, h.r.home(), h.id, m,
		func(m chat.Message, err error) {
			defer h.leave()
			<-s.flying
			switch {
			case err == nil:
				messagesTotal.Inc()
				h.post(func() { h.posted(s, m) })
			case errors.Is(err, chat.ErrMoved):
				h.post(h.moved) // the client sends it again to the room's new home
			case f.Epoch != "" && (errors.Is(err, chat.ErrFull) || errors.Is(err, chat.ErrUnknown)):
				s.own.take(f.ID) // it would be handed over again for ever
				s.refuse(f.ID, frame.ErrForbidden, "this cannot be kept")
			default:
				// Nor is what was sent after it stored: the client comes back and
				// sends all of it again in its order.
				s.stop()
				s.own.take(f.ID)
				s.r.log.Warn("committing a message", "room", h.id, "err", err)
				s.out.End(frame.ErrStore, "a message could not be kept, come back and send it again")
			}
		})
	return nil
}

// ids are a set.
type ids struct {
	mu  sync.Mutex
	set map[string]bool
}

func (i *ids) add(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.set == nil {
		i.set = map[string]bool{}
	}
	i.set[id] = true
}

// take takes an id out; false: it is not in the set.
func (i *ids) take(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	had := i.set[id]
	delete(i.set, id)
	return had
}

// pass is a ticket for coming back when the connection is lost. Before it runs
// out, a connection that lasts gets another.
func (s *session) pass(now time.Time) string {
	t := s.ticket
	t.Conn = s.id
	t.Expires = now.Add(passLife).Unix()
	s.passed = now
	s.peers.Store(s.r.cluster.Changes())
	return t.sealed(s.r.ticketKey)
}

// ack is called by a step of the room, when m has been taken out of own.
func (s *session) ack(m chat.Message) {
	s.out.Send(frame.Ack(m.ID, m.Offset, m.At))
}

// sawUpTo notes that a participant has seen the messages up to an offset, and
// tells the others. It is stored a moment later, together with what others saw.
func (h *liveRoom) sawUpTo(s *session, offset int64) {
	if offset <= h.seen[s.me] || offset > h.last || !h.reads(s) {
		return
	}
	h.seen[s.me] = offset
	h.broadcast(&frame.Frame{T: frame.TSeen, From: s.me, Offset: offset}, s)
	if h.unsaved == nil {
		h.unsaved = map[int64]int64{}
	}
	h.unsaved[s.me] = offset
	if !h.saving && h.hold() {
		h.saving = true
		h.r.owned.Go(h.saveSeen)
	}
}

// saveSeen stores what was seen until there is nothing new. A mark that cannot
// be stored is lost: the next one says as much.
func (h *liveRoom) saveSeen() {
	defer h.leave()
	defer safely.Recover(h.r.log, "a room")
	for {
		var marks map[int64]int64
		if !h.do(func() { marks, h.unsaved = h.unsaved, nil }) {
			return
		}
		for participant, offset := range marks {
			ctx, cancel := h.store()
			if err := h.r.opt.Rooms.Seen(ctx, h.r.home(), h.id, participant, offset); err != nil {
				h.log("noting what was seen", err)
			}
			cancel()
			h.do(func() {
				if p := h.info.Participant(participant); p.Login != "" && !p.Guest {
					h.r.news.add(h.id, p.Login)
				}
			})
		}
		more := false
		if !h.do(func() { more = len(h.unsaved) > 0; h.saving = more }) || !more {
			return
		}
	}
}
