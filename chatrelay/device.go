// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/room"
	"github.com/chmail/chmail/presence"
)

// device is a connection on which its login can be rung.
type device struct {
	presence.Device
	out  *outbox
	away bool // under Relay.mu
}

// ServeDevice serves a signed-in device until it is over. Its first frame
// must be hello.
func (r *Relay) ServeDevice(ctx context.Context, d presence.Device, c Conn) {
	out, detach, err := r.attach(c, "device")
	if err != nil {
		c.Close("shutdown")
		return
	}
	defer detach()
	defer r.recovered("a device")
	if d.Connected.IsZero() {
		d.Connected = time.Now()
	}
	err = r.serveDevice(ctx, &device{Device: d, out: out}, c)
	if f := (*fault)(nil); errors.As(err, &f) {
		out.end(f.code, f.text)
	}
}

func (r *Relay) serveDevice(ctx context.Context, d *device, c Conn) error {
	in := newReader(c)
	hello, err := in.next(ctx, frame.HelloWait)
	if err != nil {
		return err
	}
	if hello.T != frame.THello {
		return &fault{frame.ErrBadFrame, "the first frame must be hello"}
	}
	if !r.signOn(d) {
		return &fault{frame.ErrForbidden, "too many devices are signed on"}
	}
	defer r.signOff(d)
	r.heartbeat(ctx, d)
	now := time.Now().UTC()
	d.out.put(frame.Encode(&frame.Frame{T: frame.TWelcome, At: &now, Carrier: c.Carrier(), Port: c.Port()}))
	r.arrived(ctx, d)
	beat := time.Now()
	for {
		f, err := in.next(ctx, frame.IdleWait)
		if err != nil {
			return err
		}
		switch f.T {
		case frame.TPing:
			if now := time.Now(); now.Sub(beat) >= presence.HeartbeatEvery/2 {
				beat = now
				r.heartbeat(ctx, d)
			}
			d.out.put(frame.Encode(&frame.Frame{T: frame.TPong, N: f.N}))
		case frame.TAway:
			r.mu.Lock()
			d.away = f.On
			r.mu.Unlock()
			r.statusChanged(d.Login)
		case frame.TAnswer, frame.TDecline:
			r.respond(ctx, d, f)
		case frame.TLeave:
			return nil
		default:
			return &fault{frame.ErrBadFrame, "a device does not know this type of frame"}
		}
	}
}

func (r *Relay) signOn(d *device) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := r.devices[d.Login]
	if of == nil {
		of = map[string]*device{}
		r.devices[d.Login] = of
	}
	if old := of[d.ID]; old != nil { // it came back before its old connection timed out
		old.out.end("", "")
	} else if len(of) >= maxDevices {
		return false
	}
	of[d.ID] = d
	return true
}

// arrived rings a device for whoever waits: in a room now, or earlier.
func (r *Relay) arrived(ctx context.Context, d *device) {
	r.statusChanged(d.Login)
	rung := map[string]bool{}
	for _, h := range r.watched(d.Login) {
		h.do(func() {
			c := h.call
			if c == nil || person(h.info, c.a.Callee).Login != d.Login || !h.isHere(c.a.Caller) || h.isHere(c.a.Callee) {
				return
			}
			h.event(attempt.Event{Kind: attempt.DeviceConnected})
			rung[c.a.ID] = c.m.State == frame.Ringing
		})
		h.leave()
	}
	waiting, err := r.opt.Rooms.WaitingFor(ctx, d.Login)
	if err != nil {
		r.opt.Log("reading the rings that wait", "login", d.Login, "reason", err.Error())
	}
	for _, a := range newest(waiting) {
		info, err := r.opt.Rooms.Info(ctx, a.Room)
		if err != nil || rung[a.ID] {
			continue
		}
		d.out.put(frame.Encode(&frame.Frame{T: frame.TRing, Ring: &frame.Ring{Attempt: a.ID, Room: a.Room,
			From: person(info, a.Caller).Person, Subject: info.Subject, Ring: a.Rings, Of: r.opt.Rings, Waiting: true, At: a.Started}}))
	}
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if !closed {
		r.owned.Go(func() { r.tellBack(d.Login) })
	}
}

// newest keeps the newest attempt of each room, at most as many as a queue
// takes.
func newest(list []room.Attempt) (kept []room.Attempt) {
	rooms := map[string]bool{}
	for i := len(list) - 1; i >= 0 && len(kept) < queueFrames/4; i-- {
		if !rooms[list[i].Room] {
			rooms[list[i].Room] = true
			kept = append(kept, list[i])
		}
	}
	return kept
}

func (r *Relay) signOff(d *device) {
	r.mu.Lock()
	of := r.devices[d.Login]
	if of[d.ID] != d { // a newer connection of the same device took over
		r.mu.Unlock()
		return
	}
	delete(of, d.ID)
	last := len(of) == 0
	if last {
		delete(r.devices, d.Login)
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), presenceWait)
	defer cancel()
	if err := r.opt.Presence.Disconnect(ctx, d.Login, d.ID); err != nil {
		r.opt.Log("signing a device off", "login", d.Login, "reason", err.Error())
	}
	r.statusChanged(d.Login)
	if !last {
		return
	}
	// A page that is loaded again is not a computer that was switched off.
	time.AfterFunc(signOffGrace, func() { r.devicesGone(d.Login) })
}

