// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/chmail/chmail/agent/portmap"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
)

const (
	maxAddrs = 8   // of this computer, told to the server
	maxKept  = 500 // messages that wait for the server to come back
)

// place lets people in on this computer, past the server: docs/direct.md describes it. Its
// methods are of the goroutine of run.
type place struct {
	a       *agent
	host    *direct.Host // nil until the server says that there is a direct way
	history history
	later   chan func()    // what other goroutines want to be done
	kept    []*frame.Frame // of parts that ended while the server was away

	port    int // where it listens
	router  *portmap.Keeper
	mapping portmap.Mapping
	proofs  []string // for the next registration
	waits   int      // what the registration waits for: the router's first answer, proofs
	// mapWaits: the router's first answer is one of them.
	mapWaits bool
	asked    bool // the server looks whether it reaches us
	again    bool // since then something else is to be registered
}

// take takes what the server says of the direct way.
func (p *place) take(ctx context.Context, f *frame.Frame) {
	switch f.Code {
	case frame.DirectServe:
		if err := p.serve(ctx, f); err != nil {
			p.a.logf("not reachable from computer to computer: %v", err)
			p.a.set(func(s *Status) { s.Direct = &Direct{Trouble: err.Error()} })
		}
	case frame.DirectReach:
		p.reached(f)
	case frame.DirectOver:
		p.handOver(p.over(direct.Part{Room: f.Room, Epoch: f.Epoch}))
	}
}

// tooFast registers again when the server takes it, if it did not take the last one.
func (p *place) tooFast(ctx context.Context, f *frame.Frame) {
	if !p.asked {
		return
	}
	p.asked, p.again = false, false
	time.AfterFunc(time.Duration(max(f.Wait, 1))*time.Second, func() { p.do(ctx, p.register) })
}

// reached takes the answer to a registration.
func (p *place) reached(f *frame.Frame) {
	p.asked = false
	p.a.change(func(d *Direct) { d.Reachable, d.Trouble, d.At = f.On, f.Text, f.Addrs })
	if f.On {
		p.a.logf("reachable from computer to computer")
	} else {
		p.a.logf("reachable from computer to computer in this network alone: %s", f.Text)
	}
	if p.again {
		p.register()
	}
}

// over ends a part and returns the frames with which it is handed over.
func (p *place) over(part direct.Part) (list []*frame.Frame) {
	kept := false
	if p.host != nil {
		list, kept = p.host.Over(part.Epoch)
	}
	return append(list, &frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: part.Room, Epoch: part.Epoch,
		Keep: kept})
}

// serve listens, and tells the server where.
func (p *place) serve(ctx context.Context, f *frame.Frame) error {
	if p.host == nil {
		h, err := direct.Open(direct.Options{Origin: p.a.Client.Base(), Dir: p.a.Dir, Keep: p.history.add,
			Full: func(room, epoch string) {
				p.do(ctx, func() {
					p.a.line.Send(&frame.Frame{T: frame.TDirect, Code: "full", Room: room, Epoch: epoch})
				})
			}})
		if err != nil {
			return err
		}
		p.host = h
	}
	port, err := p.host.Listen(ctx, f.Port, f.Key, p.a.serverTime())
	if err != nil {
		return err
	}
	p.port, p.asked, p.again, p.proofs = port, false, false, nil
	p.a.set(func(s *Status) { s.Direct = &Direct{Port: port, Keep: p.a.Keep} })
	p.mapPort(ctx)
	p.prove(ctx)
	p.register()
	list := p.kept
	p.kept = nil
	p.handOver(list)
	return nil
}

// do runs f in the goroutine of run.
func (p *place) do(ctx context.Context, f func()) {
	select {
	case p.later <- f:
	case <-ctx.Done():
	}
}

// mapPort asks the router to let others in at the port. The registration waits for its first answer.
func (p *place) mapPort(ctx context.Context) {
	if !p.a.MapPort {
		return
	}
	if p.router != nil && p.router.Port() == p.port {
		p.router.Renew() // the network may be another one
		p.mapped(p.mapping, nil)
		return
	}
	if p.router != nil {
		p.router.Close()
		if p.mapWaits { // its first answer comes no more
			p.waits--
		}
	}
	p.waits++
	p.mapWaits = true
	first := true
	p.router = portmap.Keep(ctx, p.port, func(ctx context.Context, m portmap.Mapping, err error) {
		waited := first
		first = false
		p.do(ctx, func() {
			if waited {
				p.waits--
				p.mapWaits = false
			}
			p.mapped(m, err)
			p.register()
		})
	})
}

