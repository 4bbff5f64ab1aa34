// SPDX-License-Identifier: GPL-3.0-or-later

package apppassword

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// table is a table in memory.
type table struct {
	rows    map[string]string
	lookups int
	writes  int
	down    error
}

func (m *table) Lookup(_ context.Context, login string) (string, bool, error) {
	m.lookups++
	value, there := m.rows[login]
	return value, there, m.down
}

func (m *table) SetKey(login, value string) error {
	m.writes++
	m.rows[login] = value
	return m.down
}

func (m *table) RemoveKey(login string) error {
	delete(m.rows, login)
	return m.down
}

func TestStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &table{rows: make(map[string]string)}
		s, ctx := New(m), t.Context()
		opens := func(login, password string) bool {
			t.Helper()
			ok, err := s.Verify(ctx, login, password)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		phone, err := s.Add(ctx, "mina", " Phone ")
		if err != nil {
			t.Fatal(err)
		}
		laptop, err := s.Add(ctx, "mina", "노트북")
		if err != nil || laptop == phone || len(phone) != length+length/4-1 {
			t.Fatal(phone, laptop, err)
		}
		row := m.rows["mina"]
		if strings.Contains(row, phone) || strings.Contains(row, strings.ReplaceAll(phone, "-", "")) {
			t.Error("the table has the password itself")
		}
		if list, err := s.List(ctx, "mina"); err != nil || len(list) != 2 || list[1].Name != "Phone" ||
			!list[1].Used.IsZero() || !list[1].Made.Equal(time.Now()) {
			t.Errorf("%+v, %v", list, err)
		}

		time.Sleep(time.Hour)
		for _, typed := range []string{phone, strings.ToUpper(phone), strings.ReplaceAll(phone, "-", " ")} {
			if !opens("mina", typed) {
				t.Errorf("%q does not open", typed)
			}
		}
		if opens("you", phone) || opens("mina", phone[:len(phone)-1]+"?") || opens("mina", "") {
			t.Error("it opens what it should not")
		}
		lookups := m.lookups
		if opens("mina", "correct horse battery staple") || m.lookups != lookups {
			t.Error("an account's password is looked up")
		}
		if m.writes != 3 {
			t.Errorf("three uses in an hour were written %d times", m.writes-2)
		}
		if list, _ := s.List(ctx, "mina"); !list[1].Used.Equal(time.Now()) || !list[0].Used.IsZero() {
			t.Errorf("used: %+v", list)
		}

		if _, err := s.Add(ctx, "mina", "phone"); !errors.Is(err, ErrName) {
			t.Errorf("a second device of the name: %v", err)
		}
		for _, name := range []string{"", " ", "a\nb", strings.Repeat("x", maxName+1), "\xff"} {
			if _, err := s.Add(ctx, "mina", name); !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if err := s.Revoke(ctx, "mina", "tablet"); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if err := s.Revoke(ctx, "mina", "phone"); err != nil {
			t.Error(err)
		}
		if opens("mina", phone) || !opens("mina", laptop) {
			t.Error("the wrong password was revoked")
		}
		for i := range Most - 1 {
			if _, err := s.Add(ctx, "mina", fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Add(ctx, "mina", "one more"); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		if err := s.Remove("mina"); err != nil || opens("mina", laptop) {
			t.Error("it opens after everything was removed", err)
		}
		m.down = errors.New("the disk is full")
		if _, err := s.Add(ctx, "mina", "phone"); !errors.Is(err, m.down) {
			t.Error(err)
		}
		if _, err := s.Verify(ctx, "mina", laptop); !errors.Is(err, m.down) {
			t.Error(err)
		}
	})
}
