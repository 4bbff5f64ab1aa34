// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/signin"
)

// ownAccount is the host's account, whose password can be changed.
type ownAccount struct {
	*apppassword.Store
	check *signin.Check

	mu       sync.Mutex
	password string
	rows     map[string]string
}

func newOwnAccount() *ownAccount {
	a := &ownAccount{password: "the first one", rows: make(map[string]string)}
	a.Store = apppassword.New(a)
	a.check = signin.New(signin.Options{Accounts: accountPassword{a}, First: 1})
	return a
}

type accountPassword struct{ *ownAccount }

func (a accountPassword) Verify(_ context.Context, login, password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if login != "host@mall.example" || password != a.password {
		return signin.ErrWrong
	}
	return nil
}

func (a *ownAccount) Lookup(_ context.Context, login string) (string, bool, error) {
	value, there := a.rows[login]
	return value, there, nil
}

func (a *ownAccount) SetKey(login, value string) error { a.rows[login] = value; return nil }
func (a *ownAccount) RemoveKey(login string) error     { delete(a.rows, login); return nil }

func (a *ownAccount) SetPassword(_ context.Context, login, password string) error {
	if login != "host@mall.example" {
		return errors.New("another's password")
	}
	a.mu.Lock()
	a.password = password
	a.mu.Unlock()
	a.check.Changed(login)
	return nil
}

func (a *ownAccount) AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error) {
	return a.List(ctx, login)
}

func (a *ownAccount) AddAppPassword(ctx context.Context, login, name string) (string, error) {
	return a.Add(ctx, login, name)
}

func (a *ownAccount) RevokeAppPassword(ctx context.Context, login, name string) error {
	return a.Revoke(ctx, login, name)
}

// siteOf is a server where the host changes the account.
func siteOf(t *testing.T, a *ownAccount) *site {
	return newSite(t, func(o *Options) { o.SignIns, o.Accounts = a.check, a })
}

func (st *site) signInAs(password string) reply {
	st.t.Helper()
	return st.do("POST", "/desk/sign-in", `{"login":"host@mall.example","password":"`+password+`"}`)
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	a := newOwnAccount()
	st := siteOf(t, a)
	change := func(current, password string) reply {
		return st.do("POST", "/desk/password", `{"current":"`+current+`","password":"`+password+`"}`)
	}
	st.want(change("the first one", "the second one"), 401, "sign-in")
	st.want(st.signInAs("the first one"), 204)
	var d deskData
	if st.data(st.do("GET", "/desk", ""), &d); !d.Account {
		t.Error("the desk does not offer it")
	}
	other := *st
	other.browser = newBrowser(t)
	other.want(other.signInAs("the first one"), 204)
	pop3, err := a.check.SignIn(t.Context(),
		signin.Attempt{Door: signin.POP3, Login: "host@mall.example", Password: "the first one"})
	if err != nil {
		t.Fatal(err)
	}

	st.want(change("the first one", "seven77"), 400, "password")
	st.want(change("a wrong one", "the second one"), 403, "credentials")
	other.want(other.do("GET", "/desk/rooms", ""), 200)
	st.want(change("the first one", "the second one"), 204)
	st.want(st.do("GET", "/desk/rooms", ""), 200) // this session stays
	other.want(other.do("GET", "/desk/rooms", ""), 401, "sign-in")
	if pop3.Context().Err() == nil {
		t.Error("a mail session of the old password goes on")
	}
	other.want(other.signInAs("the first one"), 401, "credentials")
	other.want(other.signInAs("the second one"), 204)
}

func TestPasswordCannotBeGuessedAtTheDesk(t *testing.T) {
	t.Parallel()
	a := newOwnAccount()
	st := siteOf(t, a)
	st.want(st.signInAs("the first one"), 204)
	for i := range 12 { // with a stolen session
		r := st.do("POST", "/desk/password", `{"current":"`+string(rune('a'+i))+`","password":"the second one"}`)
		if i < 10 {
			st.want(r, 403, "credentials")
		} else {
			st.want(r, 429, "too-often")
		}
	}
}

func TestAppPasswords(t *testing.T) {
	t.Parallel()
	st := siteOf(t, newOwnAccount())
	st.want(st.do("GET", "/desk/app-passwords", ""), 401, "sign-in")
	st.want(st.signInAs("the first one"), 204)
	list := func() (names []string) {
		t.Helper()
		r := st.do("GET", "/desk/app-passwords", "")
		st.want(r, 200)
		var all []apppassword.Password
		if err := json.Unmarshal([]byte(r.body), &all); err != nil || all == nil {
			t.Fatal(r.body, err)
		}
		for _, p := range all {
			names = append(names, p.Name)
		}
		return names
	}
	if names := list(); len(names) != 0 {
		t.Error(names)
	}
	r := st.do("POST", "/desk/app-passwords", `{"name":"phone"}`)
	st.want(r, 201)
	var made struct{ Password string }
	if err := json.Unmarshal([]byte(r.body), &made); err != nil || len(made.Password) < 28 ||
		r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s, %v", r.body, r.Header)
	}
	st.want(st.do("POST", "/desk/app-passwords", `{"name":"Phone"}`), 400, "device")
	if names := list(); len(names) != 1 || names[0] != "phone" {
		t.Error(names)
	}
	st.want(st.do("DELETE", "/desk/app-passwords", `{"name":"phone"}`,
		"Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"), 204)
	st.want(st.do("DELETE", "/desk/app-passwords", `{"name":"phone"}`,
		"Content-Type", "application/json", "Sec-Fetch-Site", "same-origin"), 404, "unknown")
	st.want(st.do("POST", "/desk/app-passwords", `{"name":"x"}`, "Sec-Fetch-Site", "cross-site"), 403, "origin")
}

// TestForeignAccounts: where the accounts are kept elsewhere, the desk offers nothing.
func TestForeignAccounts(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	var d deskData
	if st.data(st.do("GET", "/desk", ""), &d); d.Account {
		t.Error("the desk offers what it cannot do")
	}
	st.want(st.do("GET", "/desk/app-passwords", ""), 404)
}
