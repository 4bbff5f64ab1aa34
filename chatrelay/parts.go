// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
)

// The direct way, past the server: docs/direct.md describes it. While everybody in a room
// can reach the program on its owner's computer, what they say goes there, in a part. The
// relay takes words at all times; those of a part are handed over when it ends.

const (
	offerWait = 5 * time.Second // for everybody to come to the program
	partLasts = time.Hour       // then another begins, so that the keys of the people in it are of no more use
	partKept  = 24 * time.Hour  // words of a part can be handed over after it began
	maxDirect = 16              // connections of a part
	maxEnds   = 10000
)

// part is what is said past the server. It is of the room's jobs.
type part struct {
	epoch  string
	of     *program
	in     map[*session]bool // whom it was offered; true: they have come
	on     bool              // all have
	keep   bool              // what is said in it stays on the owner's computer
	ending bool
	timer  *time.Timer
}

// partEnds are when parts ended, for as long as their words can be handed over. A relay that starts knows of none.
type partEnds struct {
	mu sync.Mutex
	of map[string]time.Time // by epoch
}

func (e *partEnds) ended(epoch string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if len(e.of) >= maxEnds {
		for old, at := range e.of {
			if now.Sub(at) > partKept || len(e.of) >= 2*maxEnds {
				delete(e.of, old)
			}
		}
	}
	if e.of == nil {
		e.of = map[string]time.Time{}
	}
	if _, known := e.of[epoch]; !known {
		e.of[epoch] = now
	}
}

// end is when a part that began at a time was over, as far as is known.
func (e *partEnds) end(epoch string, began, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := began.Add(partLasts)
	if at, known := e.of[epoch]; known && at.Before(end) {
		end = at
	}
	if now.Before(end) {
		return now
	}
	return end
}

// lookAtPart ends a part that cannot go on, and begins one that can.
func (h *liveRoom) lookAtPart() {
	if h.direct == nil {
		h.beginPart()
		return
	}
	if h.direct.ending {
		if h.direct.of.device.out.Ended() {
			h.partEnded(h.direct.epoch, false) // nobody hands it over but those who are here
		}
		return
	}
	fits := h.gone || h.program() == h.direct.of &&
		len(h.sessions) == len(h.direct.in)
	for s := range h.direct.in {
		fits = fits && h.sessions[s] && !s.refused.Load()
	}
	if !fits || h.gone {
		h.endPart()
	}
}

// beginPart offers a part to everybody in the room, if all of them can have it.
func (h *liveRoom) beginPart() {
	p := h.program()
	if p == nil || h.gone || len(h.sessions) > maxDirect || len(h.here()) < 2 || !h.ownerHere() {
		return
	}
	ways := map[*session][]frame.Endpoint{}
	for s := range h.sessions {
		ways[s] = p.ways(s.conn.RemoteIP())
		if !s.direct || s.undirect == p || s.refused.Load() || len(ways[s]) == 0 {
			return
		}
	}
	now := time.Now()
	epoch := strconv.FormatInt(now.UnixMilli(), 36) + "." + rand.Text()[:12]
	h.direct = &part{epoch: epoch, of: p, keep: p.keep, in: map[*session]bool{},
		timer: h.partTimer(offerWait, epoch, func() {
			if !h.direct.on {
				for s, came := range h.direct.in {
					if !came {
						s.undirect = p
					}
				}
				h.endPart()
			}
		})}
	for s := range h.sessions {
		h.direct.in[s] = false
		t := direct.Ticket{Program: p.hashes[0], Room: h.id, Epoch: epoch, Me: s.me, Via: s.via(), Keep: p.keep,
			Expires: now.Add(direct.TicketLife).Unix()}
		if p.keep { // for who reads it later, without the server
			t.Name, t.Subject = h.info.Participant(s.me).DisplayName(), h.info.Subject
		}
		s.out.Put(frame.Encode(&frame.Frame{T: frame.TDirect, Code: frame.DirectOffer, Epoch: epoch, Via: s.via(),
			Endpoints: ways[s], Keep: p.keep, Ticket: t.Sign(h.r.ticketSigner),
			Key: base64.StdEncoding.EncodeToString(direct.Key(h.r.wordsKey, h.id, epoch, s.me, s.via()))}))
	}
}

// partTimer runs a job after a while, if the part is there still.
func (h *liveRoom) partTimer(d time.Duration, epoch string, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		h.post(func() {
			if h.direct != nil && h.direct.epoch == epoch {
				f()
			}
		})
	})
}

// partSaid takes what a session says of a part: that it has come (on), or that it cannot.
func (h *liveRoom) partSaid(s *session, f *frame.Frame) {
	p := h.direct
	if p == nil || p.epoch != f.Epoch || p.ending {
		return
	}
	if _, offered := p.in[s]; !offered {
		return
	}
	if !f.On {
		s.undirect = p.of
		h.endPart()
		return
	}
	p.in[s] = true
	for _, came := range p.in {
		if !came {
			return
		}
	}
	if !p.on {
		p.on = true
		stopTimer(p.timer)
		p.timer = h.partTimer(partLasts, p.epoch, h.endPart)
		h.tellPart(frame.DirectOn)
	}
}

func (h *liveRoom) tellPart(code string) {
	b := frame.Encode(&frame.Frame{T: frame.TDirect, Code: code, Epoch: h.direct.epoch})
	for s := range h.direct.in {
		if h.sessions[s] {
			s.out.Put(b)
		}
	}
}

