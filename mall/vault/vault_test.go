// SPDX-License-Identifier: GPL-3.0-or-later

package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func open(t *testing.T, path string) *Vault {
	t.Helper()
	v, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSeal: what is sealed opens after a restart, for its own row alone.
func TestSeal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mall.keys")
	v := open(t, path)
	sealed, err := v.Seal([]byte("Jun, Seoul"), "member/1")
	if err != nil {
		t.Fatal(err)
	}
	hash := v.Hash("Jun@Example.org ")
	v = open(t, path)
	if text, err := v.Open(sealed, "member/1"); err != nil || string(text) != "Jun, Seoul" {
		t.Errorf("opened %q, %v", text, err)
	}
	for what, try := range map[string][2]string{"another row": {sealed, "member/2"},
		"changed": {sealed[:len(sealed)-2] + "AA", "member/1"}, "nothing": {"", "member/1"}} {
		if text, err := v.Open(try[0], try[1]); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %q, %v", what, text, err)
		}
	}
	if v.Hash("jun@example.org") != hash || v.Hash("june@example.org") == hash {
		t.Error("the hash of an address is not the same after a restart, or that of all")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys: %v, %v", info.Mode(), err)
	}
	if content, err := os.ReadFile(path); err != nil || bytes.Contains(content, []byte("Jun")) {
		t.Errorf("%s, %v", content, err)
	}
}

// TestRotate: after a rotation the old texts open and are known as stale; when they
// have been sealed anew, the old keys go and texts of them stay shut.
func TestRotate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mall.keys")
	v := open(t, path)
	old, err := v.Seal([]byte("a"), "1")
	if err != nil {
		t.Fatal(err)
	}
	if v.Stale(old) {
		t.Error("stale before the rotation")
	}
	var busy sync.WaitGroup
	for range 4 { // sealing goes on meanwhile
		busy.Go(func() {
			for range 100 {
				sealed, err := v.Seal([]byte("b"), "2")
				if text, openErr := v.Open(sealed, "2"); err != nil || openErr != nil || string(text) != "b" {
					t.Errorf("%q, %v, %v", text, err, openErr)
				}
			}
		})
	}
	newest, err := v.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	busy.Wait()
	v = open(t, path)
	text, err := v.Open(old, "1")
	if err != nil || string(text) != "a" || !v.Stale(old) {
		t.Fatalf("%q, %v, stale %t", text, err, v.Stale(old))
	}
	fresh, err := v.Seal(text, "1")
	if err != nil || v.Stale(fresh) {
		t.Fatalf("stale %t, %v", v.Stale(fresh), err)
	}
	other := open(t, path) // another host
	again, err := other.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Forget(newest); !errors.Is(err, ErrRotated) {
		t.Errorf("keys are dropped that another host needs: %v", err)
	}
	if fresh, err = v.Seal(text, "1"); err != nil || other.Stale(fresh) {
		t.Fatalf("stale %t, %v", other.Stale(fresh), err)
	}
	if err := v.Forget(again); err != nil {
		t.Fatal(err)
	}
	v = open(t, path)
	if _, err := v.Open(old, "1"); !errors.Is(err, ErrSealed) {
		t.Errorf("a text of a forgotten key: %v", err)
	}
	if text, err := v.Open(fresh, "1"); err != nil || string(text) != "a" {
		t.Errorf("%q, %v", text, err)
	}
}

// TestTogether: hosts that make the file at once have the same keys, and of hosts that rotate
// at once none loses the key of another: what each has sealed with its own opens.
func TestTogether(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mall.keys")
	const hosts = 8
	var sealed [2 * hosts]string
	var all sync.WaitGroup
	for host := range hosts {
		all.Go(func() {
			v, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 2 {
				if sealed[host+n*hosts], err = v.Seal([]byte("a"), "1"); err != nil {
					t.Error(err)
				}
				if _, err := v.Rotate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	v := open(t, path)
	for i, text := range sealed {
		if got, err := v.Open(text, "1"); err != nil || string(got) != "a" {
			t.Errorf("text %d: %q, %v", i, got, err)
		}
	}
	if n := len(v.now().handle.KeysetInfo().GetKeyInfo()); n != 2*hosts+1 {
		t.Errorf("%d keys after %d rotations", n, 2*hosts)
	}
}

// TestRefused: a file of keys that others can read, or that is damaged, is not used
// and not replaced.
func TestRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mall.keys")
	open(t, path)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a file that everybody can read is taken")
	}
	if err := os.WriteFile(path, []byte(`{"keys":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a damaged file is taken")
	}
}
