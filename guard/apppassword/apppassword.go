// SPDX-License-Identifier: GPL-3.0-or-later

// Package apppassword keeps passwords of devices: each opens the mail of a login for
// one phone or program, and is revoked alone. They are made here and random, so
// that a SHA-256 of them is kept, and checking one costs little.
package apppassword

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// Most is how many a login may have.
	Most = 32
	// maxName is the characters of a device's name.
	maxName = 64
	// length is the characters of a password without its hyphens; 5 bits each.
	length = 28
	// alphabet is that of rand.Text, in small letters.
	alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	// noteUse is how old the time of the last use may be.
	noteUse = 24 * time.Hour
)

var (
	// ErrName: the name of a device is empty, too long or taken.
	ErrName = errors.New("choose another name for the device")
	// ErrUnknown: the login has no such device.
	ErrUnknown = errors.New("there is no such device")
	// ErrNone: the accounts are kept where devices have no passwords.
	ErrNone = errors.New("the accounts have no app passwords: name a table for them in auth.accounts, app_passwords")
	// ErrFull: the login has as many as it may have.
	ErrFull = fmt.Errorf("a login has %d at most: revoke one first", Most)
)

// Password is what is known of one.
type Password struct {
	Name string    `json:"name"` // of the device; no two of a login have the same
	Made time.Time `json:"made"`
	Used time.Time `json:"used,omitzero"` // about when, and not more than a day behind; zero: never
}

// Table keeps a text for each login. A maddy table is one.
type Table interface {
	Lookup(ctx context.Context, login string) (value string, there bool, err error)
	SetKey(login, value string) error
	RemoveKey(login string) error
}

// Store keeps the passwords in a table. Its methods may be called from any goroutine.
type Store struct {
	table Table
	mu    sync.Mutex // of those that change the table
}

// New returns the store in a table.
func New(table Table) *Store { return &Store{table: table} }

// kept is how a password stands in the table.
type kept struct {
	Password
	Hash []byte `json:"hash"`
}

func (s *Store) read(ctx context.Context, login string) (list []kept, err error) {
	value, there, err := s.table.Lookup(ctx, login)
	if err == nil && there {
		err = json.Unmarshal([]byte(value), &list)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the app passwords of %s: %w", login, err)
	}
	return list, nil
}

// change writes what do makes of a login's passwords, while nobody else does so.
func (s *Store) change(ctx context.Context, login string, do func([]kept) ([]kept, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := s.read(ctx, login)
	if err != nil {
		return err
	}
	if list, err = do(list); err != nil {
		return err
	}
	value, err := json.Marshal(list)
	if err == nil {
		err = s.table.SetKey(login, string(value))
	}
	if err != nil {
		return fmt.Errorf("writing the app passwords of %s: %w", login, err)
	}
	return nil
}

// List lists the passwords of a login, the newest first.
func (s *Store) List(ctx context.Context, login string) ([]Password, error) {
	all, err := s.read(ctx, login)
	list := make([]Password, 0, len(all))
	for _, k := range slices.Backward(all) {
		list = append(list, k.Password)
	}
	return list, err
}

// Add makes a password for a device. It is shown to its owner now and never again.
func (s *Store) Add(ctx context.Context, login, name string) (password string, err error) {
	name = strings.TrimSpace(name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7F }) {
		return "", fmt.Errorf("a device has a name of 1 to %d characters: %w", maxName, ErrName)
	}
	secret := strings.ToLower(rand.Text() + rand.Text())[:length]
	err = s.change(ctx, login, func(list []kept) ([]kept, error) {
		switch {
		case slices.ContainsFunc(list, func(k kept) bool { return strings.EqualFold(k.Name, name) }):
			return nil, fmt.Errorf("there is a device %q already: %w", name, ErrName)
		case len(list) >= Most:
			return nil, ErrFull
		}
		return append(list, kept{Password{Name: name, Made: time.Now().UTC().Truncate(time.Second)}, hash(secret)}), nil
	})
	if err != nil {
		return "", err
	}
	var groups []string
	for group := range slices.Chunk([]byte(secret), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-"), nil
}

// Revoke makes the password of a device worthless.
func (s *Store) Revoke(ctx context.Context, login, name string) error {
	return s.change(ctx, login, func(list []kept) ([]kept, error) {
		i := slices.IndexFunc(list, func(k kept) bool { return strings.EqualFold(k.Name, strings.TrimSpace(name)) })
		if i < 0 {
			return nil, fmt.Errorf("%q: %w", name, ErrUnknown)
		}
		return slices.Delete(list, i, i+1), nil
	})
}

// Remove forgets all passwords of a login.
func (s *Store) Remove(login string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.table.RemoveKey(login); err != nil {
		return fmt.Errorf("removing the app passwords of %s: %w", login, err)
	}
	return nil
}

// Verify reports whether a password is one of the login's.
func (s *Store) Verify(ctx context.Context, login, password string) (bool, error) {
	secret := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(password))
	if len(secret) != length || strings.Trim(secret, alphabet) != "" {
		return false, nil // an account's password: nothing is looked up
	}
	list, err := s.read(ctx, login)
	if err != nil {
		return false, err
	}
	given := hash(secret)
	for _, k := range list {
		if subtle.ConstantTimeCompare(k.Hash, given) != 1 {
			continue
		}
		if time.Since(k.Used) > noteUse {
			_ = s.used(ctx, login, given) // it opens all the same, and is noted with the next use
		}
		return true, nil
	}
	return false, nil
}

func (s *Store) used(ctx context.Context, login string, given []byte) error {
	return s.change(ctx, login, func(list []kept) ([]kept, error) {
		for i := range list {
			if subtle.ConstantTimeCompare(list[i].Hash, given) == 1 {
				list[i].Used = time.Now().UTC().Truncate(time.Second)
			}
		}
		return list, nil
	})
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
