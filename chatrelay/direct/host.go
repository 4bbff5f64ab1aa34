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
	// Keep stores a message that stays on this computer; what it has not stored is not acknowledged. nil: none can.
	Keep func(Kept) error
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
	kept  map[string]*part     // by room: the last part whose messages stay here, for those who missed some
}

// Kept is a message that stays on this computer.
type Kept struct {
	Room    string    `json:"room"`
	Subject string    `json:"subject,omitempty"`
	Epoch   string    `json:"epoch"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	Text    string    `json:"text"`
}

// part is what is said in a room in one epoch.
type part struct {
	room, epoch string
	keep        bool // its messages stay here
	conns       map[*conn]bool
	people      map[int64]bool // who has been in it
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
	h := &Host{opts: opts, parts: map[string]*part{}, over: map[string]time.Time{}, kept: map[string]*part{}}
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

// Over ends a part and returns its messages, to be handed over in this order; kept says that it
// had some and they stay here. Nobody comes into it any more.
func (h *Host) Over(epoch string) (list []*frame.Frame, kept bool) {
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
		return nil, false
	}
	delete(h.parts, epoch)
	for c := range p.conns {
		c.out.End(frame.ErrShutdown, "this part is over")
	}
	if !p.keep || len(p.said) == 0 {
		return p.said, false
	}
	if len(h.kept) >= maxParts {
		for room := range h.kept { // any: whoever missed words of it is told that they were said
			delete(h.kept, room)
			break
		}
	}
	h.kept[p.room] = p
	return nil, true
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
	p, err := h.enter(one, hello)
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

func (h *Host) enter(c *conn, hello *frame.Frame) (*part, error) {
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
		p = &part{room: t.Room, epoch: t.Epoch, keep: t.Keep, conns: map[*conn]bool{}, people: map[int64]bool{},
			offsets: map[said]int64{}}
		h.parts[t.Epoch] = p
	}
	h.conns++
	p.conns[c], p.people[t.Me] = true, true
	now := time.Now().UTC()
	c.out.Put(frame.Encode(&frame.Frame{T: frame.TWelcome, Epoch: t.Epoch, Me: t.Me, At: &now}))
	if old := h.kept[t.Room]; old != nil && old.epoch == hello.Epoch && old.people[t.Me] {
		for i := max(hello.After, 0); i < int64(len(old.said)); i++ { // which did not reach them
			c.out.Put(message(old.said[i], i+1))
		}
	}
	return p, nil
}

// message is what others are told of a message of a part, encoded.
func message(f *frame.Frame, offset int64) []byte {
	text, _ := clean.Message(f.Text, frame.MaxText) // it was taken
	m := &frame.Frame{T: frame.TMsg, Mac: f.Mac, Epoch: f.Epoch, Msg: &chat.Message{Offset: offset, ID: f.ID, From: f.From,
		Kind: chat.KindText, Text: text, At: *f.At, Ref: f.Ref, Via: f.Via}}
	if text != f.Text {
		m.Text = f.Text // which the mark is about
	}
	return frame.Encode(m)
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
	case len(p.said) >= p.most():
		if h.opts.Full != nil {
			go h.opts.Full(p.room, p.epoch)
		}
		return
	default:
		if p.keep && h.keep(c.ticket, f, text) != nil {
			refuse(frame.ErrStore)
			return
		}
		whole := &frame.Frame{T: frame.TSay, Room: p.room, Epoch: p.epoch, ID: f.ID, Text: f.Text,
			Ref: f.Ref, At: f.At, From: c.ticket.Me, Mac: f.Mac, Via: c.ticket.Via}
		p.said = append(p.said, whole)
		offset = int64(len(p.said))
		p.offsets[what] = offset
		h.tell(p, c, message(whole, offset))
	}
	c.out.Send(frame.Ack(f.ID, offset, *f.At))
}

// most is how many messages a part has at most.
func (p *part) most() int {
	if p.keep {
		return MaxKept
	}
	return MaxMessages
}

// keep stores a message that stays here.
func (h *Host) keep(t Ticket, f *frame.Frame, text string) error {
	if h.opts.Keep == nil {
		return errOver
	}
	at := time.Now().Add(h.ahead)
	return h.opts.Keep(Kept{Room: t.Room, Subject: t.Subject, Epoch: t.Epoch, At: at.UTC(), From: t.Name, Text: text})
}
