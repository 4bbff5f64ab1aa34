// SPDX-License-Identifier: GPL-3.0-or-later

// Package dkimkeys changes the keys that mail of a domain is signed with (RFC 6376).
//
// A new key is made beside the one that signs. It signs from when its record is seen in the
// DNS. The old key's record stays for a week more, since mail on its way was signed with it.
// What is known of a domain's keys is a file beside them, which the server that signs and
// the commands share.
package dkimkeys

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/durable"
)

// KeepOld is how long the record of a key stays that signs no more: longer than mail is
// on its way (queue.DefaultLife).
const KeepOld = 7 * 24 * time.Hour

const keyBits = 2048 // RFC 8301 section 3.2

// Errors of the commands.
var (
	ErrRotating = errors.New("dkim: a new key waits for its record already")
	ErrInUse    = errors.New("dkim: this key signs, or will")
	ErrUnknown  = errors.New("dkim: there is no such key")
	ErrTooEarly = errors.New("dkim: mail that this key signed may be on its way")
)

// Domain is a domain that mail is signed for.
type Domain struct {
	Name string
	// Path is the key's file, with {domain} and {selector}.
	Path string
	// First is the selector that signs until the first rotation.
	First string
}

// State is which keys a domain has.
type State struct {
	Current string     `json:"current"`           // signs
	Next    string     `json:"next,omitempty"`    // signs when its record is seen
	Made    time.Time  `json:"made,omitzero"`     // when Next was
	Retired []Retiring `json:"retired,omitempty"` // sign no more
}

// Retiring is a key whose record is still needed until KeepOld after Since.
type Retiring struct {
	Selector string    `json:"selector"`
	Since    time.Time `json:"since"`
}

// Key is the file of a selector's key.
func (d Domain) Key(selector string) string {
	return strings.NewReplacer("{domain}", d.Name, "{selector}", selector).Replace(d.Path)
}

// recordFile is where the record's text is.
func (d Domain) recordFile(selector string) string {
	return strings.TrimSuffix(d.Key(selector), ".key") + ".dns"
}

// RecordName is where the DNS has it.
func (d Domain) RecordName(selector string) string { return selector + "._domainkey." + d.Name }

// Record is the text of a selector's TXT record.
func (d Domain) Record(selector string) (string, error) {
	text, err := os.ReadFile(d.recordFile(selector))
	if err != nil {
		return "", fmt.Errorf("reading a DKIM record: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// StateFile is the file of Load and its like.
func (d Domain) StateFile() string {
	return filepath.Join(filepath.Dir(d.Key("x")), d.Name+".selectors")
}

// Load reads which keys there are.
func (d Domain) Load() (State, error) {
	s := State{Current: d.First}
	text, err := os.ReadFile(d.StateFile())
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("reading the DKIM keys of %s: %w", d.Name, err)
	}
	return s, nil
}

func (d Domain) save(s State) error {
	text, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	return durable.WriteFile(d.StateFile(), append(text, '\n'), 0o600)
}

// Rotate makes a new key. It signs at once if force is true, else after Promote.
func (d Domain) Rotate(now time.Time, force bool) (selector string, err error) {
	s, err := d.Load()
	if err != nil {
		return "", err
	}
	if s.Next != "" && !force {
		return s.Next, ErrRotating
	}
	if s.Next == "" {
		if err := os.MkdirAll(filepath.Dir(d.Key("x")), 0o700); err != nil {
			return "", fmt.Errorf("making a DKIM key: %w", err)
		}
		s.Next, s.Made = d.free(now), now
		if err := d.make(s.Next); err != nil {
			return "", fmt.Errorf("making a DKIM key: %w", err)
		}
	}
	selector = s.Next
	if force {
		s.promote(now)
	}
	return selector, d.save(s)
}

func (s *State) promote(now time.Time) {
	s.Retired = append(s.Retired, Retiring{s.Current, now})
	s.Current, s.Next, s.Made = s.Next, "", time.Time{}
}

// free is a selector that was never one: s20261126, s20261126b, …
func (d Domain) free(now time.Time) string {
	name := "s" + now.UTC().Format("20060102")
	for c := 'a'; ; c++ {
		try := name
		if c > 'a' {
			try += string(c)
		}
		if _, err := os.Stat(d.Key(try)); errors.Is(err, os.ErrNotExist) || c == 'z' {
			return try
		}
	}
}

func (d Domain) make(selector string) error {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	record := "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
	if err := durable.WriteFile(d.recordFile(selector), []byte(record), 0o644); err != nil {
		return err
	}
	return durable.WriteFile(d.Key(selector),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// Promote lets the new key sign, if there is one and lookup finds its record.
func (d Domain) Promote(ctx context.Context, now time.Time,
	lookup func(context.Context, string) ([]string, error)) (selector string, err error) {
	s, err := d.Load()
	if err != nil || s.Next == "" {
		return "", err
	}
	seen, err := d.Seen(ctx, s.Next, lookup)
	if err != nil || !seen {
		return "", err
	}
	selector = s.Next
	s.promote(now)
	return selector, d.save(s)
}

// Seen says whether the DNS has a selector's record.
func (d Domain) Seen(ctx context.Context, selector string,
	lookup func(context.Context, string) ([]string, error)) (bool, error) {
	want, err := d.Record(selector)
	if err != nil {
		return false, err
	}
	found, err := lookup(ctx, d.RecordName(selector))
	if err != nil {
		return false, nil // the DNS does not say
	}
	return slices.ContainsFunc(found, func(r string) bool { return tagP(r) != "" && tagP(r) == tagP(want) }), nil
}

// tagP is the key in a record.
func tagP(record string) string {
	for tag := range strings.SplitSeq(record, ";") {
		if name, value, _ := strings.Cut(tag, "="); strings.TrimSpace(name) == "p" {
			return strings.Join(strings.Fields(value), "")
		}
	}
	return ""
}

// Retire forgets a key that signs no more, or the new one that never did. ErrTooEarly:
// unless force is true it is kept for KeepOld.
func (d Domain) Retire(selector string, now time.Time, force bool) error {
	s, err := d.Load()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Retired, func(r Retiring) bool { return r.Selector == selector })
	switch {
	case selector == s.Current || selector == s.Next && !force:
		return ErrInUse
	case selector == s.Next:
		s.Next, s.Made = "", time.Time{}
	case i < 0:
		return ErrUnknown
	case now.Before(s.Retired[i].Since.Add(KeepOld)) && !force:
		return ErrTooEarly
	default:
		s.Retired = slices.Delete(s.Retired, i, i+1)
	}
	if err := d.save(s); err != nil {
		return err
	}
	for _, file := range []string{d.Key(selector), d.recordFile(selector)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing a DKIM key: %w", err)
		}
	}
	return nil
}
