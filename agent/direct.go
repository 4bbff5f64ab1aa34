// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"context"
	"fmt"
	"net"
	"time"

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
	a    *agent
	host *direct.Host // nil until the server says that there is a direct way
	full chan direct.Part
	kept []*frame.Frame // of parts that ended while the server was away
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
		p.a.set(func(s *Status) {
			if s.Direct != nil {
				s.Direct.Reachable, s.Direct.Trouble = f.On, f.Text
			}
		})
		if f.On {
			p.a.logf("reachable from computer to computer")
		} else {
			p.a.logf("reachable from computer to computer in this network alone: %s", f.Text)
		}
	case frame.DirectOver:
		p.handOver(p.over(direct.Part{Room: f.Room, Epoch: f.Epoch}))
	}
}

// over ends a part and returns the frames with which it is handed over.
func (p *place) over(part direct.Part) (list []*frame.Frame) {
	if p.host != nil {
		list = p.host.Over(part.Epoch)
	}
	return append(list, &frame.Frame{T: frame.TDirect, Code: frame.DirectOver, Room: part.Room, Epoch: part.Epoch})
}

// serve listens, and tells the server where.
func (p *place) serve(ctx context.Context, f *frame.Frame) error {
	if p.host == nil {
		h, err := direct.Open(direct.Options{Origin: p.a.Client.Base(), Dir: p.a.Dir, Full: func(room, epoch string) {
			select {
			case p.full <- direct.Part{Room: room, Epoch: epoch}:
			default: // somebody says something again soon
			}
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
	p.a.set(func(s *Status) { s.Direct = &Direct{Port: port} })
	p.a.line.Send(&frame.Frame{T: frame.TDirect, Port: port, Hashes: p.host.Hashes(), Addrs: addrs()})
	list := p.kept
	p.kept = nil
	p.handOver(list)
	return nil
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

// isFull tells the server of a part that takes no more.
func (p *place) isFull(full direct.Part) {
	p.a.line.Send(&frame.Frame{T: frame.TDirect, Code: "full", Room: full.Room, Epoch: full.Epoch})
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
	Port      int    `json:"port,omitempty"` // UDP
	Reachable bool   `json:"reachable"`      // from outside
	Trouble   string `json:"trouble,omitempty"`
}

func (d *Direct) String() string {
	switch {
	case d.Port == 0:
		return "not reachable from computer to computer: " + d.Trouble
	case d.Reachable:
		return fmt.Sprintf("reachable from computer to computer at UDP port %d", d.Port)
	case d.Trouble == "":
		return fmt.Sprintf("looking whether this computer can be reached at UDP port %d", d.Port)
	}
	return fmt.Sprintf("reachable at UDP port %d in this network alone: open the port in the firewall or router (%s)",
		d.Port, d.Trouble)
}
