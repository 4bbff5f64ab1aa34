// SPDX-License-Identifier: GPL-3.0-or-later

package terminal

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/direct"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/seal"
)

const (
	comeWait  = 4 * time.Second // for the way to open and echo
	headStart = 100 * time.Millisecond
	beat      = time.Second
	silence   = 3 * time.Second // the way is lost
	overWait  = 4 * time.Second // for the relay to say that a part which is lost here is over
	maxNews   = 64
)

// past is the way from computer to computer, past the server: docs/direct.md. Its methods are of the goroutine of the
// talk, which runs what comes on news.
type past struct {
	t    *talk
	ctx  context.Context
	stop context.CancelFunc
	news chan func()
	part *part
	said []*frame.Frame          // as they are handed over, in the order of the program
	sent map[string]*frame.Frame // which the program has not acknowledged
	// The last part whose words stay at the program, and how many of them came here.
	keptEpoch string
	keptAfter int64
}

// part is what is said between two turns of the way.
type part struct {
	epoch, via string
	key        seal.Key
	keep       bool // what is said stays at the program
	out        *carrier.Queue
	on         bool
	stop       context.CancelFunc
}

func newPast(ctx context.Context, t *talk) *past {
	p := &past{t: t, news: make(chan func(), maxNews), sent: map[string]*frame.Frame{}}
	p.ctx, p.stop = context.WithCancel(ctx)
	return p
}

// later has the goroutine of the talk run f.
func (p *past) later(f func()) {
	select {
	case p.news <- f:
	case <-p.ctx.Done():
	}
}

// on says whether words go to the program.
func (p *past) on() bool { return p.part != nil && p.part.on && p.part.out != nil }

// waits says whether words wait for the relay to have those of the part.
func (p *past) waits() bool { return p.part != nil && p.part.on && p.part.out == nil }

// take takes what the relay says of the way.
func (p *past) take(f *frame.Frame) {
	switch {
	case f.Code == frame.DirectOffer:
		p.come(f)
	case p.part == nil || f.Epoch != p.part.epoch:
	case f.Code == frame.DirectOver:
		p.over()
	case f.Code == frame.DirectOn && p.part.out != nil:
		p.part.on = true
	}
}

// come tries the ways that are offered.
func (p *past) come(f *frame.Frame) {
	p.leave()
	key, err := base64.StdEncoding.DecodeString(f.Key)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(p.ctx)
	one := &part{epoch: f.Epoch, via: f.Via, key: key, keep: f.Keep, stop: stop}
	p.part = one
	hello := &frame.Frame{T: frame.THello, Ticket: f.Ticket, Epoch: p.keptEpoch, After: p.keptAfter}
	go func() { // ends with the part
		c, err := first(ctx, f.Endpoints, hello, func(heard *frame.Frame) { p.later(func() { p.hear(one, heard) }) })
		p.later(func() {
			switch {
			case p.part != one && c != nil:
				c.Close("over")
			case p.part != one:
			case err != nil:
				p.leave()
				p.t.line.Send(&frame.Frame{T: frame.TDirect, Epoch: one.epoch})
			default:
				out := carrier.NewQueue(c, slog.New(slog.DiscardHandler))
				one.out = out
				p.t.line.Send(&frame.Frame{T: frame.TDirect, Epoch: one.epoch, On: true})
				go p.listen(ctx, one, c, out)
			}
		})
	}()
}

// first is the first connection that is open and echoes.
func first(ctx context.Context, ways []frame.Endpoint, hello *frame.Frame,
	heard func(*frame.Frame)) (carrier.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, comeWait)
	defer stop()
	opened := make(chan carrier.Conn, len(ways))
	for i, e := range ways {
		go func() { // ends with ctx
			select {
			case <-time.After(time.Duration(i) * headStart):
			case <-ctx.Done():
			}
			c, err := enter(ctx, e, hello, heard)
			if err == nil && ctx.Err() != nil {
				c.Close("late")
			}
			if err != nil || ctx.Err() != nil {
				c = nil
			}
			opened <- c
		}()
	}
	for range ways {
		if c := <-opened; c != nil {
			stop() // those that open later are closed
			return c, nil
		}
	}
	return nil, errors.New("no way past the server opens")
}

// enter opens one way, shows the ticket, and waits until the program has let us in and echoes.
func enter(ctx context.Context, e frame.Endpoint, hello *frame.Frame, heard func(*frame.Frame)) (carrier.Conn, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(u.Host)
	if err != nil {
		return nil, err
	}
	c, err := carrier.Dial(ctx, at, e.Hashes)
	if err != nil {
		return nil, err
	}
	err = c.Write(ctx, frame.Encode(hello))
	for err == nil {
		var f *frame.Frame
		if f, err = read(ctx, c); err != nil {
			break
		}
		switch f.T {
		case frame.TWelcome:
			err = c.Write(ctx, frame.Encode(&frame.Frame{T: frame.TPing, N: 1}))
		case frame.TMsg:
			heard(f)
		case frame.TPong:
			return c, nil
		default:
			err = errors.New("the program does not let us in")
		}
	}
	c.Close("refused")
	return nil, err
}

