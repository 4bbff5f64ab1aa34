// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

// Programs on people's computers, which let others in past the server.

const (
	dialBackWait = 3 * time.Second
	maxOwn       = 8 // addresses of a program's computer
	maxProofs    = 2
	proofLife    = time.Minute
	maxHashes    = 4
	hashLength   = 44 // SHA-256 in base64
)

// program is what somebody's program has registered. It does not change.
type program struct {
	device  *device
	port    int
	hashes  []string
	from    []netip.Addr     // where it is, as the server has seen: where its connection comes from, and proven ones
	own     []netip.Addr     // of its computer
	reached []netip.AddrPort // by the server
	keep    bool             // what is said there stays there
}

// directKeys are those with which the server signs tickets, and from which those of
// people's words and of proofs are derived.
func (r *Relay) directKeys() (err error) {
	seed, err := derive(r.opt.Key, "direct ticket")
	if err != nil {
		return err
	}
	r.ticketSigner = ed25519.NewKeyFromSeed(seed)
	if r.wordsKey, err = derive(r.opt.Key, "direct words"); err != nil {
		return err
	}
	r.proofKey, err = derive(r.opt.Key, "direct address")
	return err
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

// addressProof says that a request of a login came from an address.
type addressProof struct {
	Login   string     `json:"l"`
	Addr    netip.Addr `json:"a"`
	Expires int64      `json:"e"` // Unix time
}

// AddressProof is with which a login's program shows at its registration that it is at an address, besides
// the one from which its connection comes: a computer has one of IPv4 and one of IPv6.
func (r *Relay) AddressProof(login string, from netip.Addr) string {
	body, err := json.Marshal(addressProof{login, from.Unmap(), time.Now().Add(proofLife).Unix()})
	if err != nil { // it is strings and a number
		panic(fmt.Sprintf("encoding a proof: %v", err))
	}
	return r.proofKey.Seal(body)
}

// proven is the address of a proof.
func (r *Relay) proven(login, proof string) (netip.Addr, bool) {
	body, err := r.proofKey.Open(proof)
	var p addressProof
	if err != nil || json.Unmarshal(body, &p) != nil || p.Login != login || time.Now().Unix() > p.Expires {
		return netip.Addr{}, false
	}
	return p.Addr, true
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
		len(f.Proofs) > maxProofs, slices.ContainsFunc(f.Hashes, func(h string) bool { return len(h) != hashLength }):
		return &fault{frame.ErrBadFrame, "a program registers a port, hashes, and addresses"}
	}
	if wait := r.limiters.register.Wait(d.Login); wait > 0 {
		d.out.Put(frame.Encode(&frame.Frame{T: frame.TError, Code: frame.ErrTooFast,
			Text: "this program registers too often", Wait: int((wait + time.Second - 1) / time.Second)}))
		return nil
	}
	if d.dialled.Swap(true) {
		d.out.Put(frame.Encode(&frame.Frame{T: frame.TError, Code: frame.ErrTooFast, Wait: 1,
			Text: "one registration at a time"}))
		return nil
	}
	p := &program{device: d, port: f.Port, hashes: f.Hashes, from: []netip.Addr{d.IP.Unmap()}, keep: f.Keep}
	for _, proof := range f.Proofs {
		if a, ok := r.proven(d.Login, proof); ok && !slices.Contains(p.from, a) {
			p.from = append(p.from, a)
		}
	}
	for _, s := range f.Addrs {
		if a, err := netip.ParseAddr(s); err == nil && (a.IsPrivate() || a.IsGlobalUnicast()) {
			p.own = append(p.own, a.Unmap().WithZone(""))
		}
	}
	mapped, _ := netip.ParseAddrPort(f.Mapped)
	r.later("a dial-back", func() {
		err := r.dialBack(p, mapped)
		r.setProgram(p)
		d.dialled.Store(false) // before the answer, upon which the next registration may come
		answer := &frame.Frame{T: frame.TDirect, Code: frame.DirectReach, On: len(p.reached) > 0}
		for _, at := range p.reached {
			answer.Addrs = append(answer.Addrs, at.String())
		}
		if err != nil {
			answer.Text = err.Error()
		}
		d.out.Put(frame.Encode(answer))
	})
	return nil
}

