// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/presence"
)

// The direct way, past the server: docs/direct.md describes it. While everybody in a room
// can reach the program on its owner's computer, what they say goes there, in a part. The
// relay takes words at all times; those of a part are handed over when it ends.

const (
	dialBackWait = 3 * time.Second
	offerWait    = 5 * time.Second // for everybody to come to the program
	partKept     = 24 * time.Hour  // words of a part can be handed over after it began
	maxDirect    = 16              // connections of a part
	maxOwn       = 8               // addresses of a program's computer
	maxHashes    = 4
	hashLength   = 44 // SHA-256 in base64
)

// program is what somebody's program has registered. It does not change.
type program struct {
	device  *device
	port    int
	hashes  []string
	from    netip.Addr   // where its connection comes from
	own     []netip.Addr // of its computer
	reached bool         // by the server, at from
}

// part is what is said past the server. It is of the room's jobs.
type part struct {
	epoch  string
	of     *program
	in     map[*session]bool // whom it was offered; true: they have come
	on     bool              // all have
	ending bool
	timer  *time.Timer
}

// directKeys are those with which the server signs tickets, and from which those of
// people's words are derived.
func (r *Relay) directKeys() (ed25519.PrivateKey, seal.Key, error) {
	seed, err := derive(r.opt.Key, "direct ticket")
	if err != nil {
		return nil, nil, err
	}
	words, err := derive(r.opt.Key, "direct words")
	return ed25519.NewKeyFromSeed(seed), words, err
}

// inviteProgram tells a program that it may serve its login's rooms: at the granted port or, on the
// server's own computer, where the server needs that one, at another.
func (r *Relay) inviteProgram(ctx context.Context, d *device) {
	if !r.opt.Direct || d.Source != presence.Agent {
		return
	}
	port := 0
	if !d.IP.IsLoopback() {
		ctx, cancel := context.WithTimeout(ctx, presenceWait)
		defer cancel()
		g, err := r.opt.Presence.Grant(ctx, d.Login)
		if err != nil {
			r.failed("granting a program its port", err, "login", d.Login)
		}
		port = g.Port
	}
	d.out.Put(frame.Encode(&frame.Frame{T: frame.TDirect, Code: frame.DirectServe, Port: port,
		Key: base64.StdEncoding.EncodeToString(r.ticketSigner.Public().(ed25519.PublicKey))}))
}

// directFrame takes what a program says of the direct way.
func (r *Relay) directFrame(d *device, f *frame.Frame) error {
	switch {
	case !r.opt.Direct:
		return &fault{frame.ErrForbidden, "this server has no direct way"}
	case f.Room != "":
		r.partFrame(d, f)
		return nil
	case f.Port <= 0 || f.Port > 65535 || len(f.Hashes) == 0 || len(f.Hashes) > maxHashes || len(f.Addrs) > maxOwn,
		slices.ContainsFunc(f.Hashes, func(h string) bool { return len(h) != hashLength }):
		return &fault{frame.ErrBadFrame, "a program registers a port, hashes, and addresses"}
	}
	if d.dialled.Swap(true) {
		return &fault{frame.ErrForbidden, "one registration at a time"}
	}
	p := &program{device: d, port: f.Port, hashes: f.Hashes, from: d.IP.Unmap()}
	for _, s := range f.Addrs {
		if a, err := netip.ParseAddr(s); err == nil && (a.IsPrivate() || a.IsGlobalUnicast()) {
			p.own = append(p.own, a.Unmap().WithZone(""))
		}
	}
	r.later("a dial-back", func() {
		defer d.dialled.Store(false)
		err := r.dialBack(p)
		p.reached = err == nil
		answer := &frame.Frame{T: frame.TDirect, Code: frame.DirectReach, On: p.reached}
		if err != nil {
			answer.Text = err.Error()
		}
		d.out.Put(frame.Encode(answer))
		r.setProgram(p)
	})
	return nil
}

// dialBack asks a program where its connection comes from, and nowhere else.
func (r *Relay) dialBack(p *program) error {
	ctx, cancel := context.WithTimeout(r.ctx, dialBackWait)
	defer cancel()
	c, err := carrier.Dial(ctx, netip.AddrPortFrom(p.from, uint16(p.port)), p.hashes)
	if err != nil {
		return err
	}
	defer c.Close("seen")
	t := direct.Ticket{Program: p.hashes[0], Expires: time.Now().Add(direct.TicketLife).Unix()}
	if err := c.Write(ctx, frame.Encode(&frame.Frame{T: frame.THello, Ticket: t.Sign(r.ticketSigner)})); err != nil {
		return err
	}
	b, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if f, err := frame.Decode(b); err != nil || f.T != frame.TWelcome {
		return errors.New("it does not take this server's ticket")
	}
	return nil
}

