// SPDX-License-Identifier: GPL-3.0-or-later

package dkimkeys

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRotate: the new key signs when its record is seen, or by force; the old one's record
// stays for a week.
func TestRotate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "{domain}_{selector}.key")
	d := Domain{Name: "mall.example", Path: path, First: "default"}
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	dns := map[string][]string{}
	lookup := func(_ context.Context, name string) ([]string, error) {
		if dns[name] == nil {
			return nil, errors.New("no such host")
		}
		return dns[name], nil
	}
	current := func(want string) {
		t.Helper()
		if s, err := d.Load(); err != nil || s.Current != want {
			t.Errorf("the key is %+v, %v; want %s", s, err, want)
		}
	}
	current("default")
	next, err := d.Rotate(now, false)
	if err != nil || next != "s20261126" {
		t.Fatalf("the new selector is %q, %v", next, err)
	}
	if again, err := d.Rotate(now, false); !errors.Is(err, ErrRotating) || again != next {
		t.Errorf("a second new key: %q, %v", again, err)
	}
	text, err := os.ReadFile(d.Key(next))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		t.Fatalf("the key is %.30q…", text)
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Error(err)
	}
	record, err := d.Record(next)
	if err != nil || !strings.HasPrefix(record, "v=DKIM1; k=rsa; p=MII") {
		t.Errorf("the record is %q, %v", record, err)
	}
	for _, wrong := range [][]string{nil, {"v=DKIM1; p="}, {"v=DKIM1; k=rsa; p=MIIother"}} {
		dns["s20261126._domainkey.mall.example"] = wrong
		if done, err := d.Promote(t.Context(), now, lookup); done != "" || err != nil {
			t.Errorf("with the record %q the new key signs: %q, %v", wrong, done, err)
		}
	}
	current("default")
	key := tagP(record)
	dns["s20261126._domainkey.mall.example"] = []string{"v=DKIM1; k=rsa; p=" + key[:20] + " " + key[20:]}
	if done, err := d.Promote(t.Context(), now, lookup); done != next || err != nil {
		t.Errorf("with its record: %q, %v", done, err)
	}
	current(next)
	forced, err := d.Rotate(now, true)
	if err != nil || forced != "s20261126b" {
		t.Errorf("by force: %q, %v", forced, err)
	}
	current(forced)
	for selector, want := range map[string]error{forced: ErrInUse, next: ErrTooEarly, "never": ErrUnknown} {
		if err := d.Retire(selector, now.Add(6*24*time.Hour), false); !errors.Is(err, want) {
			t.Errorf("retiring %s: %v, want %v", selector, err, want)
		}
	}
	for _, old := range []string{"default", next} {
		if err := d.Retire(old, now.Add(KeepOld), false); err != nil {
			t.Errorf("retiring %s after a week: %v", old, err)
		}
	}
	if s, err := d.Load(); err != nil || len(s.Retired) != 0 {
		t.Errorf("what is left: %+v, %v", s, err)
	}
	if _, err := os.Stat(d.Key(next)); err == nil {
		t.Error("a retired key is still there")
	}
}