// dialBack looks at which addresses a program can be reached: where it is, at its port and at the one that its router
// has mapped to that, and nowhere else. It errs when there is none.
func (r *Relay) dialBack(p *program, mapped netip.AddrPort) error {
	mapped = netip.AddrPortFrom(mapped.Addr().Unmap(), mapped.Port())
	elsewhere := mapped.IsValid() && !slices.Contains(p.from, mapped.Addr())
	var at []netip.AddrPort
	for _, a := range p.from {
		if mapped.Addr() == a && int(mapped.Port()) != p.port {
			at = append(at, mapped)
		}
		at = append(at, netip.AddrPortFrom(a, uint16(p.port)))
	}
	errs := make([]error, len(at))
	done := make(chan int, len(at))
	for i := range at {
		r.later("a dial-back", func() {
			errs[i] = r.dialBackTo(p, at[i])
			done <- i
		})
	}
	for range at {
		select {
		case <-done:
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
	for i, a := range at {
		if errs[i] == nil {
			p.reached = append(p.reached, a)
		}
	}
	// IPv6 needs no mapping, and no other computer shares it.
	slices.SortStableFunc(p.reached, func(a, b netip.AddrPort) int {
		return cmp.Compare(b.Addr().BitLen(), a.Addr().BitLen())
	})
	switch {
	case len(p.reached) > 0:
		return nil
	case elsewhere:
		return fmt.Errorf("its router is at %s by its own words, and its connection comes from %s: "+
			"another router is in between", mapped.Addr(), p.from[0])
	}
	return errs[0]
}

func (r *Relay) dialBackTo(p *program, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(r.ctx, dialBackWait)
	defer cancel()
	c, err := carrier.Dial(ctx, at, p.hashes)
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
	if gone {
		return
	}
	var at netip.AddrPort // which mails may name
	if i := slices.IndexFunc(p.reached, func(a netip.AddrPort) bool { return public(a.Addr()) }); i >= 0 {
		at = p.reached[i]
	}
	r.devices.direct(p.device, at)
	r.heartbeat(r.ctx, p.device)
	r.lookAtParts(p.device.Login)
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
	owners := r.groupsOf(login)
	for _, h := range r.all() {
		h.post(func() {
			if slices.Contains(owners, h.info.Participant(h.info.Owner).Login) {
				h.lookAtPart()
			}
		})
		h.leave()
	}
}

// program is that of the room's owner or, of a group, that of the member who came in first of those who are here.
func (h *liveRoom) program() *program {
	owner := h.info.Participant(h.info.Owner)
	if p := h.r.programOf(owner.Login); p != nil {
		return p
	}
	var of *program
	first := int64(0)
	for s := range h.sessions {
		if s.ticket.Session == nil || first != 0 && s.me >= first {
			continue
		}
		login := s.ticket.Session.Login
		if p := h.r.programOf(login); p != nil && slices.Contains(h.r.groupsOf(login), owner.Login) {
			of, first = p, s.me
		}
	}
	return of
}

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !carrierNAT.Contains(a)
}

// carrierNAT is where computers behind the router of a provider are, RFC 6598.
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// ways are the endpoints of a program for whoever comes from an address: those in its own network, then IPv6, then
// IPv4. The addresses of the computer itself are for its own network alone.
func (p *program) ways(from netip.Addr) (list []frame.Endpoint) {
	var at []netip.AddrPort
	near := p.near(from.Unmap())
	if near {
		for _, a := range p.own {
			at = append(at, netip.AddrPortFrom(a, uint16(p.port)))
		}
	}
	for _, a := range p.reached {
		if near || public(a.Addr()) {
			at = append(at, a)
		}
	}
	if near {
		at = append(at, netip.AddrPortFrom(p.from[0], uint16(p.port)))
	}
	for i, a := range at {
		if slices.Contains(at[:i], a) {
			continue
		}
		list = append(list, frame.Endpoint{Carrier: carrier.WebTransport, Port: int(a.Port()), Hashes: p.hashes,
			URL: "https://" + net.JoinHostPort(a.Addr().String(), strconv.Itoa(int(a.Port()))) + carrier.Path})
	}
	return list
}

// near reports whether an address is in the program's own network, as the server sees it.
func (p *program) near(from netip.Addr) bool {
	for _, own := range p.from {
		if from == own {
			return true
		}
		if !from.IsPrivate() || from.Is4() != own.Is4() {
			continue
		}
		bits := 24
		if from.Is6() {
			bits = 64
		}
		if netip.PrefixFrom(own, bits).Contains(from) {
			return true
		}
	}
	return false
}
