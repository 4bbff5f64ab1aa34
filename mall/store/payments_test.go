// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"fmt"
	"testing"
)

// TestPayKeys: a new key of a provider ends its old one, and no shop has another's.
func TestPayKeys(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		lamps, _ := stocked(t, s, "lamps")
		chairs, _ := stocked(t, s, "chairs")
		var invalid Invalid
		for _, wrong := range []string{"", "Bank", "a/b", "-", "a b"} {
			if _, err := s.SetPayKey(ctx, lamps.ID, wrong); !errors.As(err, &invalid) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
		first, err := s.SetPayKey(ctx, lamps.ID, "bank")
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.SetPayKey(ctx, lamps.ID, "bank")
		if err != nil || second.ID == first.ID {
			t.Fatalf("%+v, %v", second, err)
		}
		if now, err := s.PayKeyOf(ctx, lamps.ID, "bank"); err != nil || now.ID != second.ID {
			t.Errorf("%+v, %v", now, err)
		}
		if _, err := s.PayKeyOf(ctx, chairs.ID, "bank"); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop's: %v", err)
		}
		if err := s.RemovePayKey(ctx, chairs.ID, "bank"); !errors.Is(err, ErrUnknown) {
			t.Errorf("another shop removes it: %v", err)
		}
		for n := range MaxPayKeys - 1 {
			if _, err := s.SetPayKey(ctx, lamps.ID, fmt.Sprint("p", n)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.SetPayKey(ctx, lamps.ID, "more"); !errors.Is(err, ErrFull) {
			t.Errorf("one too many: %v", err)
		}
		if _, err := s.SetPayKey(ctx, lamps.ID, "bank"); err != nil {
			t.Errorf("a new key where there is no room for another: %v", err)
		}
		if err := s.RemovePayKey(ctx, lamps.ID, "bank"); err != nil {
			t.Error(err)
		}
		if list, err := s.PayKeys(ctx, lamps.ID); err != nil || len(list) != MaxPayKeys-1 {
			t.Errorf("%d keys, %v", len(list), err)
		}
	})
}
