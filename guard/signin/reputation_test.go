// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/guard/reputation"
)

// TestReputation: who guesses is refused, the login's owner from where they were before is not.
func TestReputation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		known := reputation.New(reputation.Options{}, nil)
		c := New(Options{Accounts: &book{passwords: map[string]string{"mina": "right"}}, Reputation: known})
		try := func(from, login, password string) error {
			s, err := c.SignIn(t.Context(), Attempt{Door: POP3, Login: login, Password: password,
				Addr: netip.MustParseAddr(from)})
			if err == nil {
				s.Close()
			}
			return err
		}
		const home, cafe = "192.0.2.1", "198.51.100.1"
		if err := try(home, "mina", "right"); err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // a program with an old password is nobody who guesses
			if err := try(cafe, "mina", "old"); !errors.Is(err, ErrWrong) {
				t.Fatalf("try %d: %v", i, err)
			}
		}
		if level := known.Level(netip.MustParseAddr(cafe)); level != reputation.Fine {
			t.Errorf("who repeats one password is met as %v", level)
		}
		var busy *BusyError
		for i := 0; !errors.As(try(home, fmt.Sprintf("login%d", i), "guess"), &busy); i++ {
			if i > 100 {
				t.Fatal("whoever tries logins is never refused")
			}
		}
		if known.Level(netip.MustParseAddr(home)) < reputation.Refused {
			t.Errorf("refused, but met as %v", known.Level(netip.MustParseAddr(home)))
		}
		if err := try(home, "mina", "right"); err != nil {
			t.Errorf("the owner at home: %v", err)
		}
		time.Sleep(26 * time.Hour)
		if err := try(home, "joon", "guess"); !errors.Is(err, ErrWrong) {
			t.Errorf("a day later: %v", err)
		}
	})
}
