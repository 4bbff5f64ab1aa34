// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/signin"
)

// TestGuard reads the whole block, and signs in by a bearer token of a server that
// knows it.
func TestGuard(t *testing.T) {
	own := newAccounts(t)
	own.instance = "guarded"
	module.RegisterInstance(own, config.NewMap(nil, config.Node{}))
	module.Initialized["guarded"] = true
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of the client\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, given, _ := r.BasicAuth()
		fmt.Fprintf(w, `{"active":%t,"email":"Alice@example.org","scope":"mail"}`,
			id == "chmail" && given == "of+the+client" && r.PostFormValue("token") == "a token")
	}))
	defer server.Close()
	for name, wrong := range map[string]string{
		"no accounts":          "first 1s",
		"no delay":             "auth &guarded\nfirst 0s",
		"delays the wrong way": "auth &guarded\nfirst 9s",
		"a long memory":        "auth &guarded\nremember 2h",
		"no places":            "auth &guarded\nhashes -1",
		"no secret":            "auth &guarded\noauth2 https://sso.example/ {\nclient_id chmail\n}",
		"a missing secret":     "auth &guarded\noauth2 https://sso.example/ {\nclient_id c\nsecret_file /nowhere\n}",
		"without encryption": "auth &guarded\noauth2 http://sso.example/ {\nclient_id c\nsecret_file " +
			secret + "\n}",
		"no address": "auth &guarded\noauth2 {\nclient_id c\nsecret_file " + secret + "\n}",
	} {
		if _, err := initModule(t, "auth.guard", wrong); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	made, err := initModule(t, "auth.guard", "auth &guarded\nfirst 1s\nlongest 2s\nremember 1m\nhashes 2\noauth2 "+
		server.URL+" {\nclient_id chmail\nsecret_file "+secret+"\nlogin email\nscope mail\n}")
	if err != nil {
		t.Fatal(err)
	}
	m := made.(*Guard)
	if err := own.CreateUser(alice, password); err != nil {
		t.Fatal(err)
	}
	s, err := m.SignIn(t.Context(), signin.Attempt{Door: signin.IMAP, Token: "a token"})
	if err != nil || s.Login != alice || !m.Tokens() {
		t.Fatal(s, err)
	}
	s.Close()
	if err := m.AuthPlain(alice, "x"); !errors.Is(err, signin.ErrWrong) {
		t.Error(err)
	}
}

// A removed account is known to be gone, and so is one that never was.
func TestGuardsKnowAccounts(t *testing.T) {
	own := newAccounts(t)
	if err := own.CreateUser(alice, password); err != nil {
		t.Fatal(err)
	}
	g := &guards{}
	exists := func(login string) bool {
		t.Helper()
		there, err := g.exists(t.Context(), login)
		if err != nil {
			t.Fatal(err)
		}
		return there
	}
	if !exists("bob@example.org") {
		t.Error("where nobody knows the accounts, nobody is gone")
	}
	g.add(&Guard{next: own})
	if !exists(alice) || exists("bob@example.org") {
		t.Error("the account is not known")
	}
	if err := own.DeleteUser(alice); err != nil {
		t.Fatal(err)
	}
	if exists(alice) {
		t.Error("a removed account is there")
	}
}
