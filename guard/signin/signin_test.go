// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// book is an account database whose checks take hashTime.
type book struct {
	mu        sync.Mutex
	passwords map[string]string
	down      error
	checks    int
	now, most int    // checks at once
	during    func() // is called during a check
}

const hashTime = 100 * time.Millisecond

func (b *book) Verify(_ context.Context, login, password string) error {
	b.mu.Lock()
	b.checks++
	b.now++
	b.most = max(b.most, b.now)
	want, ok := b.passwords[login]
	down, during := b.down, b.during
	b.mu.Unlock()
	if during != nil {
		during()
	}
	time.Sleep(hashTime)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now--
	switch {
	case down != nil:
		return down
	case !ok || want != password:
		return ErrWrong
	}
	return nil
}

// Exists implements Existing.
func (b *book) Exists(_ context.Context, login string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.passwords[login]
	return ok, b.down
}

func (b *book) set(login, password string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.passwords[login] = password
}

func (b *book) counted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.checks
}

func newBook(logins ...string) *book {
	b := &book{passwords: make(map[string]string)}
	for _, login := range logins {
		b.passwords[login] = "right"
	}
	return b
}

// at is a client's address.
func at(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

// try signs in and out again.
func try(t *testing.T, c *Check, a Attempt) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	s, err := c.SignIn(t.Context(), a)
	if err == nil {
		s.Close()
	}
	return time.Since(start), err
}

func busy(err error) bool {
	var e *BusyError
	return errors.As(err, &e) && e.After > 0 && !errors.Is(err, ErrWrong)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Accounts: newBook("mina"), First: time.Second, Longest: 4 * time.Second})
		for i, want := range []time.Duration{1, 2, 4, 4} {
			for _, login := range []string{"mina", "nobody"} {
				took, err := try(t, c, Attempt{Login: login, Password: "wrong"})
				if !errors.Is(err, ErrWrong) || took != want*time.Second {
					t.Errorf("refusal %d of %s took %v, %v", i+1, login, took, err)
				}
			}
		}
		if took, err := try(t, c, Attempt{Login: "mina", Password: "right"}); err != nil || took != hashTime {
			t.Errorf("the right password took %v, %v", took, err)
		}
		if took, _ := try(t, c, Attempt{Login: "MINA", Password: "wrong"}); took != time.Second {
			t.Errorf("after the right password a refusal took %v", took)
		}
		time.Sleep(forgetIn + time.Second)
		if took, _ := try(t, c, Attempt{Login: "nobody", Password: "wrong"}); took != time.Second {
			t.Errorf("a forgotten refusal still counts: %v", took)
		}
		if took, err := try(t, c, Attempt{}); !errors.Is(err, ErrWrong) || took != time.Second {
			t.Errorf("what cannot be a login: %v after %v", err, took)
		}
		for _, a := range []Attempt{{}, {Login: "mina"}, {Login: "mina", Token: "t"}, {Password: "right"},
			{Login: "mina", Password: string(make([]byte, maxPassword+1))}} {
			if took, err := try(t, c, a); !errors.Is(err, ErrWrong) || took < time.Second {
				t.Errorf("%+v: %v after %v", a, err, took)
			}
		}
	})
}

func TestRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook("mina")
		c := New(Options{Accounts: b})
		right := Attempt{Door: POP3, Login: "Mina", Password: "right", Addr: at(1)}
		wrong := Attempt{Door: POP3, Login: "mina", Password: "old", Addr: at(1)}
		for range 30 { // a program with an old password is no guesser
			if _, err := try(t, c, right); err != nil {
				t.Fatal(err)
			}
			if _, err := try(t, c, wrong); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
		}
		if n := b.counted(); n != 2 {
			t.Errorf("%d checks of two passwords", n)
		}
		time.Sleep(DefaultRemember)
		if took, err := try(t, c, right); err != nil || took != hashTime {
			t.Errorf("a forgotten password took %v, %v", took, err)
		}

		// What is remembered ends with a change.
		b.set("mina", "old")
		c.Changed("mina")
		if _, err := try(t, c, right); !errors.Is(err, ErrWrong) {
			t.Errorf("the former password: %v", err)
		}
		if _, err := try(t, c, wrong); err != nil {
			t.Errorf("the new password, which was wrong before: %v", err)
		}
	})
}

func TestOutageIsNoRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook("mina")
		b.down = errors.New("the database is gone")
		c := New(Options{Accounts: b})
		a := Attempt{Login: "mina", Password: "right", Addr: at(1)}
		for range 100 {
			if took, err := try(t, c, a); !errors.Is(err, b.down) || errors.Is(err, ErrWrong) || took != hashTime {
				t.Fatalf("%v after %v", err, took)
			}
		}
		b.down, b.during = nil, func() { panic("a bug") }
		if _, err := try(t, c, a); err == nil || errors.Is(err, ErrWrong) {
			t.Errorf("a panic: %v", err)
		}
		b.during = nil
		if _, err := try(t, c, a); err != nil {
			t.Error(err)
		}
	})
}

// TestChangedMeanwhile: a password that is changed while it is checked opens nothing.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook("mina")
		c := New(Options{Accounts: b})
		b.during = func() { c.Changed("mina") }
		a := Attempt{Login: "mina", Password: "right"}
		if _, err := try(t, c, a); !errors.Is(err, errChanged) {
			t.Errorf("%v", err)
		}
		b.during = nil
		b.set("mina", "new")
		if _, err := try(t, c, a); !errors.Is(err, ErrWrong) {
			t.Errorf("it was remembered: %v", err)
		}
	})
}

func TestChangedEndsSessions(t *testing.T) {
	t.Parallel()
	c := New(Options{Accounts: newBook("mina", "you")})
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

// TestOneAnswerForAll: a program that opens many connections at once has its password
// checked once.
func TestOneAnswerForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook("mina")
		c := New(Options{Accounts: b})
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if took, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(1)}); err != nil ||
					took != hashTime {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		all.Wait()
		// One that goes away does not take the answer with it.
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(hashTime/2, cancel)
		if _, err := c.SignIn(ctx, Attempt{Login: "mina", Password: "x", Addr: at(1)}); !errors.Is(err, ctx.Err()) {
			t.Error(err)
		}
		if _, err := try(t, c, Attempt{Login: "mina", Password: "x", Addr: at(1)}); !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
		if n := b.counted(); n != 2 {
			t.Errorf("%d checks of two passwords", n)
		}
	})
}

// guess tries n passwords at once, the last of which is right, and says whether it
// was found. The race detector allows 8,128 goroutines.
func guess(t *testing.T, c *Check, n int, attempt func(i int) Attempt) bool {
	t.Helper()
	var (
		all   sync.WaitGroup
		found atomic.Bool
	)
	for i := range n {
		a := attempt(i)
		a.Password = fmt.Sprint("guess ", i)
		if i == n-1 {
			a.Password = "right"
		}
		all.Go(func() {
			_, err := try(t, c, a)
			if err != nil && !errors.Is(err, ErrWrong) && !busy(err) {
				t.Error(err)
			}
			if err == nil {
				found.Store(true)
			}
		})
		synctest.Wait() // in this order
	}
	all.Wait()
	return found.Load()
}

func TestGuessing(t *testing.T) {
	t.Parallel()
	from := func(a Attempt) func(int) Attempt { return func(int) Attempt { return a } }
	here := netip.MustParseAddr("127.0.0.1")
	for name, test := range map[string]struct {
		attempt   func(i int) Attempt
		remember  bool // the right password was used a moment ago, elsewhere
		maxChecks int
	}{
		"from one address":      {from(Attempt{Login: "mina", Addr: at(1)}), false, pairBound.burst},
		"a remembered password": {from(Attempt{Login: "mina", Addr: at(1)}), true, pairBound.burst},
		"from this machine":     {from(Attempt{Login: "mina", Addr: here}), false, pairBound.burst},
		"from nowhere":          {from(Attempt{Login: "mina"}), false, pairBound.burst},
		"from many addresses": {func(i int) Attempt { return Attempt{Login: "mina", Addr: at(i)} },
			false, loginBound.burst},
		"many logins": {func(i int) Attempt { return Attempt{Login: fmt.Sprint("login", i), Addr: at(1)} },
			false, prefixBound.burst + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBook("mina", "login149")
				c := New(Options{Accounts: b, Hashes: 2})
				if test.remember {
					if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(9000)}); err != nil {
						t.Fatal(err)
					}
					test.maxChecks++
				}
				if guess(t, c, 150, test.attempt) {
					t.Error("the password was found")
				}
				if n := b.counted(); n > test.maxChecks {
					t.Errorf("%d passwords were checked", n)
				}
				if b.most > 2 {
					t.Errorf("%d passwords were checked at once", b.most)
				}
				time.Sleep(24 * time.Hour) // nothing lasts
				if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(1)}); err != nil {
					t.Error(err)
				}
				if left := len(c.running); left != 0 {
					t.Errorf("%d checks are still under way", left)
				}
			})
		})
	}
}

