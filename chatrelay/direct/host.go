// SPDX-License-Identifier: GPL-3.0-or-later

package direct

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/safely"
)

const (
	maxParts = 64  // at once
	maxConns = 256 // at once, in all parts
	maxOver  = 1000
	// frames a second that a connection may send, as at the relay
	frameRate  = 20
	frameBurst = 60
)

// errOver: a part is over, or there is no room for another one.
var errOver = errors.New("the part is over")

// Options are what Open needs.
type Options struct {
	Origin string // of the pages that may come
	Dir    string // keeps the certificates; empty: in memory only
	// Full is told of a part that takes no more messages.
	Full func(room, epoch string)
	Log  *slog.Logger // nil: nothing is logged
}

// Host is the program's relay: the parts of rooms that are served on this computer. Its
// methods may be called at the same time.
type Host struct {
	opts  Options
	ports *carrier.Ports

	mu    sync.Mutex
	key   ed25519.PublicKey
	ahead time.Duration // of this computer's clock is the server's
	conns int
	free  int // port, where the granted one cannot be had; 0: none yet
	parts map[string]*part
	over  map[string]time.Time // epochs, and when the last ticket for them has run out
}

// part is what is said in a room in one epoch.
type part struct {
	room, epoch string
	conns       map[*conn]bool
	said        []*frame.Frame // as it is handed over
	offsets     map[said]int64
}

type said struct {
	from int64
	id   string
}

// conn is somebody's connection into a part.
type conn struct {
	ticket Ticket
	out    *carrier.Queue
}

// Open makes the certificate, and listens nowhere yet.
func Open(opts Options) (*Host, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	h := &Host{opts: opts, parts: map[string]*part{}, over: map[string]time.Time{}}
	var err error
	h.ports, err = carrier.OpenPorts(carrier.Options{Relay: served{h}, Name: "chmail", Dir: opts.Dir,
		Idle: time.Duration(1 << 62), HoldEvery: time.Hour, Log: opts.Log})
	if err != nil {
		return nil, fmt.Errorf("making a place for direct chats: %w", err)
	}
	return h, nil
}

// Close ends everything.
func (h *Host) Close(ctx context.Context) error {
	for _, p := range h.all() {
		h.Over(p.epoch)
	}
	return h.ports.Close(ctx)
}

// Hashes are those of the certificates.
func (h *Host) Hashes() []string { return h.ports.Hashes() }

// Listen listens on a UDP port, or on another one if that is taken or 0, and returns it. From
// now on those come in who have a ticket signed for key (base64). now is the server's clock.
func (h *Host) Listen(ctx context.Context, port int, key string, now time.Time) (int, error) {
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return 0, errors.New("listening for direct chats: the server's key is damaged")
	}
	h.mu.Lock()
	h.key, h.ahead = raw, time.Until(now)
	h.mu.Unlock()
	if port != 0 {
		err = h.ports.Listen(ctx, carrier.Grant{Port: port})
	}
	if port == 0 || errors.Is(err, carrier.ErrTaken) {
		if port, err = h.freePort(); err == nil {
			err = h.ports.Listen(ctx, carrier.Grant{Port: port}) // nothing, if it does already
		}
	}
	if err != nil {
		return 0, fmt.Errorf("listening for direct chats: %w", err)
	}
	return port, nil
}

// freePort is a port that the system picked, the same at each connection home.
func (h *Host) freePort() (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.free == 0 {
		free, err := net.ListenPacket("udp", ":0")
		if err != nil {
			return 0, err
		}
		h.free = free.LocalAddr().(*net.UDPAddr).Port
		free.Close()
	}
	return h.free, nil
}

// Over ends a part and returns its messages, to be handed over in this order. Nobody
// comes into it any more.
func (h *Host) Over(epoch string) []*frame.Frame {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if len(h.over) >= maxOver {
		for old, until := range h.over {
			if now.After(until) {
				delete(h.over, old)
			}
		}
	}
	h.over[epoch] = now.Add(2 * TicketLife)
	p := h.parts[epoch]
	if p == nil {
		return nil
	}
	delete(h.parts, epoch)
	for c := range p.conns {
		c.out.End(frame.ErrShutdown, "this part is over")
	}
	return p.said
}

// Part is one that lasts.
type Part struct{ Room, Epoch string }

// Parts are those that last.
func (h *Host) Parts() (list []Part) {
	for _, p := range h.all() {
		list = append(list, Part{p.room, p.epoch})
	}
	return list
}

func (h *Host) all() (list []*part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.parts {
		list = append(list, p)
	}
	return list
}

// served is the host as its ports see it: carrier.Relay.
type served struct{ *Host }

// OwnOrigin: pages of the server, and programs.
func (h served) OwnOrigin(origin string) bool { return origin == "" || origin == h.opts.Origin }

// Bind: all addresses.
func (h served) Bind(string) netip.Addr { return netip.Addr{} }

// Hold and Release: the port is nobody else's.
func (h served) Hold(context.Context, carrier.Grant)    {}
func (h served) Release(context.Context, carrier.Grant) {}

