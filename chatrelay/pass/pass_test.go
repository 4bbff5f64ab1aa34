// SPDX-License-Identifier: GPL-3.0-or-later

package pass

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/seal"
)

func TestPass(t *testing.T) {
	t.Parallel()
	key, now := seal.Key(bytes.Repeat([]byte{1}, 32)), time.Now()
	sealed := Pass{Token: "A", Login: "kim@mall.example", Do: Ring, Frames: []string{"https://mall.example"}}.Seal(key, now)
	p, err := Open(key, sealed, "A", now.Add(Life-time.Second))
	if err != nil || p.Login != "kim@mall.example" || p.Do != Ring || p.Frames[0] != "https://mall.example" {
		t.Errorf("opened %+v, %v", p, err)
	}
	if p, err := Open(key, sealed, "A", now.Add(Life+2*time.Second)); !errors.Is(err, ErrExpired) || p.Token != "A" {
		t.Errorf("too old: %+v, %v", p, err)
	}
	other := seal.Key(bytes.Repeat([]byte{2}, 32))
	for name, wrong := range map[string]func() (Pass, error){
		"another link": func() (Pass, error) { return Open(key, sealed, "B", now) },
		"another key":  func() (Pass, error) { return Open(other, sealed, "A", now) },
		"damaged":      func() (Pass, error) { return Open(key, sealed+"A", "A", now) },
		"no pass":      func() (Pass, error) { return Open(key, "", "A", now) },
	} {
		if p, err := wrong(); !errors.Is(err, ErrWrong) || p.Login != "" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}