// endPart asks the program to hand the part over. partEnded follows, whatever it does.
func (h *liveRoom) endPart() {
	p := h.direct
	if p == nil || p.ending {
		return
	}
	p.ending = true
	h.r.partEnds.ended(p.epoch)
	stopTimer(p.timer)
	p.of.device.out.Put(frame.Encode(&frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: h.id,
		Epoch: p.epoch}))
	if p.of.device.out.Ended() {
		h.partEnded(p.epoch, false)
		return
	}
	p.timer = h.partTimer(direct.HandOver, p.epoch, func() { h.partEnded(p.epoch, false) })
}

// partEnded tells everybody that a part is over: what they said in it and did not get
// back, they hand over themselves. handed: the program has handed it over.
func (h *liveRoom) partEnded(epoch string, handed bool) {
	if h.direct == nil || h.direct.epoch != epoch || !h.direct.ending {
		return
	}
	if h.direct.keep && h.direct.on && !handed { // perhaps nothing was said
		h.r.noteKept(h.id, epoch, h.info.Owner)
		h.catchUp()
	}
	h.tellPart(frame.DirectOver)
	stopTimer(h.direct.timer)
	h.direct = nil
	h.beginPart()
}

// partFrame takes what a program says of a part: that it has handed it over, or that it
// takes no more.
func (r *Relay) partFrame(d *device, f *frame.Frame) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	info, err := r.opt.Rooms.Info(ctx, f.Room)
	if err != nil || !slices.Contains(r.groupsOf(d.Login), info.Participant(info.Owner).Login) {
		return // none of this login, or erased meanwhile
	}
	handed := f.Code == frame.DirectOver
	if handed && f.Keep {
		r.noteKept(f.Room, f.Epoch, info.Owner)
	}
	if handed {
		r.news.add(f.Room)
		r.publish("", note{T: noteMail, Room: f.Room})
	}
	h := r.use(f.Room, nil)
	if h == nil {
		return
	}
	defer h.leave()
	if handed {
		h.post(h.catchUp)
		h.post(func() {
			if h.direct != nil && h.direct.epoch == f.Epoch {
				h.direct.ending = true // also when the program ends by itself
				h.partEnded(f.Epoch, true)
			}
		})
		return
	}
	h.post(func() {
		if h.direct != nil && h.direct.epoch == f.Epoch {
			h.endPart()
		}
	})
}

// partBegan is when a part began, by its epoch.
func partBegan(epoch string) (time.Time, error) {
	head, _, _ := strings.Cut(epoch, ".")
	began, err := strconv.ParseInt(head, 36, 64)
	return time.UnixMilli(began), err
}

// handed is a message of a part that somebody hands over; false: the mark on it is not
// its writer's, or it is too late.
func (r *Relay) handed(roomID string, f *frame.Frame) (m chat.Message, ok bool) {
	start, err := partBegan(f.Epoch)
	now := time.Now()
	if err != nil || !r.opt.Direct || now.Sub(start) > partKept ||
		f.At == nil || f.ID == "" || len(f.ID) > frame.MaxID || chat.Storable(f.ID, frame.MaxID) != f.ID ||
		!direct.Key(r.wordsKey, roomID, f.Epoch, f.From, f.Via).Marks(f.Mac, direct.Marked(f)) {
		return m, false
	}
	text, err := clean.Message(f.Text, frame.MaxText)
	if err != nil || text == "" {
		return m, false
	}
	at := *f.At
	if end := r.partEnds.end(f.Epoch, start, now); at.After(end) { // the writer's clock is wrong, or the writer lies
		at = end
	}
	if at.Before(start) {
		at = start
	}
	return chat.Message{ID: f.ID, From: f.From, Kind: chat.KindText, Text: text, Ref: f.Ref, Via: f.Via, At: at}, true
}

// mayWrite says whether somebody whose words others hand over may still write in the room:
// they may have been put out or blocked since.
func (r *Relay) mayWrite(ctx context.Context, roomID string, participant int64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return false, err
	}
	p := info.Participant(participant)
	if p.ID == 0 || p.Removed {
		return false, nil
	}
	refused, err := r.Refuses(ctx, roomID, participant, info.Participant(info.Owner).Login)
	return !refused, err
}

// noteKept says in the room's history that some was said past the server and stays on its owner's computer.
func (r *Relay) noteKept(roomID, epoch string, owner int64) {
	if began, err := partBegan(epoch); err != nil || time.Since(began) > partKept {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), callTimeout)
	defer cancel()
	_, err := r.opt.Rooms.Append(ctx, "", roomID, chat.Message{ID: "kept:" + epoch, Kind: chat.KindNote, From: owner,
		Text: chat.NoteKept})
	if err != nil {
		r.log.Warn("noting what stays on somebody's computer", "room", roomID, "err", err)
	}
}

// ownerHere says whether the room's owner is here or, of a group, one of its members.
func (h *liveRoom) ownerHere() bool {
	for s := range h.sessions {
		if h.standsFor(s.me, h.info.Owner) {
			return true
		}
	}
	return false
}

// handOver stores a message of a part that a program hands over.
func (r *Relay) handOver(ctx context.Context, f *frame.Frame) {
	m, ok := r.handed(f.Room, f)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	may, err := r.mayWrite(ctx, f.Room, m.From)
	if err == nil && !may {
		return
	}
	if err == nil {
		m, err = r.opt.Rooms.Append(ctx, "", f.Room, m)
	}
	if err != nil {
		r.log.Warn("taking over what was said past the server", "room", f.Room, "err", err)
		return
	}
	messagesTotal.Inc()
	info, err := r.opt.Rooms.Info(ctx, f.Room)
	if err == nil {
		r.said(f.Room, m, info.Participant(m.From).Person)
	}
}
