// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/presence"
)

// device is a connection on which its login can be rung.
type device struct {
	presence.Device // Away, Direct and Heartbeat are under devices.mu
	session         chat.Session
	out             *carrier.Queue
	dialled         atomic.Bool // a dial-back is under way
}

// ServeDevice serves a device of a session of the desk until it is over. Its
// first frame must be hello.
func (r *Relay) ServeDevice(ctx context.Context, session chat.Session, d presence.Device, c carrier.Conn) {
	out, detach, err := r.attach(c, "device")
	if err != nil {
		c.Close("shutdown")
		return
	}
	defer detach()
	defer context.AfterFunc(ctx, func() { out.End("", "") })() // which ends the reading
	defer safely.Recover(r.log, "a device")
	if d.Connected.IsZero() {
		d.Connected = time.Now()
	}
	d.Login, d.Relay = session.Login, r.opt.Host
	err = r.serveDevice(ctx, &device{Device: d, session: session, out: out}, c)
	if f := (*fault)(nil); errors.As(err, &f) {
		out.End(f.code, f.text)
	}
}

func (r *Relay) serveDevice(ctx context.Context, d *device, c carrier.Conn) error {
	in := newReader(c)
	hello, err := in.next(frame.HelloWait)
	if err != nil {
		return err
	}
	if hello.T != frame.THello {
		return &fault{frame.ErrBadFrame, "the first frame must be hello"}
	}
	if err := r.begin(ctx, d.session, d.out); err != nil {
		return err
	}
	if !r.devices.add(d) {
		return &fault{frame.ErrForbidden, "too many devices are signed on"}
	}
	defer r.signOff(d)
	defer r.dropProgram(d)
	r.heartbeat(ctx, d)
	now := time.Now().UTC()
	d.out.Put(frame.Encode(&frame.Frame{T: frame.TWelcome, At: &now, Carrier: c.Carrier(), Port: c.Port()}))
	r.sawProgram(d)
	defer r.sawProgram(d)
	r.inviteProgram(ctx, d)
	r.arrived(ctx, d)
	beat, checked, seen := time.Now(), time.Now(), time.Now()
	for {
		f, err := in.next(deviceIdle)
		if err != nil {
			return err
		}
		switch f.T {
		case frame.TPing:
			if now := time.Now(); now.Sub(beat) >= presence.HeartbeatEvery/2 {
				beat = now
				r.heartbeat(ctx, d)
			}
			if now := time.Now(); now.Sub(checked) >= sessionCheck {
				checked = now
				r.check(d.session, d.out)
				if now.Sub(seen) >= seenEvery {
					seen = now
					r.sawProgram(d)
				}
			}
			d.out.Put(frame.Encode(&frame.Frame{T: frame.TPong, N: f.N}))
		case frame.TAway:
			if r.devices.away(d, f.On) {
				r.heartbeat(ctx, d)
				r.statusChanged(d.Login)
			}
		case frame.TAnswer, frame.TDecline:
			r.respond(ctx, d, f)
		case frame.TDirect:
			if err := r.directFrame(d, f); err != nil {
				return err
			}
		case frame.TSay:
			r.handOver(ctx, f)
		case frame.TLeave:
			return nil
		default:
			return &fault{frame.ErrBadFrame, "a device does not know this type of frame"}
		}
	}
}

// arrived rings a device for whoever waits: in a room now, or earlier.
func (r *Relay) arrived(ctx context.Context, d *device) {
	r.statusHere(d.Login)
	r.publish("", note{T: noteStatus, Login: d.Login, On: true})
	rung := r.recheck(d.Login, came)
	waiting, err := r.opt.Rooms.WaitingFor(ctx, d.Login)
	if err != nil {
		r.log.Warn("reading the rings that wait", "login", d.Login, "err", err)
	}
	for _, a := range newest(waiting) {
		info, err := r.opt.Rooms.Info(ctx, a.Room)
		if err != nil || rung[a.ID] {
			continue
		}
		ring := &frame.Ring{Attempt: a.ID, Room: a.Room, From: info.Participant(a.Caller).Person, Proven: !a.Unproven,
			Subject: info.Subject,
			Ring:    a.Rings, Of: r.opt.Rings, Waiting: true, At: a.Started}
		if callee := info.Participant(a.Callee); callee.Login != d.Login {
			ring.Group = callee.DisplayName()
		}
		d.out.Put(frame.Encode(&frame.Frame{T: frame.TRing, Ring: ring}))
	}
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if !closed {
		r.owned.Go(func() { r.tellBack(d.Login, func(chat.Attempt) bool { return true }) })
	}
}

