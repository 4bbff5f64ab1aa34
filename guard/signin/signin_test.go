// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// book is an account database that is slower for logins it knows.
type book map[string]string

func (b book) Verify(_ context.Context, login, password string) error {
	want, ok := b[login]
	if !ok {
		return ErrWrong
	}
	time.Sleep(100 * time.Millisecond)
	if want != password {
		return ErrWrong
	}
	return nil
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Accounts: book{"mina": "right"}, First: time.Second, Longest: 4 * time.Second})
		try := func(login, password string) (time.Duration, error) {
			start := time.Now()
			s, err := c.SignIn(t.Context(), Attempt{Login: login, Password: password})
			if err == nil {
				s.Close()
			}
			return time.Since(start), err
		}
		for i, want := range []time.Duration{1, 2, 4, 4} {
			for _, login := range []string{"mina", "nobody"} {
				took, err := try(login, "wrong")
				if err == nil || took != want*time.Second {
					t.Errorf("refusal %d of %s took %v, %v", i+1, login, took, err)
				}
			}
		}
		if took, err := try("mina", "right"); err != nil || took != 100*time.Millisecond {
			t.Errorf("the right password took %v, %v", took, err)
		}
		if took, _ := try("MINA", "wrong"); took != time.Second {
			t.Errorf("after the right password a refusal took %v", took)
		}
		time.Sleep(forgetIn + time.Second)
		if took, _ := try("nobody", "wrong"); took != time.Second {
			t.Errorf("a forgotten refusal still counts: %v", took)
		}
	})
}

func TestChangedEndsSessions(t *testing.T) {
	t.Parallel()
	c := New(Options{Accounts: book{"mina": "right", "you": "right"}})
	mina, err := c.SignIn(t.Context(), Attempt{Login: "mina", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	you, err := c.SignIn(t.Context(), Attempt{Login: "you", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	c.Changed("mina")
	if mina.Context().Err() == nil || you.Context().Err() != nil {
		t.Error("a changed password ended the wrong sessions")
	}
	mina.Close()
	you.Close()
	if len(c.sessions) != 0 {
		t.Errorf("closed sessions are kept: %v", c.sessions)
	}
}