func read(ctx context.Context, c carrier.Conn) (*frame.Frame, error) {
	b, err := c.Read(ctx)
	if err != nil {
		return nil, err
	}
	return frame.Decode(b)
}

// listen reads what the program says until it is silent.
func (p *past) listen(ctx context.Context, one *part, c carrier.Conn, out *carrier.Queue) {
	defer out.End("", "")
	ping := time.NewTicker(beat)
	defer ping.Stop()
	go func() { // ends with ctx
		for n := int64(2); ; n++ {
			select {
			case <-ping.C:
				out.Put(frame.Encode(&frame.Frame{T: frame.TPing, N: n}))
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		wait, stop := context.WithTimeout(ctx, silence)
		f, err := read(wait, c)
		stop()
		if err != nil {
			p.later(func() { p.lost(one) })
			return
		}
		if f.T != frame.TPong {
			p.later(func() { p.hear(one, f) })
		}
	}
}

// hear takes what the program says.
func (p *past) hear(one *part, f *frame.Frame) {
	if p.part != one {
		return
	}
	switch f.T {
	case frame.TMsg:
		if f.Msg == nil {
			return
		}
		text := f.Msg.Text
		if f.Text != "" {
			text = f.Text
		}
		p.got(one, f.Epoch, f.Msg.Offset)
		p.keep(one, *f.Msg, &frame.Frame{T: frame.TSay, ID: f.Msg.ID, Text: text, At: &f.Msg.At, From: f.Msg.From,
			Ref: f.Msg.Ref, Via: f.Msg.Via, Epoch: one.epoch, Mac: f.Mac})
	case frame.TAck:
		own := p.sent[f.ID]
		if own == nil {
			return
		}
		delete(p.sent, f.ID)
		me := p.t.conv.myself()
		p.got(one, one.epoch, f.Offset)
		whole := *own
		whole.From, whole.Epoch, whole.Via = me, one.epoch, one.via
		p.keep(one, chat.Message{ID: own.ID, From: me, Kind: chat.KindText, Text: own.Text, At: *own.At, Via: one.via},
			&whole)
	case frame.TTyping:
		p.t.conv.take(f)
	case frame.TError:
		delete(p.sent, f.ID)
		p.t.conv.take(f)
	}
}

// got notes how much came here of a part that stays at the program.
func (p *past) got(one *part, epoch string, offset int64) {
	if one.keep && offset > 0 {
		p.keptEpoch, p.keptAfter = epoch, offset
	}
}

func (p *past) keep(one *part, m chat.Message, f *frame.Frame) {
	if p.t.conv.early(m) && !one.keep {
		p.said = append(p.said, f)
	}
}

// settle forgets what the relay has.
func (p *past) settle(from int64, id string) {
	for i, f := range p.said {
		if f.ID == id && f.From == from {
			p.said = append(p.said[:i:i], p.said[i+1:]...)
			return
		}
	}
}

// say marks words and says them to the program.
func (p *past) say(id, text string) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	f := &frame.Frame{T: frame.TSay, ID: id, Text: text, At: &at}
	f.Mac = p.part.key.Mark(direct.Marked(f))
	p.sent[id] = f
	p.part.out.Put(frame.Encode(f))
}

func (p *past) typing() { p.part.out.Put(frame.Encode(&frame.Frame{T: frame.TTyping})) }

// lost tells the relay that the way is lost, and waits for what it says.
func (p *past) lost(one *part) {
	if p.part != one {
		return
	}
	one.out = nil
	p.t.line.Send(&frame.Frame{T: frame.TDirect, Epoch: one.epoch})
	time.AfterFunc(overWait, func() {
		p.later(func() {
			if p.part == one {
				p.over()
			}
		})
	})
}

// leave ends the connection to the program.
func (p *past) leave() {
	if p.part != nil {
		p.part.stop()
		p.part = nil
	}
}

// over ends the part: what the relay does not have is handed over before anything else is said.
func (p *past) over() {
	was := p.part
	p.leave()
	clear(p.sent)
	if was != nil && was.keep {
		p.t.conv.kept()
	}
	for _, f := range p.said {
		p.t.line.Send(f)
	}
	for _, f := range p.t.conv.again() {
		p.t.line.Send(f)
	}
}

func (p *past) close() {
	p.leave()
	p.stop()
}
