// SPDX-License-Identifier: GPL-3.0-or-later

// Package secret keeps one account of the program: who is signed in at which server,
// and the token. The token is in the system's key ring, else in a file that only its
// owner can read.
package secret

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zalando/go-keyring"
)

const (
	service  = "chmail"         // under which the key ring has the token
	file     = "account.json"   // in the folder
	ringWait = 20 * time.Second // for a key ring that asks its owner
)

// ErrNone: nobody is signed in on this computer.
var ErrNone = errors.New("nobody is signed in here: run `chmail login LOGIN` first")

// Account is a login on a server.
type Account struct {
	Server string `json:"server"`
	Login  string `json:"login"`
	Token  string `json:"token,omitempty"` // in the file where the key ring does not have it
	Key    string `json:"key,omitempty"`   // that signed the server's programs when it was signed in; of minisign
}

func (a Account) key() string { return a.Login + " " + a.Server }

// Store keeps the account of one folder.
type Store struct {
	Dir   string
	Plain bool // the key ring is not used
}

// Save keeps the account. It reports whether the token is in the key ring.
func (s Store) Save(a Account) (inRing bool, err error) {
	written := a
	if !s.Plain && waited(func() error { return keyring.Set(service, a.key(), a.Token) }) == nil {
		written.Token, inRing = "", true
	}
	b, err := json.MarshalIndent(written, "", "  ")
	if err == nil {
		err = s.write(append(b, '\n'))
	}
	if errors.Is(err, syscall.ENOSPC) {
		return false, fmt.Errorf("the disk of %s is full: make room, and sign in again", s.Dir)
	}
	if err != nil {
		return false, fmt.Errorf("keeping the account: %w", err)
	}
	return inRing, nil
}

// write replaces the file as a whole: what was there before stays when it cannot.
func (s Store) write(b []byte) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, file) // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.Dir, file))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Load reads the account; ErrNone without one.
func (s Store) Load() (a Account, err error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return a, ErrNone
	}
	if err != nil {
		return a, fmt.Errorf("reading the account: %w", err)
	}
	if err := json.Unmarshal(b, &a); err != nil || a.Server == "" || a.Login == "" {
		return a, fmt.Errorf("%s is damaged: run `chmail login` again", filepath.Join(s.Dir, file))
	}
	if a.Token != "" {
		return a, nil
	}
	found, key := make(chan string, 1), a.key()
	err = waited(func() error {
		token, err := keyring.Get(service, key)
		found <- token
		return err
	})
	if err == nil {
		a.Token = <-found
	} else {
		return a, fmt.Errorf("the key ring does not give the token (%w): unlock it, or run `chmail login` again", err)
	}
	return a, nil
}

// Forget removes the account.
func (s Store) Forget() error {
	a, err := s.Load()
	if errors.Is(err, ErrNone) {
		return err
	}
	if a.Server != "" {
		// A ring that has nothing, or is away, has nothing to remove.
		_ = waited(func() error { return keyring.Delete(service, a.key()) })
	}
	if err := os.Remove(filepath.Join(s.Dir, file)); err != nil {
		return fmt.Errorf("forgetting the account: %w", err)
	}
	return nil
}

var errSlow = errors.New("it does not answer")

// waited bounds a call of the key ring, which may ask its owner where nobody looks.
func waited(call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }() // ends when the ring answers, or with the program
	select {
	case err := <-done:
		return err
	case <-time.After(ringWait):
		return errSlow
	}
}