// mapped notes what the router has answered.
func (p *place) mapped(m portmap.Mapping, err error) {
	p.mapping = m
	p.a.change(func(d *Direct) {
		d.Mapped, d.MapTrouble = "", ""
		switch {
		case err != nil:
			d.MapTrouble = err.Error()
		case m.External.IsValid():
			d.Mapped = m.External.String() + " by " + m.By
		}
	})
	if err != nil {
		p.a.logf("no port of the router: %v", err)
	}
}

// prove shows the server that this computer has an address of IPv4 and one of IPv6, if it has.
func (p *place) prove(ctx context.Context) {
	four, six := false, false
	for _, a := range addrs() {
		if strings.Contains(a, ":") {
			six = true
		} else {
			four = true
		}
	}
	if !four || !six {
		return
	}
	p.waits++
	go func() { // ends with its requests
		var proofs []string
		for _, network := range []string{"tcp6", "tcp4"} {
			if proof, err := p.a.Client.AddressProof(ctx, network); err == nil {
				proofs = append(proofs, proof)
			}
		}
		p.do(ctx, func() {
			p.waits--
			p.proofs = proofs
			p.register()
		})
	}()
}

// register tells the server where this computer is, and has it look whether it is reached there.
func (p *place) register() {
	if p.waits > 0 || p.host == nil {
		return
	}
	if p.again = p.asked; p.asked {
		return
	}
	f := &frame.Frame{T: frame.TDirect, Port: p.port, Hashes: p.host.Hashes(), Addrs: addrs(), Proofs: p.proofs,
		Keep: p.a.Keep}
	if p.mapping.External.IsValid() {
		f.Mapped = p.mapping.External.String()
	}
	p.asked = p.a.line.Send(f)
}

// handOver sends the frames of parts that are over, and keeps those that the line does not
// take until the server is back.
func (p *place) handOver(list []*frame.Frame) {
	for i, m := range list {
		if !p.a.line.Send(m) {
			p.keep(list[i:])
			return
		}
	}
}

func (p *place) keep(list []*frame.Frame) {
	p.kept = append(p.kept, list...)
	p.kept = p.kept[max(0, len(p.kept)-maxKept):]
}

// lost ends all parts: without the server nobody knows who may be in a room. What was said
// in them is handed over when the server is back, should those who were there not have done it.
func (p *place) lost() {
	if p.host == nil {
		return
	}
	for _, part := range p.host.Parts() {
		p.keep(p.over(part))
	}
	p.a.set(func(s *Status) { s.Direct = nil })
}

func (p *place) close() {
	if p.router != nil {
		p.router.Close()
	}
	if p.host == nil {
		return
	}
	for _, part := range p.host.Parts() {
		for _, m := range p.over(part) {
			p.a.line.Send(m)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := p.host.Close(ctx); err != nil {
		p.a.logf("ending the direct chats: %v", err)
	}
}

// addrs are those of this computer at which others may reach it.
func addrs() (list []string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && len(list) < maxAddrs {
			list = append(list, n.IP.String())
		}
	}
	return list
}

// Direct is how this computer can be reached past the server.
type Direct struct {
	Port       int      `json:"port,omitempty"` // UDP
	Reachable  bool     `json:"reachable"`      // from outside
	At         []string `json:"at,omitempty"`   // where, as the server has tried
	Trouble    string   `json:"trouble,omitempty"`
	Mapped     string   `json:"mapped,omitempty"`      // the router's port, and by which protocol
	MapTrouble string   `json:"map_trouble,omitempty"` // why there is none
	Keep       bool     `json:"keep,omitempty"`        // what is said stays here
}

// change changes how this computer can be reached, unless that is not known.
func (a *agent) change(f func(*Direct)) {
	a.set(func(s *Status) {
		if s.Direct != nil {
			d := *s.Direct // the old one may be on its way to who asks
			f(&d)
			s.Direct = &d
		}
	})
}

func (d *Direct) String() string {
	text := d.reach()
	if d.Mapped != "" {
		text += "\nthe router lets others in at " + d.Mapped
	}
	if d.MapTrouble != "" {
		text += "\nno port of the router: " + d.MapTrouble
	}
	if d.Keep {
		text += "\nwhat is said from computer to computer stays here: see `chmail chat --history`"
	}
	return text
}

func (d *Direct) reach() string {
	switch {
	case d.Port == 0:
		return "not reachable from computer to computer: " + d.Trouble
	case d.Reachable:
		return fmt.Sprintf("reachable from computer to computer at UDP port %d: %s", d.Port, strings.Join(d.At, ", "))
	case d.Trouble == "":
		return fmt.Sprintf("looking whether this computer can be reached at UDP port %d", d.Port)
	}
	return fmt.Sprintf("reachable at UDP port %d in this network alone: open the port in the firewall or router, "+
		"or try --map-port (%s)", d.Port, d.Trouble)
}
