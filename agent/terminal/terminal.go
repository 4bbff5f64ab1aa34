// SPDX-License-Identifier: GPL-3.0-or-later

// Package terminal is a chat in a terminal, also over ssh: on a screen of its own, or,
// where input or output is no terminal, line by line.
package terminal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/chmail/chmail/agent/server"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/words"
)

const (
	typingEvery = 2 * time.Second
	sendWait    = 10 * time.Second // for what was said, before one leaves
)

// Place is a conversation to go to.
type Place struct {
	Files string // address of its files, before their ID
	Door  func(context.Context) (server.Way, error)
	// Ring: ring the other side when it is not there, once.
	Ring bool
}

// Options are what Run needs.
type Options struct {
	Client *server.Client
	// Device: somebody is signed in, who is rung here too.
	Device  bool
	Room    func(room string) Place // of a ring that is answered here
	Say     words.Tongue
	In, Out *os.File
}

// talk is one conversation with what a person can do in it.
type talk struct {
	Options
	conv   *conversation
	line   *server.Line
	device *server.Line // nil: nobody is signed in
	past   *past
	ring   *frame.Ring // that is to be answered
	place  Place
	rung   bool
	typed  time.Time
	next   string // room of a ring that was answered: where to go on
	done   chan struct{}
}

// Run talks at a place, and at those whose rings are answered from there, until the person
// quits or the server ends it.
func Run(ctx context.Context, at Place, opts Options) error {
	var device *server.Line
	if opts.Device {
		device = opts.Client.Device(ctx)
		defer device.Close()
	}
	screen := term.IsTerminal(int(opts.In.Fd())) && term.IsTerminal(int(opts.Out.Fd())) && os.Getenv("TERM") != "dumb"
	for {
		conv := newConversation(opts.Say, at.Files)
		t := &talk{Options: opts, conv: conv, device: device, place: at, done: make(chan struct{}),
			line: opts.Client.Room(ctx, at.Door, conv.hello)}
		t.past = newPast(ctx, t)
		var err error
		if screen {
			err = t.onScreen(ctx)
		} else {
			err = t.byLines(ctx)
		}
		close(t.done)
		t.past.close()
		t.line.Close()
		if err != nil || t.next == "" || ctx.Err() != nil {
			return err
		}
		at = opts.Room(t.next)
	}
}

// rings are the events of the device; nil, of which nothing ever comes, without one.
func (t *talk) rings() <-chan server.Event {
	if t.device == nil {
		return nil
	}
	return t.device.Events()
}

// room takes an event of the room. It errs when the conversation is over.
func (t *talk) room(e server.Event) error {
	switch {
	case e.Over:
		if errors.Is(e.Err, context.Canceled) {
			return nil
		}
		return errors.New(t.Client.Explain(e.Err))
	case e.Err != nil:
		t.conv.lost()
		return nil
	}
	t.conv.take(e.Frame)
	switch f := e.Frame; f.T {
	case frame.TDirect:
		t.past.take(f)
	case frame.TAck:
		t.past.settle(t.conv.myself(), f.ID)
	case frame.TError:
		if f.Code == frame.ErrForbidden {
			t.past.settle(t.conv.myself(), f.ID)
		}
	case frame.TWelcome:
		t.past.over() // the relay ends a part when somebody comes
		if t.place.Ring && !t.rung {
			// While one is ringing already, or the callee is here, this does nothing.
			t.rung = t.line.Send(&frame.Frame{T: frame.TAttempt})
		}
	case frame.TMsg:
		if f.Msg != nil {
			t.past.settle(f.Msg.From, f.Msg.ID)
		}
		t.line.Send(&frame.Frame{T: frame.TSeen, Offset: t.conv.seen()})
	}
	return nil
}

// rang takes an event of the device: somebody rings from another conversation.
func (t *talk) rang(e server.Event) {
	switch f := e.Frame; {
	case f == nil:
	case f.T == frame.TRing && f.Ring != nil && !f.Ring.Waiting:
		t.ring = f.Ring
	case f.T == frame.TRingEnd && t.ring != nil && t.ring.Attempt == f.AttemptID:
		t.ring = nil
	}
}

// head says how things stand, and which way words go.
func (t *talk) head() string {
	head := t.conv.head()
	if t.past.on() {
		head += " · " + t.Say.Say("program.direct")
		if t.past.part.keep {
			head += " · " + t.Say.Say("program.kept")
		}
	}
	return head
}

// ringing says who rings; empty: nobody.
func (t *talk) ringing() string {
	if t.ring == nil {
		return ""
	}
	return t.Say.Say("program.ringing", "name", Visible(t.ring.From.DisplayName()))
}

