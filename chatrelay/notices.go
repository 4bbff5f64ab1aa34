// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

const pushPause = 10 * time.Second // between pushes of news in one room

func (r *Relay) startNotifier() (err error) {
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	r.notifier, err = notify.Start(ctx, notify.Options{Store: r.opt.Rooms, Mailer: r.opt.Mailer, WebBase: r.opt.WebBase,
		Push: r.opt.Push, Webhooks: r.opt.Webhooks, Wants: r.wantsPush, AlarmTaken: r.alarmTaken, Log: r.log})
	return err
}

// wantsPush says whether a login's browsers are told of a note now.
func (r *Relay) wantsPush(ctx context.Context, login string, n notify.Note) bool {
	l := r.standings(ctx, login, n.Room)[0]
	muted, err := r.opt.Rooms.Muted(ctx, login, n.Room)
	if err != nil {
		r.log.Warn("looking whether a room is muted", "room", n.Room, "err", err)
	}
	switch {
	case !l.settings.Push, muted:
		return false
	case l.said == chat.DoNotDisturb, l.said == chat.QuietHours:
		return false
	case n.Kind == notify.Message && l.on: // a desk shows it
		return false
	}
	return true
}

// alarmTaken lets the caller know that a push service or a webhook took the
// alarm.
func (r *Relay) alarmTaken(ctx context.Context, n notify.Note, at time.Time) {
	if h := r.use(n.Room, nil); h != nil {
		h.do(func() { h.notified(n.Attempt, at) })
		h.leave()
	}
	if err := r.opt.Rooms.NotePushed(ctx, n.Attempt, at); err != nil {
		r.log.Warn("noting a notification", "room", n.Room, "err", err)
	}
}

// pushNews sends a notification of a message to the browsers of members who are not
// in the room and have no device on.
func (h *liveRoom) pushNews(m chat.Message) {
	if !h.r.notifier.Pushes() || m.Kind != chat.KindText && m.Kind != chat.KindFile ||
		time.Since(h.newsAt) < pushPause {
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
	from := h.info.Participant(m.From)
	h.r.notifier.Push(logins, notify.Note{Kind: notify.Message, Room: h.id, From: from.DisplayName(),
		ByLink: m.Via == chat.ViaLink, Subject: h.info.Subject, URL: "/desk#" + h.id, At: m.At, Caller: from.Addr})
}

// PushKey is the key with which pages subscribe a browser. notify.ErrNoPush:
// none is.
func (r *Relay) PushKey() (string, error) { return r.notifier.PushKey() }

// Subscribe keeps a browser of a login. notify.ErrNoPush;
// notify.ErrSubscription: no push can be sent to it.
func (r *Relay) Subscribe(ctx context.Context, login string, sub notify.Subscription) error {
	return r.notifier.Subscribe(ctx, login, sub)
}

// Unsubscribe forgets a browser of a login, by its endpoint or its notify.BrowserID.
func (r *Relay) Unsubscribe(ctx context.Context, login, browser string) error {
	err := r.notifier.Unsubscribe(ctx, login, browser)
	if err == nil {
		r.settingsChanged(login)
	}
	return err
}

// Shown notes that a browser of a login has shown a notification; notify.Notifier
// documents it.
func (r *Relay) Shown(ctx context.Context, login, browser string) error {
	err := r.notifier.Shown(ctx, login, browser)
	if err == nil {
		r.settingsChanged(login)
	}
	return err
}

// TryPush sends a notification to one browser of a login; notify.Notifier documents
// it.
func (r *Relay) TryPush(ctx context.Context, login, browser string) error {
	return r.notifier.Try(ctx, login, browser)
}
