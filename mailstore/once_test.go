// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"strings"
	"testing"
	"time"
)

// TestOnce: a message with a name is put once, also by another process, and by
// two writers at the same time; another login gets it all the same.
func TestOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	addAccounts(t, s, "a@x", "b@x")
	deliver := func(s *Store, logins ...string) {
		t.Helper()
		st, err := s.Stage(strings.NewReader("Subject: once\r\n\r\nx\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Abort()
		var to []Recipient
		for _, login := range logins {
			to = append(to, Recipient{Login: login, Once: "once-1"})
		}
		if err := st.Put(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan bool)
	for range 2 {
		go func() {
			deliver(s, "a@x")
			done <- true
		}()
	}
	<-done
	<-done
	deliver(s, "a@x", "b@x")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Options{})
	deliver(s, "a@x")
	deliver(s, "a@x", "b@x")
	for _, login := range []string{"a@x", "b@x"} {
		if n := countIn(t, s, login); n != 1 {
			t.Errorf("%s has %d messages", login, n)
		}
	}
	if err := s.forgetOnce(time.Now().Add(3 * onceKept)); err != nil {
		t.Fatal(err)
	}
	if n := countKeys(t, s, keyOnce); n != 0 {
		t.Errorf("%d marks are left", n)
	}
	deliver(s, "a@x")
	if n := countIn(t, s, "a@x"); n != 2 {
		t.Errorf("after the marks went: %d messages", n)
	}
}

func countIn(t *testing.T, s *Store, login string) uint32 {
	t.Helper()
	st, err := inbox(t, s, login).Status()
	if err != nil {
		t.Fatal(err)
	}
	return st.Messages
}