// enter takes a line that was typed: words to say, or a command. It reports whether the
// talk ends, and what else is to be shown.
func (t *talk) enter(text string) (quit bool, shown string) {
	if strings.TrimSpace(text) == "" {
		return false, ""
	}
	command, rest, _ := strings.Cut(text, " ")
	switch {
	case strings.HasPrefix(text, "//"): // words that begin with a slash
		t.utter(text[1:])
	case !strings.HasPrefix(text, "/"):
		t.utter(text)
	case command == "/quit":
		return true, ""
	case command == "/ring":
		t.line.Send(&frame.Frame{T: frame.TAttempt})
	case command == "/cancel":
		t.line.Send(&frame.Frame{T: frame.TCancel})
	case command == "/answer" && t.ring != nil:
		t.device.Send(&frame.Frame{T: frame.TAnswer, AttemptID: t.ring.Attempt})
		t.next, t.ring = t.ring.Room, nil
		return true, ""
	case command == "/decline" && t.ring != nil:
		t.device.Send(&frame.Frame{T: frame.TDecline, AttemptID: t.ring.Attempt, Text: rest})
		t.ring = nil
	default:
		return false, t.Say.Say("program.command", "command", command, "help", t.Say.Say("program.help"))
	}
	return false, ""
}

// utter says words, now or after coming back.
func (t *talk) utter(text string) {
	p := pending{id: rand.Text(), text: text}
	t.conv.add(p)
	switch {
	case t.past.on():
		t.past.say(p.id, p.text)
	case t.past.waits(): // it is said when the relay has the words of the part
	default:
		t.line.Send(&frame.Frame{T: frame.TSay, ID: p.id, Text: p.text})
	}
}

// typing tells the others that the person types, now and then.
func (t *talk) typing() {
	if time.Since(t.typed) > typingEvery {
		t.typed = time.Now()
		if t.past.on() {
			t.past.typing()
			return
		}
		t.line.Send(&frame.Frame{T: frame.TTyping})
	}
}

// byLines prints each message as a line, and says each line that is read. At the end of
// the input it leaves as soon as everything has arrived.
func (t *talk) byLines(ctx context.Context) error {
	p := printer{out: t.Out}
	input, more := make(chan string), true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go readLines(ctx, t.In, input) // ends with the input, or with the program
	var leave <-chan time.Time
	for {
		if !more && t.conv.unsent() == 0 {
			return nil
		}
		select {
		case e, ok := <-t.line.Events():
			if !ok {
				return nil
			}
			if err := t.room(e); err != nil {
				return err
			}
		case f := <-t.past.news:
			f()
		case e, ok := <-t.rings():
			if !ok {
				t.device = nil
				break
			}
			t.rang(e)
		case text, ok := <-input:
			if !ok {
				input, more, leave = nil, false, time.After(sendWait)
				break
			}
			quit, shown := t.enter(text)
			if quit && t.next != "" {
				return nil
			}
			if quit {
				input, more, leave = nil, false, time.After(sendWait)
			}
			p.once(shown)
		case <-leave:
			return fmt.Errorf("%d messages were not sent", t.conv.unsent())
		case <-ctx.Done():
			return nil
		}
		p.print(t)
	}
}

// printer prints what is new.
type printer struct {
	out   io.Writer
	after int64           // offset of the last message that was printed
	early map[string]bool // printed before the relay had them
	said  map[string]string
}

func (p *printer) once(text string) {
	if text != "" {
		fmt.Fprintln(p.out, text)
	}
}

func (p *printer) print(t *talk) {
	t.conv.mu.Lock()
	var lines []string
	for _, m := range t.conv.messages {
		if m.Offset > p.after {
			p.after = m.Offset
			if what := fmt.Sprint(m.From, " ", m.ID); !p.early[what] {
				lines = append(lines, t.conv.line(m))
			}
		}
	}
	for _, m := range t.conv.past {
		if what := fmt.Sprint(m.From, " ", m.ID); !p.early[what] {
			if p.early == nil {
				p.early = map[string]bool{}
			}
			p.early[what] = true
			lines = append(lines, t.conv.line(m))
		}
	}
	t.conv.mu.Unlock()
	for _, line := range lines {
		fmt.Fprintln(p.out, line)
	}
	for what, text := range map[string]string{"head": "* " + t.head(), "ring": t.ringing()} {
		if p.said == nil {
			p.said = map[string]string{}
		}
		if p.said[what] != text {
			p.said[what] = text
			p.once(text)
		}
	}
}

func readLines(ctx context.Context, in io.Reader, lines chan<- string) {
	defer close(lines)
	scan := newLines(in)
	for scan.Scan() {
		select {
		case lines <- scan.Text():
		case <-ctx.Done():
			return
		}
	}
}
