// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

// PushOptions are how browsers are told by Web Push.
type PushOptions struct {
	Contact  string // of the operator, for push services: a mail address or an https URL
	Anywhere bool   // push services may be in one's own net
	TLS      *tls.Config
}

// ErrNoPush: this server sends no notifications.
var ErrNoPush = errors.New("chatrelay: no push")

const (
	alertQueue = 4096             // notifications that wait for their login's browsers to be looked up; further ones are dropped
	newsPause  = 10 * time.Second // between pushes of news in one room
)

// alert is a notification for logins.
type alert struct {
	logins []string
	note   notify.Note
}

// taken says that a notification of an attempt was taken.
type taken struct {
	room, attempt string
	at            time.Time
}

// alerts tell browsers and webhooks. Nothing waits for them.
type alerts struct {
	push  *notify.Pusher // nil: no browsers
	hooks []*hook
	queue chan alert
	taken chan taken
}

// openAlerts starts the pusher and the webhooks.
func (r *Relay) openAlerts() error {
	r.alerts = &alerts{queue: make(chan alert, alertQueue), taken: make(chan taken, alertQueue)}
	for _, w := range r.opt.Webhooks {
		hook := newHook(w, r)
		r.alerts.hooks = append(r.alerts.hooks, hook)
		r.owned.Go(hook.run)
	}
	r.owned.Go(r.runAlerts)
	if r.opt.Push == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	keys, err := notify.LoadKeys(ctx, r.opt.Rooms.Setting)
	if err != nil {
		return err
	}
	r.alerts.push, err = notify.New(notify.Options{Keys: keys, Contact: r.opt.Push.Contact, Subscriptions: subscriptions{r.opt.Rooms},
		Anywhere: r.opt.Push.Anywhere, TLS: r.opt.Push.TLS, Log: r.log,
		Report: func(_ string, n notify.Note, err error) {
			if err == nil && n.Kind == notify.Alarm {
				r.alerts.took(n)
			}
		}})
	if err != nil {
		return err
	}
	r.owned.Go(func() { <-r.ctx.Done(); r.alerts.push.Close() })
	return nil
}

// took never waits: whether the caller learns of it is not worth that.
func (a *alerts) took(n notify.Note) {
	select {
	case a.taken <- taken{n.Room, n.Attempt, time.Now().UTC()}:
	default:
		alertsTotal.WithLabelValues("dropped").Inc()
	}
}

// alert tells the browsers of logins, soon. It never waits.
func (r *Relay) alert(logins []string, n notify.Note) {
	if r.alerts.push == nil || len(logins) == 0 {
		return
	}
	select {
	case r.alerts.queue <- alert{logins, n}:
	default:
		alertsTotal.WithLabelValues("dropped").Inc()
	}
}

// runAlerts looks up the browsers of those to be told, and passes on what was
// taken, until the relay ends.
func (r *Relay) runAlerts() {
	for {
		select {
		case a := <-r.alerts.queue:
			for _, login := range a.logins {
				r.pushTo(login, a.note)
			}
		case t := <-r.alerts.taken:
			r.tookAlarm(t)
		case <-r.ctx.Done():
			return
		}
	}
}

// pushTo tells the browsers of a login, if they want that now.
func (r *Relay) pushTo(login string, n notify.Note) {
	defer r.recovered("a push")
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	l := r.standings(ctx, login, n.Room)[0]
	if n.Kind != notify.End {
		muted, err := r.opt.Rooms.Muted(ctx, login, n.Room)
		if err != nil {
			r.log.Warn("looking whether a room is muted", "room", n.Room, "err", err)
		}
		switch {
		case !l.settings.Push, muted:
			return
		case l.said == chat.DoNotDisturb, l.said == chat.QuietHours:
			return
		case n.Kind == notify.Message && l.on: // a desk shows it
			return
		}
	}
	if _, err := r.alerts.push.Send(ctx, login, n); err != nil {
		alertsTotal.WithLabelValues("failed").Inc()
		r.log.Warn("sending a push", "login", login, "kind", n.Kind, "err", err)
		return
	}
	alertsTotal.WithLabelValues("queued").Inc()
}

// tookAlarm lets the caller know that the alarm was taken.
func (r *Relay) tookAlarm(t taken) {
	defer r.recovered("a push")
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	if h := r.use(t.room, nil); h != nil {
		h.do(func() { h.notified(t.attempt, t.at) })
		h.leave()
	}
	if err := r.opt.Rooms.NotePushed(ctx, t.attempt, t.at); err != nil {
		r.log.Warn("noting a notification", "room", t.room, "err", err)
	}
}

// pushNews tells those who are not here, and have no device on, of a message
// that somebody left.
func (h *liveRoom) pushNews(m chat.Message) {
	if h.r.alerts.push == nil || m.Kind != chat.KindText && m.Kind != chat.KindFile || time.Since(h.newsAt) < newsPause {
		return
	}
	var logins []string
	for _, login := range h.absent() {
		if len(h.r.members(login)) == 1 { // of a group, whoever answered has joined
			logins = append(logins, login)
		}
	}
	if len(logins) == 0 {
		return
	}
	h.newsAt = time.Now()
	from := person(h.info, m.From)
	h.r.alert(logins, notify.Note{Kind: notify.Message, Room: h.id, From: called(from.Person), Subject: h.info.Subject,
		URL: "/desk#" + h.id, At: m.At, Caller: from.Addr})
}

// subscriptions are the browsers in the rooms' store.
type subscriptions struct{ rooms Rooms }

var _ notify.Subscriptions = subscriptions{}

// Put implements notify.Subscriptions.
func (s subscriptions) Put(ctx context.Context, login string, sub notify.Subscription) error {
	return s.rooms.PutSubscription(ctx, login, chat.Subscription{Endpoint: sub.Endpoint, P256dh: sub.Keys.P256dh, Auth: sub.Keys.Auth}, notify.PerLogin)
}

// Of implements notify.Subscriptions.
func (s subscriptions) Of(ctx context.Context, login string) ([]notify.Subscription, error) {
	kept, err := s.rooms.Subscriptions(ctx, login)
	list := make([]notify.Subscription, len(kept))
	for i, k := range kept {
		list[i].Endpoint, list[i].Keys.P256dh, list[i].Keys.Auth = k.Endpoint, k.P256dh, k.Auth
	}
	return list, err
}

// Forget implements notify.Subscriptions.
func (s subscriptions) Forget(ctx context.Context, endpoint string) error {
	return s.rooms.DropSubscription(ctx, "", endpoint)
}

// PushKey is the key with which pages subscribe a browser. ErrNoPush: none is.
func (r *Relay) PushKey() (string, error) {
	if r.alerts.push == nil {
		return "", ErrNoPush
	}
	return r.alerts.push.PublicKey(), nil
}

// Subscribe keeps a browser of a login. ErrNoPush; notify.ErrSubscription: no
// push can be sent to it.
func (r *Relay) Subscribe(ctx context.Context, login string, sub notify.Subscription) error {
	if r.alerts.push == nil {
		return ErrNoPush
	}
	if err := sub.Check(); err != nil {
		return fmt.Errorf("subscribing a browser: %w", err)
	}
	return subscriptions{r.opt.Rooms}.Put(ctx, login, sub)
}

// Unsubscribe forgets a browser of a login.
func (r *Relay) Unsubscribe(ctx context.Context, login, endpoint string) error {
	return r.opt.Rooms.DropSubscription(ctx, login, endpoint)
}