// TestStrangersShutNobodyOut: a login keeps its way in from where it is known, while
// others guess its password from everywhere, and others' from its own prefix.
func TestStrangersShutNobodyOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Accounts: newBook("mina", "new"), Hashes: 1})
		mina := Attempt{Login: "mina", Password: "right", Addr: at(1)}
		if _, err := try(t, c, mina); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		attack := func(a func(i int) Attempt) {
			for i := 0; ctx.Err() == nil; i++ {
				attempt := a(i)
				attempt.Password = fmt.Sprint(i)
				all.Go(func() { _, _ = c.SignIn(ctx, attempt) })
				time.Sleep(hashTime / 2)
			}
		}
		all.Go(func() { attack(func(i int) Attempt { return Attempt{Login: "mina", Addr: at(100 + i%60)} }) })
		all.Go(func() { attack(func(i int) Attempt { return Attempt{Login: fmt.Sprint(i), Addr: at(1)} }) })
		all.Go(func() { attack(func(i int) Attempt { return Attempt{Login: "mina", Addr: at(1000 + i)} }) })
		all.Go(func() { attack(func(i int) Attempt { return Attempt{Login: fmt.Sprint(i), Addr: at(1000 + i)} }) })
		for range 20 {
			time.Sleep(10 * time.Second)
			if took, err := try(t, c, mina); err != nil || took > 3*hashTime {
				t.Errorf("mina came in after %v, %v", took, err)
			}
		}
		if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(5000)}); !busy(err) {
			t.Errorf("from a new prefix, while it is guessed: %v", err)
		}
		stop()
		all.Wait()
		time.Sleep(loginBound.every)
		if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(5000)}); err != nil {
			t.Errorf("from a new prefix, soon afterwards: %v", err)
		}
		time.Sleep(waitFor) // the checks of those who went away end, too
	})
}

// TestProxyNobodyNamed: wrong sign-ins through a proxy on this machine are not those
// of everybody who uses it.
func TestProxyNobodyNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Accounts: newBook("mina")})
		here := netip.MustParseAddr("::1")
		for i := range 2 * prefixBound.burst {
			_, err := try(t, c, Attempt{Login: fmt.Sprint(i), Password: "x", Addr: here})
			if !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
		}
		if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: here}); err != nil {
			t.Error(err)
		}
	})
}

// TestThisMachine: addresses of this machine are told apart for each login.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{Accounts: newBook("mina")})
		own := Attempt{Login: "mina", Password: "right", Addr: netip.MustParseAddr("127.0.0.1")}
		if _, err := try(t, c, own); err != nil {
			t.Fatal(err)
		}
		other := netip.MustParseAddr("127.0.0.2")
		if guess(t, c, 100, func(int) Attempt { return Attempt{Login: "mina", Addr: other} }) {
			t.Error("the password was found")
		}
		if _, err := try(t, c, own); err != nil {
			t.Error(err)
		}
	})
}

// TestUnknownLoginsAreTheSame: neither the answer nor its time tells which logins exist.
func TestUnknownLoginsAreTheSame(t *testing.T) {
	t.Parallel()
	outcomes := func(login string) (list []string) {
		synctest.Test(t, func(t *testing.T) {
			c := New(Options{Accounts: newBook("mina"), Hashes: 1, First: hashTime})
			var all sync.WaitGroup
			for i := range 18 {
				list = append(list, "")
				all.Go(func() {
					took, err := try(t, c, Attempt{Door: Desk, Login: login, Password: fmt.Sprint(i), Addr: at(1)})
					list[i] = fmt.Sprint(took, err)
				})
				synctest.Wait()
			}
			all.Wait()
		})
		return list
	}
	known, unknown := outcomes("mina"), outcomes("nobody")
	for i := range known {
		if known[i] != unknown[i] {
			t.Errorf("%d: %s, for an unknown login %s", i, known[i], unknown[i])
		}
	}
}

