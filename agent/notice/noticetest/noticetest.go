// SPDX-License-Identifier: GPL-3.0-or-later

//go:build linux

// Package noticetest is a desktop for tests: a session bus of its own, and a
// notification server on it that shows nothing.
package noticetest

import (
	"bufio"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/chmail/chmail/internal/testpart"
)

const name, path = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"

const patience = 30 * time.Second

// Desktop is the server of notifications.
type Desktop struct {
	Address string // of the bus
	conn    *dbus.Conn
	shown   chan Shown
	closed  chan uint32
}

// Shown is a notification that a program has asked for.
type Shown struct {
	ID, Replaces uint32
	Title, Text  string
	Actions      []string
	Urgent       bool
}

// Start begins a desktop, which ends with the test.
func Start(t testing.TB) *Desktop {
	t.Helper()
	bus := exec.Command(testpart.Need(t, "dbus-daemon"), "--session", "--nofork", "--print-address")
	out, err := bus.StdoutPipe()
	if err == nil {
		err = bus.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		bus.Process.Kill()
		bus.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	d := &Desktop{Address: strings.TrimSpace(line), shown: make(chan Shown, 64), closed: make(chan uint32, 64)}
	if d.conn, err = dbus.Connect(d.Address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close() })
	err = d.conn.Export(&server{d: d}, path, name)
	if err == nil {
		_, err = d.conn.RequestName(name, dbus.NameFlagDoNotQueue)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Next waits for the next notification.
func (d *Desktop) Next(t testing.TB) Shown { return wait(t, d.shown, "no notification was shown") }

// Closed waits until a notification is taken away.
func (d *Desktop) Closed(t testing.TB) uint32 {
	return wait(t, d.closed, "no notification was taken away")
}

func wait[T any](t testing.TB, from <-chan T, complaint string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal(complaint)
	}
	return v
}

// Press presses a button of a notification.
func (d *Desktop) Press(t testing.TB, id uint32, key string) {
	t.Helper()
	if err := d.conn.Emit(path, name+".ActionInvoked", id, key); err != nil {
		t.Fatal(err)
	}
}

// server has the methods that D-Bus calls.
type server struct {
	d    *Desktop
	last atomic.Uint32
}

func (s *server) GetCapabilities() ([]string, *dbus.Error) {
	return []string{"actions", "body", "body-markup"}, nil
}

func (s *server) Notify(_ string, replaces uint32, _, title, text string, actions []string,
	hints map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	id := replaces
	if id == 0 {
		id = s.last.Add(1)
	}
	urgency, _ := hints["urgency"].Value().(byte)
	s.d.shown <- Shown{id, replaces, title, text, actions, urgency == 2}
	return id, nil
}

func (s *server) CloseNotification(id uint32) *dbus.Error {
	s.d.closed <- id
	return nil
}
