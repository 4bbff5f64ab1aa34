// SPDX-License-Identifier: GPL-3.0-or-later

package guard

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errWrong = errors.New("wrong")

// book is an account database that is slower for logins it knows.
type book map[string]string

func (b book) AuthPlain(login, password string) error {
	want, ok := b[login]
	if !ok {
		return errWrong
	}
	time.Sleep(100 * time.Millisecond)
	if want != password {
		return errWrong
	}
	return nil
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := New(book{"mina": "right"}, time.Second, 4*time.Second)
		try := func(login, password string) (time.Duration, error) {
			start := time.Now()
			err := a.AuthPlain(login, password)
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