// TestQueueIsFair: one prefix with many attempts does not hold up another, nor do
// many prefixes a login that is known.
func TestQueueIsFair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logins := []string{"mina", "other"}
		for i := range 100 {
			logins = append(logins, fmt.Sprint("many", i))
		}
		b := newBook(logins...)
		c := New(Options{Accounts: b, Hashes: 1, Remember: time.Minute})
		if _, err := try(t, c, Attempt{Login: "mina", Password: "right", Addr: at(1)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				_, err := try(t, c, Attempt{Login: fmt.Sprint("many", i), Password: "right", Addr: at(2)})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for login, from := range map[string]int{"mina": 1, "other": 3} {
			all.Go(func() {
				took, err := try(t, c, Attempt{Login: login, Password: "right", Addr: at(from)})
				if err != nil || took > 4*hashTime {
					t.Errorf("%s came in after %v, %v", login, took, err)
				}
			})
		}
		all.Wait()

		// Who waits is bounded, and waits for a bounded time.
		b.during = func() { time.Sleep(time.Hour) }
		var refused atomic.Int32
		for i := range maxTurns + 1 + 10 {
			all.Go(func() {
				took, err := try(t, c, Attempt{Login: fmt.Sprint("n", i), Password: "x", Addr: netip.Addr{}})
				if busy(err) && took == 0 {
					refused.Add(1)
				}
			})
			synctest.Wait()
		}
		if waiting := c.hashes.lanes[1].waiting; waiting != maxTurns+10 {
			t.Errorf("%d logins wait", waiting)
		}
		for i := range maxTurns + 10 {
			all.Go(func() {
				took, err := try(t, c, Attempt{Login: fmt.Sprint("p", i), Password: "x", Addr: at(7)})
				if busy(err) && took == 0 {
					refused.Add(1)
				}
			})
			synctest.Wait()
		}
		if n := refused.Load(); n != 10 {
			t.Errorf("%d attempts of one prefix were refused at once", n)
		}
		all.Wait()
		if waiting := c.hashes.lanes[1].waiting; waiting != 0 {
			t.Errorf("%d still wait", waiting)
		}
	})
}

// onePhone is a device of mina's.
type onePhone struct{}

func (onePhone) Verify(_ context.Context, login, password string) (bool, error) {
	return login == "mina" && password == "of the phone", nil
}

func TestDevices(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook("mina")
		c := New(Options{Accounts: b, Devices: onePhone{}})
		for range 2 {
			took, err := try(t, c, Attempt{Door: IMAP, Login: "mina", Password: "of the phone"})
			if err != nil || took > 0 {
				t.Errorf("the phone came in after %v, %v", took, err)
			}
			_, err = try(t, c, Attempt{Door: Desk, Login: "mina", Password: "of the phone"})
			if !errors.Is(err, ErrWrong) {
				t.Errorf("with the phone's password at the desk: %v", err)
			}
			if _, err := try(t, c, Attempt{Door: IMAP, Login: "mina", Password: "right"}); err != nil {
				t.Error(err)
			}
		}
	})
}

// oneToken is somebody's for a time.
type oneToken struct {
	of    string
	calls int
	until time.Time
}

func (o *oneToken) Verify(_ context.Context, token string) (string, time.Time, error) {
	o.calls++
	if token != "a token" || time.Now().After(o.until) {
		return "", time.Time{}, ErrWrong
	}
	return o.of, o.until, nil
}

func TestTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &oneToken{of: "Mina", until: time.Now().Add(5 * time.Minute)}
		c := New(Options{Accounts: newBook("mina"), Tokens: o})
		if !c.Tokens() {
			t.Error("it takes no tokens")
		}
		for _, login := range []string{"", "MINA", ""} {
			s, err := c.SignIn(t.Context(), Attempt{Door: IMAP, Login: login, Token: "a token", Addr: at(1)})
			if err != nil || s.Login != "mina" {
				t.Fatal(s, err)
			}
			s.Close()
		}
		if o.calls != 2 {
			t.Errorf("it was asked %d times", o.calls)
		}
		for _, a := range []Attempt{{Login: "you", Token: "a token"}, {Login: "mina", Token: "another"},
			{Login: "mina", Password: "a token"}} {
			if _, err := try(t, c, a); !errors.Is(err, ErrWrong) {
				t.Errorf("%+v: %v", a, err)
			}
		}
		o.of = "removed"
		if _, err := try(t, c, Attempt{Login: "removed", Token: "a token"}); !errors.Is(err, ErrWrong) {
			t.Errorf("a token of who has no account: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if _, err := try(t, c, Attempt{Door: IMAP, Token: "a token", Addr: at(1)}); !errors.Is(err, ErrWrong) {
			t.Errorf("an expired token: %v", err)
		}
	})
}

// People leave the domain out, and paste spaces.
func TestLoginAsTyped(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{"ann": "ann@mall.example", "ANN ": "ann@mall.example",
		" ann@mall.example ": "ann@mall.example", "ann@other.example": "", "": ""} {
		synctest.Test(t, func(t *testing.T) {
			c := New(Options{Accounts: newBook("ann@mall.example"), Domain: "mall.example"})
			s, err := c.SignIn(t.Context(), Attempt{Door: Desk, Login: typed, Password: "right"})
			if want == "" {
				if !errors.Is(err, ErrWrong) {
					t.Errorf("%q: %v", typed, err)
				}
				return
			}
			if err != nil || s.Login != want {
				t.Fatalf("%q: %+v, %v", typed, s, err)
			}
			c.Changed("ann") // as an administrator may type it, too
			<-s.Context().Done()
		})
	}
}
