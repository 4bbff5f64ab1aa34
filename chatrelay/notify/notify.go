// SPDX-License-Identifier: GPL-3.0-or-later

// Package notify tells people who are not here: by mail, by Web Push to their
// browsers, and by webhooks.
//
// The caller decides who is told of what. Mails are sent while the caller
// waits; a push and a call of a webhook are queued, and nobody waits for them.
// push.go describes Web Push. words.go has the words of mails and webhooks.
package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
)

const (
	queued      = 4096             // notifications whose logins' browsers are still to be looked up; more are dropped
	callTimeout = 10 * time.Second // looking one login's browsers up; saying that an alarm was taken
)

// ErrNoPush: this server sends no Web Push.
var ErrNoPush = errors.New("this server sends no notifications to browsers")

// Store is what a Notifier uses of the rooms' database.
type Store interface {
	// Setting returns a value of the server, which make makes the first time.
	Setting(ctx context.Context, key string, make func() ([]byte, error)) ([]byte, error)
	// PutSubscription keeps a browser. An endpoint belongs to one login, the
	// last that was signed in there. Of more than most the oldest goes.
	PutSubscription(ctx context.Context, login string, sub chat.Subscription, most int) error
	// Subscriptions are the browsers of a login, none if it is unknown.
	Subscriptions(ctx context.Context, login string) ([]chat.Subscription, error)
	// DropSubscription forgets a browser of a login; of any login where it is
	// empty. That there is none is no error.
	DropSubscription(ctx context.Context, login, endpoint string) error
	// NoteShown notes that a browser of a login has shown something now.
	NoteShown(ctx context.Context, login, endpoint string) error
	// Language is the one in which a person wants to be written to; empty: not known.
	Language(ctx context.Context, p chat.Person) (string, error)
}

// PushOptions are how browsers are told by Web Push.
type PushOptions struct {
	Contact  string      // of the operator, for push services; CheckContact looks at it
	Anywhere bool        // push services may be in one's own net
	TLS      *tls.Config // for the connections to push services; may be nil
}

// Options are what Start needs.
type Options struct {
	Store    Store
	Mailer   Mailer
	WebBase  string       // origin of the pages, with which links begin
	Push     *PushOptions // nil: no Web Push
	Webhooks []Webhook
	// Wants says whether a login wants to be told of a note by Web Push now.
	Wants func(ctx context.Context, login string, n Note) bool
	// AlarmTaken is told when a push service or a webhook has taken an alarm.
	// Both functions are called by the notifier's goroutine, which they hold up.
	AlarmTaken func(ctx context.Context, n Note, at time.Time)
	Log        *slog.Logger // nil: nothing is logged
}

// Notifier tells people. Its methods may be called at the same time.
type Notifier struct {
	opt    Options
	pusher *pusher // nil: no Web Push
	hooks  []*hook
	queue  chan notification
	taken  chan takenAlarm
	ctx    context.Context
	stop   context.CancelFunc
	owned  sync.WaitGroup
}

// notification is a note for the browsers of logins.
type notification struct {
	logins []string
	note   Note
}

// takenAlarm is an alarm that a push service or a webhook took.
type takenAlarm struct {
	note Note
	at   time.Time
}

