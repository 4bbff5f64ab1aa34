// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}

// TestAwaited: what fails is done again, what succeeded is not.
func TestAwaited(t *testing.T) {
	t.Parallel()
	var a awaited[int]
	var did []int
	broken := errors.New("broken")
	first := broken
	if err := a.when(func(n int) error { did = append(did, n); return nil }); err != nil || len(did) != 0 {
		t.Fatalf("before the value: %v %v", did, err)
	}
	if err := a.when(func(n int) error { did = append(did, -n); return first }); err != nil {
		t.Fatal(err)
	}
	if err := a.set(3); !errors.Is(err, broken) || len(did) != 2 {
		t.Errorf("%v %v", did, err)
	}
	first = nil
	if err := a.set(3); err != nil || len(did) != 3 || did[2] != -3 {
		t.Errorf("%v %v", did, err)
	}
	if err := a.when(func(int) error { return broken }); err != broken || a.get() != 3 {
		t.Errorf("%v %v", err, a.get())
	}
}

// TestRoomsAway: the rooms start while PostgreSQL refuses connections or hangs,
// and open when it answers.
func TestRoomsAway(t *testing.T) { // not parallel: it reads globals of maddy's
	config.StateDirectory = t.TempDir()
	database := testpart.Postgres(t)
	for _, hangs := range []bool{false, true} {
		gate, through := testpart.NewGate(t, database)
		if gate.Refuse(); hangs {
			gate.Hang()
		}
		m, err := initModule(t, "chat.rooms", "database "+through)
		if err != nil {
			t.Fatalf("hangs: %v: %v", hangs, err)
		}
		rooms := m.(*Rooms)
		opened := make(chan struct{})
		if err := rooms.whenOpen(func(*store.Store) error { close(opened); return nil }); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := rooms.OpenFromMail(t.Context(), chat.Mail{}); !errors.Is(err, errRoomsAway) ||
			time.Since(began) > time.Second {
			t.Errorf("hangs: %v: a mail got %v after %v", hangs, err, time.Since(began))
		}
		gate.Open()
		select {
		case <-opened:
		case <-time.After(45 * time.Second):
			t.Fatalf("hangs: %v: the rooms did not open", hangs)
		}
		mail := chat.Mail{Sender: chat.Person{Login: "host@mall.example"}}
		if _, err := rooms.OpenFromMail(t.Context(), mail); err != nil {
			t.Error(err)
		}
	}

	// A rights error or a missing database is no outage, and a command waits for nothing.
	if _, err := initModule(t, "chat.rooms", "database "+strings.Replace(database, "/test", "/none", 1)); err == nil {
		t.Error("started without the database's existence")
	}
	gate, through := testpart.NewGate(t, database)
	gate.Refuse()
	module.NoRun = true
	defer func() { module.NoRun = false }()
	if _, err := initModule(t, "chat.rooms", "database "+through); err == nil ||
		!strings.Contains(err.Error(), "refused") {
		t.Errorf("a command got %v", err)
	}
}
