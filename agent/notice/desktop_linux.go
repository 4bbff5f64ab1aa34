// SPDX-License-Identifier: GPL-3.0-or-later

package notice

import (
	"context"
	"errors"
	"fmt"
	"html"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// The names of the Desktop Notifications Specification 1.2.
const (
	busName = "org.freedesktop.Notifications"
	busPath = "/org/freedesktop/Notifications"
)

const callWait = 5 * time.Second // for the notification server's answer

// Desktop shows notifications of this session. Its methods may be called at the same
// time.
type Desktop struct {
	presses chan Press
	owned   sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
	ringing chan struct{} // holds one who makes the sound

	mu    sync.Mutex
	conn  *dbus.Conn // nil: none yet, or not any more
	caps  []string
	shown map[string]uint32 // by Notice.ID
}

// New returns a desktop. The bus is asked for when there is something to show: the
// program may begin before the desktop does.
func New() *Desktop {
	ctx, cancel := context.WithCancel(context.Background())
	return &Desktop{presses: make(chan Press, 16), ctx: ctx, cancel: cancel,
		ringing: make(chan struct{}, 1), shown: map[string]uint32{}}
}

// Presses are the buttons that were pressed.
func (d *Desktop) Presses() <-chan Press { return d.presses }

// connect is called with mu held.
func (d *Desktop) connect() error {
	if d.conn != nil && d.conn.Connected() {
		return nil
	}
	// Not dbus.SessionBus, which would start a bus that no desktop listens at.
	conn, err := dbus.SessionBusPrivateNoAutoStartup()
	if err != nil {
		return fmt.Errorf("finding the session's D-Bus: %w", err)
	}
	err = errors.Join(conn.Auth(nil), conn.Hello(), conn.AddMatchSignal(
		dbus.WithMatchInterface(busName), dbus.WithMatchObjectPath(busPath)))
	var caps []string
	if err == nil {
		err = d.call(conn, "GetCapabilities").Store(&caps)
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("asking the desktop for notifications: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	d.conn, d.caps = conn, caps
	clear(d.shown)
	d.owned.Go(func() { // ends with the connection, which closes the channel
		for s := range signals {
			d.signal(s)
		}
	})
	return nil
}

// call asks the notification server, which may hang: then it is gone on without it.
func (d *Desktop) call(conn *dbus.Conn, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(d.ctx, callWait)
	defer cancel()
	return conn.Object(busName, busPath).CallWithContext(ctx, busName+"."+method, 0, args...)
}

// Show shows a notification. buttons: its buttons can be pressed.
func (d *Desktop) Show(n Notice) (buttons bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n.Sound {
		d.sound()
	}
	if err := d.connect(); err != nil {
		return false, err
	}
	text := n.Text
	if slices.Contains(d.caps, "body-markup") {
		text = html.EscapeString(text)
	}
	var actions []string
	if buttons = slices.Contains(d.caps, "actions"); buttons {
		for i, b := range n.Buttons {
			if i == 0 {
				actions = append(actions, "default", b.Label)
			}
			actions = append(actions, b.Key, b.Label)
		}
	}
	hints, lasts := map[string]dbus.Variant{
		"desktop-entry":  dbus.MakeVariant("chmail"),
		"category":       dbus.MakeVariant("im.received"),
		"suppress-sound": dbus.MakeVariant(true), // we make it
	}, int32(-1)
	if n.Urgent {
		hints["urgency"], lasts = dbus.MakeVariant(byte(2)), 0
	}
	var id uint32
	err = d.call(d.conn, "Notify", "CHmail", d.shown[n.ID], "call-start", n.Title, text, actions, hints,
		lasts).Store(&id)
	if err != nil {
		return false, fmt.Errorf("showing a notification: %w", err)
	}
	d.shown[n.ID] = id
	return buttons, nil
}

// sound rings once, unless it rings already.
func (d *Desktop) sound() {
	select {
	case d.ringing <- struct{}{}:
		d.owned.Go(func() {
			defer func() { <-d.ringing }()
			play(d.ctx)
		})
	default:
	}
}

// Remove takes a notification away.
func (d *Desktop) Remove(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if number, ok := d.shown[id]; ok && d.conn != nil {
		delete(d.shown, id)
		d.call(d.conn, "CloseNotification", number)
	}
}

func (d *Desktop) signal(s *dbus.Signal) {
	var number uint32
	var key string
	switch s.Name {
	case busName + ".ActionInvoked":
		if dbus.Store(s.Body, &number, &key) != nil {
			return
		}
	case busName + ".NotificationClosed":
		var reason uint32
		if dbus.Store(s.Body, &number, &reason) != nil {
			return
		}
	default:
		return
	}
	d.mu.Lock()
	var id string
	for have, n := range d.shown {
		if n == number {
			id = have
		}
	}
	if key == "" {
		delete(d.shown, id)
	}
	d.mu.Unlock()
	if id == "" || key == "" {
		return
	}
	select {
	case d.presses <- Press{id, key}:
	case <-d.ctx.Done():
	}
}

// Close takes all notifications away.
func (d *Desktop) Close() {
	d.mu.Lock()
	for _, number := range d.shown {
		d.call(d.conn, "CloseNotification", number)
	}
	d.cancel()
	if d.conn != nil {
		d.conn.Close()
	}
	d.mu.Unlock()
	d.owned.Wait()
}