// Start returns a notifier that runs until Close.
func Start(ctx context.Context, opt Options) (*Notifier, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{opt: opt, queue: make(chan notification, queued), taken: make(chan takenAlarm, queued)}
	if opt.Push != nil {
		keys, err := LoadKeys(ctx, opt.Store.Setting)
		if err != nil {
			return nil, fmt.Errorf("starting notifications: %w", err)
		}
		n.pusher, err = newPusher(pusherOptions{Keys: keys, Contact: opt.Push.Contact, WebBase: opt.WebBase,
			Store:    opt.Store,
			Anywhere: opt.Push.Anywhere, TLS: opt.Push.TLS, Log: opt.Log,
			Report: func(_ string, note Note, err error) {
				if err == nil && note.Kind == Alarm {
					n.alarmTaken(note)
				}
			}})
		if err != nil {
			return nil, fmt.Errorf("starting notifications: %w", err)
		}
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	for _, w := range opt.Webhooks {
		h := newHook(w, n)
		n.hooks = append(n.hooks, h)
		n.owned.Go(h.run)
	}
	n.owned.Go(n.run)
	return n, nil
}

// Close drops what is queued and returns when every goroutine of the notifier
// has ended. Mails may be sent afterwards.
func (n *Notifier) Close() {
	if n == nil {
		return // it has never run
	}
	n.stop()
	if n.pusher != nil {
		n.pusher.Close()
	}
	n.owned.Wait()
}

// MailAlarm tells to that from tried to reach them; the link of the token
// leads into the room.
func (n *Notifier) MailAlarm(ctx context.Context, from, to chat.Person, subject, token string) error {
	return n.mail(ctx, alarmMail(from, to, subject, n.link(token)))
}

// MailBack tells to, who asked for it, that from is back.
func (n *Notifier) MailBack(ctx context.Context, from, to chat.Person, subject, token string) error {
	return n.mail(ctx, backMail(from, to, subject, n.link(token)))
}

// MailInvite tells to that from invites them into a conversation.
func (n *Notifier) MailInvite(ctx context.Context, from, to chat.Person, subject, token string) error {
	return n.mail(ctx, inviteMail(from, to, subject, n.link(token)))
}

// MailCode sends a confirmation code.
func (n *Notifier) MailCode(ctx context.Context, to chat.Person, code string) error {
	return n.mail(ctx, codeMail(to, code))
}

// mail sends a letter in its reader's language.
func (n *Notifier) mail(ctx context.Context, l letter) error {
	m, err := l.written(n.languages(ctx, l))
	if err != nil {
		return err
	}
	return n.opt.Mailer.Send(ctx, m)
}

func (n *Notifier) link(token string) string { return n.opt.WebBase + "/c/" + token }

// Push tells the browsers of logins, soon. It never waits.
func (n *Notifier) Push(logins []string, note Note) {
	if n.pusher == nil || len(logins) == 0 {
		return
	}
	select {
	case n.queue <- notification{logins, note}:
	default:
		notificationsTotal.WithLabelValues("dropped").Inc()
	}
}

// Pushes says whether browsers are told at all.
func (n *Notifier) Pushes() bool { return n.pusher != nil }

// CallWebhooks tells the webhooks of an alarm of logins, soon. It never waits.
func (n *Notifier) CallWebhooks(logins []string, note Note, from chat.Person) {
	for _, h := range n.hooks {
		h.tell(logins, note, from)
	}
}

// alarmTaken never waits: that the caller learns of it is not worth that.
func (n *Notifier) alarmTaken(note Note) {
	select {
	case n.taken <- takenAlarm{note, time.Now().UTC()}:
	default:
		notificationsTotal.WithLabelValues("dropped").Inc()
	}
}

func (n *Notifier) run() {
	for {
		select {
		case q := <-n.queue:
			for _, login := range q.logins {
				n.push(login, q.note)
			}
		case t := <-n.taken:
			n.reportTaken(t)
		case <-n.ctx.Done():
			return
		}
	}
}

// push tells the browsers of a login, if they want that now. The end of a ring
// always goes out: the ring may have.
func (n *Notifier) push(login string, note Note) {
	defer safely.Recover(n.opt.Log, "push")
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	if note.Kind != End && !n.opt.Wants(ctx, login, note) {
		return
	}
	if _, err := n.pusher.Send(ctx, login, note); err != nil {
		notificationsTotal.WithLabelValues("failed").Inc()
		n.opt.Log.Warn("sending a push", "login", login, "room", note.Room, "kind", note.Kind, "err", err)
		return
	}
	notificationsTotal.WithLabelValues("queued").Inc()
}

func (n *Notifier) reportTaken(t takenAlarm) {
	defer safely.Recover(n.opt.Log, "push")
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	n.opt.AlarmTaken(ctx, t.note, t.at)
}

// PushKey is the key with which pages subscribe a browser. ErrNoPush: none is.
func (n *Notifier) PushKey() (string, error) {
	if n.pusher == nil {
		return "", ErrNoPush
	}
	return n.pusher.PublicKey(), nil
}

// Subscribe keeps a browser of a login. ErrNoPush; ErrSubscription: no push can
// be sent to it.
func (n *Notifier) Subscribe(ctx context.Context, login string, sub Subscription) error {
	if n.pusher == nil {
		return ErrNoPush
	}
	if err := sub.Check(); err != nil {
		return fmt.Errorf("subscribing a browser: %w", err)
	}
	return n.opt.Store.PutSubscription(ctx, login, sub.stored(), PerLogin)
}

// Unsubscribe forgets a browser of a login, by its endpoint or its BrowserID.
func (n *Notifier) Unsubscribe(ctx context.Context, login, browser string) error {
	sub, err := n.browser(ctx, login, browser)
	if errors.Is(err, ErrSubscription) {
		return nil // it is forgotten already
	}
	if err != nil {
		return err
	}
	return n.opt.Store.DropSubscription(ctx, login, sub.Endpoint)
}

// Shown notes that a browser of a login, by its endpoint or its BrowserID, has
// shown a notification. ErrSubscription: it is none of theirs.
func (n *Notifier) Shown(ctx context.Context, login, browser string) error {
	sub, err := n.browser(ctx, login, browser)
	if err != nil {
		return err
	}
	return n.opt.Store.NoteShown(ctx, login, sub.Endpoint)
}

// Try sends a notification to one browser of a login, by its endpoint or its
// BrowserID, whatever the login's settings. ErrNoPush; ErrSubscription.
func (n *Notifier) Try(ctx context.Context, login, browser string) error {
	if n.pusher == nil {
		return ErrNoPush
	}
	sub, err := n.browser(ctx, login, browser)
	if err != nil {
		return err
	}
	return n.pusher.sendTo(login, Note{Kind: Test, Room: "settings", URL: "/desk#settings", At: time.Now().UTC()},
		[]chat.Subscription{sub})
}

func (n *Notifier) browser(ctx context.Context, login, browser string) (chat.Subscription, error) {
	list, err := n.opt.Store.Subscriptions(ctx, login)
	if err != nil {
		return chat.Subscription{}, err
	}
	for _, sub := range list {
		if browser == sub.Endpoint || browser == BrowserID(sub.Endpoint) {
			return sub, nil
		}
	}
	return chat.Subscription{}, fmt.Errorf("looking for a browser: %w", ErrSubscription)
}
