// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/guard/apppassword"
	passwords "github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
)

// newAccounts are accounts in a database of their own.
func newAccounts(t *testing.T) *Accounts {
	t.Helper()
	table := func(name string) string {
		return "sql_table {\n driver sqlite3\n dsn " + filepath.Join(t.TempDir(), "c.db") +
			"\n table_name " + name + "\n}\n"
	}
	m, err := initModule(t, "auth.accounts", "table "+table("passwords")+"app_passwords "+table("app_passwords"))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*Accounts)
}

func TestAccounts(t *testing.T) {
	m := newAccounts(t)
	ctx := t.Context()
	if err := m.CreateUser(alice, "short"); !errors.Is(err, passwords.ErrUnfit) {
		t.Errorf("a short password: %v", err)
	}
	if err := m.CreateUser("Alice@example.org", password); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		"there is an account": m.CreateUser(alice, password),
		"there is no account": m.SetUserPassword("bob@example.org", password),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if list, err := m.ListUsers(); err != nil || !slices.Equal(list, []string{alice}) {
		t.Error(list, err)
	}
	if _, stored, _, _ := m.lookup(ctx, alice); !strings.HasPrefix(stored, "argon2:") {
		t.Errorf("stored is %q", stored)
	}
	// What auth.pass_table wrote.
	old := "bcrypt:$2y$10$4tEJtJ6dApmhETg8tJ4WHOeMtmYXQwmHDKIyfg09Bw1F/smhLjlaa"
	table, err := m.mutable()
	if err != nil {
		t.Fatal(err)
	}
	for login, stored := range map[string]string{"old@example.org": old, "broken@example.org": "bcrypt:"} {
		if err := table.SetKey(login, stored); err != nil {
			t.Fatal(err)
		}
	}
	for login, given := range map[string]string{alice: password, "old@example.org": "password"} {
		if err := m.Verify(ctx, login, given); err != nil {
			t.Errorf("%s: %v", login, err)
		}
	}
	for login, given := range map[string]string{alice: "x", "old@example.org": password, "nobody@example.org": password,
		"\xff": password} {
		if err := m.Verify(ctx, login, given); !errors.Is(err, signin.ErrWrong) {
			t.Errorf("%s: %v", login, err)
		}
	}
	if err := m.Verify(ctx, "broken@example.org", password); err == nil || errors.Is(err, signin.ErrWrong) {
		t.Errorf("a damaged hash: %v", err)
	}
}

func TestGuardOfAccounts(t *testing.T) {
	m := newAccounts(t)
	ctx := t.Context()
	guard := guardOf(m)
	if guardOf(m) != guard || guardOf(guard) != guard {
		t.Error("the doors have not one guard")
	}
	if err := m.CreateUser(alice, password); err != nil {
		t.Fatal(err)
	}
	signIn := func(door, given string) (*signin.Session, error) {
		return guard.SignIn(ctx, signin.Attempt{Door: door, Login: "ALICE@example.org", Password: given})
	}
	phone, err := m.AddAppPassword(ctx, alice, "phone")
	if err != nil {
		t.Fatal(err)
	}
	mail, err := signIn(signin.IMAP, phone)
	if err != nil || mail.Login != alice {
		t.Fatal(mail, err)
	}
	if _, err := signIn(signin.Desk, phone); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("the phone's password at the desk: %v", err)
	}
	if list, err := m.AppPasswords(ctx, "Alice@example.org"); err != nil || len(list) != 1 || list[0].Used.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	if err := m.RevokeAppPassword(ctx, alice, "phone"); err != nil {
		t.Fatal(err)
	}
	if mail.Context().Err() == nil {
		t.Error("the session of a revoked password goes on")
	}
	if _, err := signIn(signin.IMAP, phone); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("the revoked password: %v", err)
	}
	if mail, err = signIn(signin.POP3, password); err != nil {
		t.Fatal(err)
	}
	if err := m.SetPassword(ctx, alice, "another password"); err != nil || mail.Context().Err() == nil {
		t.Errorf("a new password left the old session: %v", err)
	}
	if _, err := signIn(signin.POP3, password); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("the former password: %v", err)
	}
	if phone, err = m.AddAppPassword(ctx, alice, "phone"); err != nil {
		t.Fatal(err)
	}
	if err := m.DeleteUser(alice); err != nil {
		t.Fatal(err)
	}
	if err := allGuards.SignOut(ctx, alice); err != nil {
		t.Fatal(err)
	}
	if err := m.CreateUser(alice, password); err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(signin.IMAP, phone); !errors.Is(err, signin.ErrWrong) {
		t.Errorf("a device of the former owner: %v", err)
	}
}

// TestAccountsElsewhere are in a table that this server only reads.
func TestAccountsElsewhere(t *testing.T) {
	made, err := initModule(t, "auth.accounts", `table regexp "(.+)@example.org" "`+
		"sha256:U0FMVA==:8PDRAgaUqaLSk34WpYniXjaBgGM93Lc6iF4pw2slthw="+`"`)
	if err != nil {
		t.Fatal(err)
	}
	m := made.(*Accounts)
	if err := m.Verify(t.Context(), alice, "password"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{
		m.CreateUser(alice, password), m.SetUserPassword(alice, password), m.DeleteUser(alice),
	} {
		if !errors.Is(err, errReadOnly) {
			t.Error(err)
		}
	}
	if _, err := m.AddAppPassword(t.Context(), alice, "phone"); !errors.Is(err, apppassword.ErrNone) {
		t.Error(err)
	}
}
