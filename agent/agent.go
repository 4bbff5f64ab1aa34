// SPDX-License-Identifier: GPL-3.0-or-later

// Package agent makes a person reachable at their computer: it keeps a connection to
// their server, on which they are rung, and shows rings as notifications of the desktop.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/agent/notice"
	"github.com/chmail/chmail/agent/server"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/words"
)

const (
	maxTold  = 1000            // missed rings that are remembered as shown
	clockOff = 2 * time.Minute // by which the clock may be wrong
)

// Desktop shows notifications; a *notice.Desktop does.
type Desktop interface {
	Show(n notice.Notice) (buttons bool, err error)
	Remove(id string)
	Presses() <-chan notice.Press
}

// Options are what Run needs.
type Options struct {
	Client  *server.Client
	Login   string
	Dir     string // one agent runs in a folder
	Desktop Desktop
	Open    func(url string) error // shows a page; nil: the way to answer in a terminal is printed instead
	Say     words.Tongue           // of notifications
	Out     io.Writer              // a line for everything that happens
	Direct  bool                   // let people in on this computer, past the server
	MapPort bool                   // ask the router to let them through
	Keep    bool                   // what they say there stays there
}

// ErrSignedOut: the token does not work any more, so that beginning again is of no use.
var ErrSignedOut = errors.New("this computer was signed out")

// What people press.
const (
	pressAnswer  = "answer"
	pressDecline = "decline"
	pressOpen    = "open"
)

// agent is a running one. Its fields but status are of the goroutine of run.
type agent struct {
	Options
	line  *server.Line
	place place
	ahead time.Duration         // of this computer's clock is the server's
	rings map[string]frame.Ring // by attempt: shown, and not answered
	told  map[string]bool       // attempts that were shown as missed, or that opened the desk

	mu     sync.Mutex
	status Status
}

