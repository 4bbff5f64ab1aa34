// SPDX-License-Identifier: GPL-3.0-or-later

package secret

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
)

// TestStore is about the key ring and the file; the mock of the ring is of the whole process.
func TestStore(t *testing.T) {
	a := Account{Server: "https://chat.mall.example", Login: "host@mall.example", Token: "secret"}
	for name, test := range map[string]struct {
		plain  bool
		ring   error // what the key ring answers
		inRing bool
	}{
		"in the ring":  {inRing: true},
		"no ring":      {ring: errors.New("no bus")},
		"in the file":  {plain: true},
		"ring refuses": {plain: true, ring: errors.New("locked")},
	} {
		if keyring.MockInit(); test.ring != nil {
			keyring.MockInitWithError(test.ring)
		}
		s := Store{Dir: filepath.Join(t.TempDir(), "chmail"), Plain: test.plain}
		if _, err := s.Load(); !errors.Is(err, ErrNone) {
			t.Errorf("%s: before it was saved: %v", name, err)
		}
		if inRing, err := s.Save(a); err != nil || inRing != test.inRing {
			t.Errorf("%s: saved in the ring: %v, %v", name, inRing, err)
		}
		path := filepath.Join(s.Dir, file)
		b, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(b), a.Token) == test.inRing {
			t.Errorf("%s: the file says %s (%v)", name, b, err)
		}
		if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("%s: %v (%v)", name, info.Mode(), err)
		}
		if got, err := s.Load(); err != nil || got != a {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err := s.Forget(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.Load(); !errors.Is(err, ErrNone) {
			t.Errorf("%s: after it was forgotten: %v", name, err)
		}
		if test.inRing {
			if _, err := keyring.Get(service, a.key()); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s: the ring still has it: %v", name, err)
			}
		}
	}
}

// TestDamagedAccount: one line says what to do.
func TestDamagedAccount(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.Dir, file), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), "chmail login") {
		t.Error(err)
	}
}