// ServeRoom serves a connection until it is over.
func (h served) ServeRoom(ctx context.Context, c carrier.Conn) {
	out := carrier.NewQueue(c, h.opts.Log)
	defer out.Wait()
	defer out.End("", "")
	defer context.AfterFunc(ctx, func() { out.End("", "") })()
	defer safely.Recover(h.opts.Log, "a direct connection")
	hello, err := next(c, frame.HelloWait)
	if err != nil || hello.T != frame.THello {
		return
	}
	t, err := h.open(hello.Ticket)
	if err != nil {
		out.End(frame.ErrTicket, err.Error())
		return
	}
	if t.Room == "" { // the server looks whether we are here
		out.Put(frame.Encode(&frame.Frame{T: frame.TWelcome}))
		return
	}
	one := &conn{ticket: t, out: out}
	p, err := h.enter(one)
	if err != nil {
		out.End(frame.ErrShutdown, err.Error())
		return
	}
	defer h.leave(p, one)
	pace := rate.NewLimiter(frameRate, frameBurst)
	for {
		f, err := next(c, frame.IdleWait)
		if err != nil || f.T == frame.TLeave {
			return
		}
		time.Sleep(pace.Reserve().Delay()) // it slows down who sends too many, and loses nothing
		switch f.T {
		case frame.TPing:
			out.Send(frame.Encode(&frame.Frame{T: frame.TPong, N: f.N}))
		case frame.TTyping:
			h.pass(p, one, frame.Encode(&frame.Frame{T: frame.TTyping, From: t.Me}))
		case frame.TSay:
			h.say(p, one, f)
		default:
			out.End(frame.ErrBadFrame, "the direct way does not know this type of frame")
			return
		}
	}
}

func next(c carrier.Conn, wait time.Duration) (*frame.Frame, error) {
	b, err := c.Read(carrier.Within(wait))
	if err != nil {
		return nil, err
	}
	return frame.Decode(b)
}

// open checks a ticket by the server's clock.
func (h *Host) open(ticket string) (Ticket, error) {
	h.mu.Lock()
	key, now := h.key, time.Now().Add(h.ahead)
	h.mu.Unlock()
	if key == nil {
		return Ticket{}, ErrTicket
	}
	t, err := OpenTicket(key, ticket, now)
	if err == nil && !slices.Contains(h.Hashes(), t.Program) {
		err = ErrTicket
	}
	return t, err
}

func (h *Host) enter(c *conn) (*part, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := c.ticket
	if _, over := h.over[t.Epoch]; over || h.conns >= maxConns {
		return nil, errOver
	}
	p := h.parts[t.Epoch]
	if p == nil {
		if len(h.parts) >= maxParts {
			return nil, errOver
		}
		p = &part{room: t.Room, epoch: t.Epoch, conns: map[*conn]bool{}, offsets: map[said]int64{}}
		h.parts[t.Epoch] = p
	}
	h.conns++
	p.conns[c] = true
	now := time.Now().UTC()
	c.out.Put(frame.Encode(&frame.Frame{T: frame.TWelcome, Epoch: t.Epoch, Me: t.Me, At: &now}))
	return p, nil
}

// leave keeps the part: what was said in it is handed over when the server asks.
func (h *Host) leave(p *part, c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns--
	delete(p.conns, c)
}

// pass sends a frame to everybody in a part but one.
func (h *Host) pass(p *part, but *conn, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(p, but, b)
}

func (h *Host) tell(p *part, but *conn, b []byte) {
	for c := range p.conns {
		if c != but {
			c.out.Send(b)
		}
	}
}

// say gives a message its place, passes it on and acknowledges it.
func (h *Host) say(p *part, c *conn, f *frame.Frame) {
	text, err := clean.Message(f.Text, frame.MaxText)
	refuse := func(code string) {
		c.out.Put(frame.Encode(&frame.Frame{T: frame.TError, ID: f.ID, Code: code}))
	}
	switch {
	case f.ID == "" || len(f.ID) > frame.MaxID || f.At == nil || f.Mac == "" || len(f.Mac) > frame.MaxID:
		refuse(frame.ErrBadFrame)
		return
	case err != nil || len(f.Text) > frame.MaxText:
		refuse(frame.ErrTooLarge)
		return
	case text == "":
		refuse(frame.ErrEmpty)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parts[p.epoch] != p {
		return // it is over: the writer says it to the relay
	}
	what := said{c.ticket.Me, f.ID}
	offset, again := p.offsets[what]
	switch {
	case again:
	case len(p.said) >= MaxMessages:
		if h.opts.Full != nil {
			go h.opts.Full(p.room, p.epoch)
		}
		return
	default:
		p.said = append(p.said, &frame.Frame{T: frame.TSay, Room: p.room, Epoch: p.epoch, ID: f.ID, Text: f.Text,
			Ref: f.Ref, At: f.At, From: c.ticket.Me, Mac: f.Mac, Via: c.ticket.Via})
		offset = int64(len(p.said))
		p.offsets[what] = offset
		m := &frame.Frame{T: frame.TMsg, Mac: f.Mac, Msg: &chat.Message{Offset: offset, ID: f.ID, From: c.ticket.Me,
			Kind: chat.KindText, Text: text, At: *f.At, Ref: f.Ref, Via: c.ticket.Via}}
		if text != f.Text {
			m.Text = f.Text // which the mark is about
		}
		h.tell(p, c, frame.Encode(m))
	}
	c.out.Send(frame.Ack(f.ID, offset, *f.At))
}