// Run runs until ctx ends, or until the server has signed this computer out.
func Run(ctx context.Context, opts Options) error {
	a := &agent{Options: opts, rings: map[string]frame.Ring{}, told: map[string]bool{},
		status: Status{Running: true, PID: os.Getpid(), Login: opts.Login, Server: opts.Client.Base(), Since: time.Now()}}
	control, err := listen(opts.Dir, a.state)
	if err != nil {
		return err
	}
	defer control.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what the place has begun ends
	a.place = place{a: a, history: history{dir: opts.Dir}, later: make(chan func())}
	a.line = opts.Client.Device(context.WithoutCancel(ctx)) // it hands over what was said here at the end
	defer a.line.Close()
	defer a.place.close()
	for {
		select {
		case e, ok := <-a.line.Events():
			switch {
			case !ok || ctx.Err() != nil:
				return nil
			case e.Over:
				return a.over(e.Err)
			case e.Err != nil:
				a.lost(e.Err)
				a.place.lost()
			case e.Frame.T == frame.TDirect:
				if a.Direct {
					a.place.take(ctx, e.Frame)
				}
			default:
				if e.Frame.T == frame.TError && e.Frame.Code == frame.ErrTooFast {
					a.place.tooFast(ctx, e.Frame)
				}
				a.frame(e.Frame)
			}
		case f := <-a.place.later:
			f()
		case p := <-a.Desktop.Presses():
			a.press(p)
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *agent) logf(format string, values ...any) {
	fmt.Fprintf(a.Out, time.Now().Format("15:04:05 ")+format+"\n", values...)
}

// state is the status for who asks; it says what rings now.
func (a *agent) state() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *agent) set(change func(*Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
}

func (a *agent) lost(err error) {
	trouble := a.Client.Explain(err)
	a.set(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Trouble = trouble
	})
	a.logf("not connected: %s", trouble)
}

func (a *agent) over(err error) error {
	for id := range a.rings {
		a.Desktop.Remove(id)
	}
	if server.SignedOut(err) {
		// Whoever sees no desktop sees the line that the program ends with.
		_, _ = a.Desktop.Show(notice.Notice{ID: "out", Title: a.Say.Say("program.out"),
			Text: a.Say.Say("program.out.todo"), Urgent: true})
	}
	if server.SignedOut(err) {
		return fmt.Errorf("%w: run `chmail login` again", ErrSignedOut)
	}
	return errors.New(a.Client.Explain(err))
}

func (a *agent) frame(f *frame.Frame) {
	switch f.T {
	case frame.TWelcome:
		a.welcome(f)
	case frame.TRing:
		if f.Ring != nil {
			a.ring(*f.Ring)
		}
	case frame.TRingEnd:
		a.ringEnd(f)
	case frame.TStatus:
		if f.Status != nil {
			a.set(func(s *Status) { s.Availability = f.Status.State })
		}
	case frame.TError:
		a.logf("the server says: %s", f.Text)
	}
}

// welcome begins anew: what still rings is rung again.
func (a *agent) welcome(f *frame.Frame) {
	for id := range a.rings {
		a.Desktop.Remove(id)
	}
	clear(a.rings)
	clock := ""
	if f.At != nil {
		a.ahead = time.Until(*f.At)
		if off := time.Since(*f.At).Round(time.Minute); off.Abs() > clockOff {
			clock = fmt.Sprintf("this computer's clock is %v off: set it", off)
			a.logf("%s", clock)
		}
	}
	a.set(func(s *Status) {
		s.Connected, s.Since, s.Trouble, s.Clock, s.Rings = true, time.Now(), "", clock, nil
	})
	a.logf("connected to %s as %s", a.Client.Base(), a.Login)
}

// serverTime is the time by the server's clock.
func (a *agent) serverTime() time.Time { return time.Now().Add(a.ahead) }

func (a *agent) ring(r frame.Ring) {
	key := "program.ring"
	switch {
	case r.Waiting && !a.first(r.Attempt):
		return // it was shown before the connection was lost
	case r.Waiting:
		key = "program.missed"
	case !r.Proven:
		key = "program.ring.link"
	}
	n := notice.Notice{ID: r.Attempt, Title: a.Say.Say(key, "name", r.From.DisplayName()), Text: r.Subject,
		Urgent: !r.Waiting, Sound: !r.Waiting && !r.Muted,
		Buttons: []notice.Button{{Key: pressAnswer, Label: a.Say.Say("program.answer")},
			{Key: pressDecline, Label: a.Say.Say("program.decline")}}}
	if r.Waiting {
		n.Buttons[0].Label, n.Buttons[1].Label = a.Say.Say("program.open"), a.Say.Say("program.dismiss")
	}
	if r.Busy {
		n.Text = a.Say.Say("program.ring.busy", "subject", r.Subject)
	}
	_, again := a.rings[r.Attempt]
	a.rings[r.Attempt] = r
	a.rang()
	if !again {
		a.logf("%s: %s", n.Title, r.Subject)
	}
	buttons, err := a.Desktop.Show(n)
	if err != nil && !again {
		a.logf("no notification is shown: %v", err)
	}
	if again || r.Waiting || buttons || !a.first(r.Attempt) {
		return
	}
	if a.Open == nil {
		a.show(r.Room)
		return
	}
	// There is nothing to press: the desk asks. The room itself would answer the ring.
	a.show("")
}

// first says whether an attempt was not told of before, and notes that it is now.
func (a *agent) first(attempt string) bool {
	if a.told[attempt] {
		return false
	}
	if len(a.told) >= maxTold {
		clear(a.told)
	}
	a.told[attempt] = true
	return true
}

func (a *agent) ringEnd(f *frame.Frame) {
	r, ok := a.rings[f.AttemptID]
	if !ok {
		return
	}
	a.forget(f.AttemptID)
	a.logf("%s: %s", r.From.DisplayName(), f.Code)
	if f.Code == frame.EndUnanswered || f.Code == frame.EndCancelled {
		a.first(f.AttemptID) // the server tells of it again at the next connection
		_, _ = a.Desktop.Show(notice.Notice{ID: f.AttemptID, Text: r.Subject,
			Title:   a.Say.Say("program.missed", "name", r.From.DisplayName()),
			Buttons: []notice.Button{{Key: pressOpen + " " + r.Room, Label: a.Say.Say("program.open")}}})
	}
}

func (a *agent) press(p notice.Press) {
	r, rings := a.rings[p.ID]
	key, room, _ := strings.Cut(p.Key, " ")
	switch {
	case key == pressOpen:
		a.Desktop.Remove(p.ID)
		a.show(room)
	case !rings:
	case key == pressDecline:
		if a.line.Send(&frame.Frame{T: frame.TDecline, AttemptID: p.ID}) {
			a.forget(p.ID)
		}
	default: // Answer, or a click on the notification
		// Entering the room answers too, should the connection be away just now.
		a.line.Send(&frame.Frame{T: frame.TAnswer, AttemptID: p.ID})
		a.forget(p.ID)
		a.show(r.Room)
	}
}

func (a *agent) forget(id string) {
	delete(a.rings, id)
	a.Desktop.Remove(id)
	a.rang()
}

// show leads into a conversation at the desk.
func (a *agent) show(room string) {
	link := a.Client.RoomURL(room)
	if a.Open == nil {
		a.logf("%s", a.Say.Say("program.how", "link", link))
		return
	}
	if err := a.Open(link); err != nil {
		a.logf("no browser opens (%v): go to %s", err, link)
	}
}

// rang tells the status what rings.
func (a *agent) rang() {
	var rings []Ring
	for _, r := range a.rings {
		rings = append(rings, Ring{From: r.From.DisplayName(), Subject: r.Subject, Room: r.Room,
			Link: a.Client.RoomURL(r.Room), Missed: r.Waiting, At: r.At})
	}
	a.set(func(s *Status) { s.Rings = rings })
}