// setProgram makes a program its login's, unless its connection has ended meanwhile.
func (r *Relay) setProgram(p *program) {
	r.mu.Lock()
	gone := p.device.out.Ended() || r.closed
	if !gone {
		r.programs[p.device.Login] = p
	}
	r.mu.Unlock()
	if !gone {
		r.lookAtParts(p.device.Login)
	}
}

// dropProgram forgets what a device has registered.
func (r *Relay) dropProgram(d *device) {
	r.mu.Lock()
	p := r.programs[d.Login]
	mine := p != nil && p.device == d
	if mine {
		delete(r.programs, d.Login)
	}
	r.mu.Unlock()
	if mine {
		r.lookAtParts(d.Login)
	}
}

func (r *Relay) programOf(login string) *program {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.programs[login]
}

// lookAtParts looks at the rooms of a login whose program came or went.
func (r *Relay) lookAtParts(login string) {
	for _, h := range r.all() {
		h.post(func() {
			if h.info.Participant(h.info.Owner).Login == login {
				h.lookAtPart()
			}
		})
		h.leave()
	}
}

// ways are the endpoints of a program for whoever comes from an address. The addresses of
// the computer itself are for its own network alone.
func (p *program) ways(from netip.Addr) (list []frame.Endpoint) {
	var at []netip.Addr
	if from = from.Unmap(); p.near(from) {
		at = append(at, p.own...)
	}
	public := !p.from.IsPrivate() && !p.from.IsLoopback() && !p.from.IsLinkLocalUnicast()
	if (p.reached && public || p.near(from)) && !slices.Contains(at, p.from) {
		at = append(at, p.from)
	}
	for _, a := range at {
		list = append(list, frame.Endpoint{Carrier: carrier.WebTransport, Port: p.port, Hashes: p.hashes,
			URL: "https://" + net.JoinHostPort(a.String(), strconv.Itoa(p.port)) + carrier.Path})
	}
	return list
}

// near reports whether an address is in the program's own network, as the server sees it.
func (p *program) near(from netip.Addr) bool {
	if from == p.from {
		return true
	}
	if !from.IsPrivate() || from.Is4() != p.from.Is4() {
		return false
	}
	bits := 24
	if from.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(p.from, bits).Contains(from)
}

// lookAtPart ends a part that cannot go on, and begins one that can.
func (h *liveRoom) lookAtPart() {
	if h.direct == nil {
		h.beginPart()
		return
	}
	if h.direct.ending {
		if h.direct.of.device.out.Ended() {
			h.partEnded(h.direct.epoch) // nobody hands it over but those who are here
		}
		return
	}
	fits := h.gone || h.r.programOf(h.info.Participant(h.info.Owner).Login) == h.direct.of &&
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
	p := h.r.programOf(h.info.Participant(h.info.Owner).Login)
	if p == nil || h.gone || len(h.sessions) > maxDirect || len(h.here()) < 2 || !h.isHere(h.info.Owner) {
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
	h.direct = &part{epoch: epoch, of: p, in: map[*session]bool{},
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
		t := direct.Ticket{Program: p.hashes[0], Room: h.id, Epoch: epoch, Me: s.me, Via: s.via(),
			Expires: now.Add(direct.TicketLife).Unix()}
		s.out.Put(frame.Encode(&frame.Frame{T: frame.TDirect, Code: frame.DirectOffer, Epoch: epoch, Via: s.via(),
			Endpoints: ways[s], Ticket: t.Sign(h.r.ticketSigner),
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
	stopTimer(p.timer)
	p.of.device.out.Put(frame.Encode(&frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: h.id,
		Epoch: p.epoch}))
	if p.of.device.out.Ended() {
		h.partEnded(p.epoch)
		return
	}
	p.timer = h.partTimer(direct.HandOver, p.epoch, func() { h.partEnded(p.epoch) })
}

// partEnded tells everybody that a part is over: what they said in it and did not get
// back, they hand over themselves.
func (h *liveRoom) partEnded(epoch string) {
	if h.direct == nil || h.direct.epoch != epoch || !h.direct.ending {
		return
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
	if err != nil || info.Participant(info.Owner).Login != d.Login {
		return // none of this login, or erased meanwhile
	}
	handed := f.Code == frame.DirectOver
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
				h.partEnded(f.Epoch)
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

// handed is a message of a part that somebody hands over; false: the mark on it is not
// its writer's, or it is too late.
func (r *Relay) handed(roomID string, f *frame.Frame) (m chat.Message, ok bool) {
	head, _, _ := strings.Cut(f.Epoch, ".")
	began, err := strconv.ParseInt(head, 36, 64)
	start, now := time.UnixMilli(began), time.Now()
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
	if at.Before(start) || at.After(now) { // the writer's clock is wrong
		at = now
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