// newest keeps the newest attempt of each room, at most as many as a queue
// takes.
func newest(list []chat.Attempt) (kept []chat.Attempt) {
	rooms := map[string]bool{}
	for i := len(list) - 1; i >= 0 && len(kept) < carrier.QueueFrames/4; i-- {
		if !rooms[list[i].Room] {
			rooms[list[i].Room] = true
			kept = append(kept, list[i])
		}
	}
	return kept
}

func (r *Relay) signOff(d *device) {
	removed, last := r.devices.remove(d)
	if !removed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), presenceWait)
	defer cancel()
	if err := r.opt.Presence.Disconnect(ctx, d.Login, d.ID); err != nil {
		r.failed("signing a device off", err, "login", d.Login)
	}
	r.statusChanged(d.Login)
	if !last {
		return
	}
	// A page that is loaded again is not a computer that was switched off.
	time.AfterFunc(signOffGrace, func() { r.later("a sign-off", func() { r.recheck(d.Login, went) }) })
}

// heartbeat renews the device in presence, whose failing changes nothing here.
func (r *Relay) heartbeat(ctx context.Context, d *device) {
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	if err := r.opt.Presence.Connect(ctx, r.devices.beat(d)); err != nil {
		r.failed("renewing a device", err, "login", d.Login)
	}
}

// respond takes or refuses a ring.
func (r *Relay) respond(ctx context.Context, d *device, f *frame.Frame) {
	words, err := clean.Message(strings.ToValidUTF8(f.Text[:min(len(f.Text), maxWords)], ""), maxWords)
	if err != nil {
		words = "" // it says nothing
	}
	code := frame.EndAnswered
	if f.T == frame.TDecline {
		code = frame.EndDeclined
	}
	if h := r.ringing(f.AttemptID); h != nil {
		h.do(func() { h.respond(f.AttemptID, code, words, taker{login: d.Login, id: d.ID}) })
		h.leave()
		return
	}
	by, elsewhere := r.devices.ringer(f.AttemptID)
	if elsewhere {
		r.publish(by, note{T: noteRespond, Login: d.Login, Attempt: f.AttemptID,
			Device: d.ID, Code: code, Words: words})
		return
	}
	waiting, err := r.opt.Rooms.WaitingFor(ctx, d.Login)
	if err != nil {
		r.log.Warn("reading the rings that wait", "login", d.Login, "err", err)
	}
	end := frame.EndElsewhere // it was over before
	for _, a := range waiting {
		if a.ID != f.AttemptID {
			continue
		}
		if end = code; code == frame.EndDeclined {
			r.declineWaiting(ctx, d.Login, a)
		} else if h := r.use(a.Room, nil); h != nil {
			h.do(func() { h.answerHere(a.ID, d.Login) })
			h.leave()
		}
	}
	d.out.Put(frame.Encode(&frame.Frame{T: frame.TRingEnd, AttemptID: f.AttemptID, Code: end}))
}

// declineWaiting ends a ring that waited. Of a group, it waits on for others.
func (r *Relay) declineWaiting(ctx context.Context, login string, a chat.Attempt) {
	info, err := r.opt.Rooms.Info(ctx, a.Room)
	if err == nil && info.Participant(a.Callee).Login == login {
		err = r.opt.Rooms.AckWaiting(ctx, login, a.Room)
		r.news.add(a.Room, login)
	}
	if err != nil {
		r.log.Warn("acknowledging waiting rings", "room", a.Room, "err", err)
	}
}