// devicesGone tells the rooms in which login is being rung that no device is
// left to ring, if that is so.
func (r *Relay) devicesGone(login string) {
	for _, h := range r.watched(login) {
		h.post(func() {
			if h.call != nil && person(h.info, h.call.a.Callee).Login == login && !r.hasDevice(login) {
				h.event(attempt.Event{Kind: attempt.DevicesGone})
			}
		})
		h.leave()
	}
}

// heartbeat renews the device in presence, whose failing changes nothing here.
func (r *Relay) heartbeat(ctx context.Context, d *device) {
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	d.Heartbeat = time.Now()
	if err := r.opt.Presence.Connect(ctx, d.Device); err != nil {
		r.opt.Log("renewing a device", "login", d.Login, "reason", err.Error())
	}
}

// respond takes or refuses a ring.
func (r *Relay) respond(ctx context.Context, d *device, f *frame.Frame) {
	r.mu.Lock()
	h := r.calls[f.AttemptID]
	r.mu.Unlock()
	words := strings.ToValidUTF8(f.Text[:min(len(f.Text), maxWords)], "")
	if h != nil && r.use(h.id, nil) == h {
		h.do(func() {
			c := h.call
			if c == nil || c.a.ID != f.AttemptID || person(h.info, c.a.Callee).Login != d.Login {
				return
			}
			if f.T == frame.TAnswer {
				c.taker = d
				h.event(attempt.Event{Kind: attempt.DeviceAnswered})
			} else {
				h.event(attempt.Event{Kind: attempt.DeviceDeclined, Words: words})
			}
		})
		h.leave()
		return
	}
	waiting, err := r.opt.Rooms.WaitingFor(ctx, d.Login)
	if err != nil {
		r.opt.Log("reading the rings that wait", "login", d.Login, "reason", err.Error())
	}
	code := frame.EndElsewhere // it was over before
	for _, a := range waiting {
		if a.ID != f.AttemptID {
			continue
		}
		if code = frame.EndAnswered; f.T == frame.TDecline {
			code = frame.EndDeclined
			if err := r.opt.Rooms.AckWaiting(ctx, d.Login, a.Room); err != nil {
				r.opt.Log("acknowledging waiting rings", "room", a.Room, "reason", err.Error())
			}
		}
	}
	d.out.put(frame.Encode(&frame.Frame{T: frame.TRingEnd, AttemptID: f.AttemptID, Code: code}))
}

func (r *Relay) hasDevice(login string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.devices[login]) > 0
}

// tellDevices queues a frame for every device of a login.
func (r *Relay) tellDevices(login string, f *frame.Frame) { r.endRings(login, f, nil) }

// ringDevices is tellDevices, and returns what kinds of devices those are.
func (r *Relay) ringDevices(login string, f *frame.Frame) (kinds []string) {
	r.tellDevices(login, f)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.devices[login] {
		kinds = append(kinds, string(d.Source))
	}
	return kinds
}

// endRings queues a frame for every device of a login but one.
func (r *Relay) endRings(login string, f *frame.Frame, but *device) {
	b := frame.Encode(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.devices[login] {
		if d != but {
			d.out.put(b)
		}
	}
}

// Status is a login's availability, from this process and from presence.
func (r *Relay) Status(ctx context.Context, login string) frame.Status {
	if login == "" {
		return frame.Status{State: frame.Off}
	}
	r.mu.Lock()
	state := ""
	for _, d := range r.devices[login] {
		if state = frame.Away; !d.away {
			state = frame.Available
			break
		}
	}
	r.mu.Unlock()
	if state != "" {
		return frame.Status{State: state}
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	a, err := r.opt.Presence.Lookup(ctx, login)
	if err != nil {
		if !errors.Is(err, presence.ErrUnknown) {
			r.opt.Log("looking a login up", "login", login, "reason", err.Error())
		}
		return frame.Status{State: frame.Off}
	}
	return frame.Status{State: frame.Off, Since: &a.Seen}
}

// watch makes a session show the status of its callee as it changes.
func (r *Relay) watch(s *session) {
	if s.callee.Login == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watchers[s.callee.Login] == nil {
		r.watchers[s.callee.Login] = map[*session]bool{}
	}
	r.watchers[s.callee.Login][s] = true
}

func (r *Relay) unwatch(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if of := r.watchers[s.callee.Login]; of[s] {
		if delete(of, s); len(of) == 0 {
			delete(r.watchers, s.callee.Login)
		}
	}
}

// watched are the live rooms in which somebody waits for a login; leave must
// be called for each.
func (r *Relay) watched(login string) (list []*hall) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[*hall]bool{}
	for s := range r.watchers[login] {
		if !known[s.hall] {
			known[s.hall] = true
			s.hall.users++
			list = append(list, s.hall)
		}
	}
	return list
}

func (r *Relay) statusChanged(login string) {
	ctx, cancel := context.WithTimeout(r.ctx, presenceWait)
	defer cancel()
	status := r.Status(ctx, login)
	b := frame.Encode(&frame.Frame{T: frame.TStatus, Status: &status})
	r.mu.Lock()
	defer r.mu.Unlock()
	for s := range r.watchers[login] {
		s.out.put(b)
	}
}
