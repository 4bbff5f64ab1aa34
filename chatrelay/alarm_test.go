// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// lookingMailer is a mail system that looks at the attempts when a mail comes.
type lookingMailer struct {
	*outMail
	look func()
}

func (m lookingMailer) Send(ctx context.Context, mail chat.ServerMail) error {
	m.look()
	return m.outMail.Send(ctx, mail)
}

// An alarm mail is claimed in the store before it goes out, and the caller does
// not see it as sent before it is.
func TestAlarmIsClaimedFirst(t *testing.T) {
	t.Parallel()
	var w *world
	seen := make(chan chat.Attempt, 1)
	w = newWorld(t, func(o *Options) {
		o.Mailer = lookingMailer{o.Mailer.(*outMail), func() {
			past, err := w.rooms.Attempts(context.Background(), w.room, 1)
			if err != nil || len(past) != 1 {
				t.Error(past, err)
				return
			}
			seen <- past[0]
		}}
	})
	kim := w.in(w.chat(w.token, 1), frame.Frame{})
	kim.send(frame.Frame{T: frame.TAttempt})
	if f := kim.state(attempt.Unanswered); f.Attempt.Mailed != nil {
		t.Errorf("%+v is mailed", f.Attempt)
	}
	select {
	case a := <-seen:
		if !claimed(a) {
			t.Errorf("the mail goes out while the store has %+v", a)
		}
	case <-time.After(patience):
		t.Fatal("no alarm mail")
	}
	if f := kim.state(attempt.Alarmed); f.Attempt.Mailed == nil {
		t.Errorf("%+v is not mailed", f.Attempt)
	}
}

// What a relay claimed and may have mailed before it died is mailed when the
// claim is old, once, and not before.
func TestAlarmClaimedByTheProcessBefore(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]time.Duration{"young": claimFor, "old": time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			kim := w.chat(w.token, 1)
			info, err := w.rooms.Info(t.Context(), w.room)
			if err != nil {
				t.Fatal(err)
			}
			claim := time.Now().Add(left - claimFor)
			if err := w.rooms.PutAttempt(t.Context(), "", chat.Attempt{ID: "before", Room: w.room,
				Caller: kim.Me, Callee: info.Owner,
				State: attempt.Unanswered, Rings: 1, Started: claim, Mailed: claim}); err != nil {
				t.Fatal(err)
			}
			w.relay.takeUp()
			caller := w.in(kim, frame.Frame{})
			if left == claimFor {
				f := caller.typ(frame.TWelcome)
				if f.Attempt == nil || f.Attempt.State != attempt.Unanswered || f.Attempt.Mailed != nil {
					t.Errorf("attempt %+v", f.Attempt)
				}
				if n := len(w.mail.all()); n != 0 {
					t.Errorf("%d mails at once", n)
				}
				return
			}
			caller.state(attempt.Alarmed)
			if n := len(w.mail.all()); n != 1 {
				t.Errorf("%d mails in the end", n)
			}
		})
	}
}

// A relay whose room another has taken while a mail system was away sends no
// alarm mail when that is back.
func TestAlarmOfARoomThatMoved(t *testing.T) {
	t.Parallel()
	all := newWorlds(t, 2, nil)
	home, other := all[0], all[1]
	home.mail.refuse(true)
	kim := home.come(home.chat(home.token, 1), frame.Frame{})
	kim.typ(frame.TWelcome)
	kim.send(frame.Frame{T: frame.TAttempt})
	eventually(t, "the claim of a mail that fails", func() bool {
		past, err := home.rooms.Attempts(t.Context(), home.room, 1)
		home.mail.mu.Lock()
		defer home.mail.mu.Unlock()
		return err == nil && len(past) == 1 && claimed(past[0]) && home.mail.tries > 0
	})
	if err := home.rooms.LeaveHome(t.Context(), home.room, home.relay.opt.Host); err != nil {
		t.Fatal(err)
	}
	if at, err := home.rooms.ClaimHome(t.Context(), home.room, other.relay.opt.Host); err != nil ||
		at != other.relay.opt.Host {
		t.Fatal(at, err)
	}
	home.mail.refuse(false)
	kim.typ(frame.TMoved) // when it tries again
	if n := len(home.mail.all()) + len(other.mail.all()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

// refuse makes the mail system go away, or come back.
func (o *outMail) refuse(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = on
}
