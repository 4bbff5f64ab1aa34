// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}

// each runs a test on SQLite and on a real PostgreSQL.
func each(t *testing.T, test func(t *testing.T, s *Store)) {
	t.Parallel()
	open := func(t *testing.T, dsn string) *Store {
		t.Helper()
		s, err := Open(t.Context(), dsn, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, "sqlite:"+filepath.Join(t.TempDir(), "mall.db")))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, testpart.Postgres(t)))
	})
}

func TestShops(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := context.Background()
		shop, err := s.AddShop(ctx, Shop{Slug: "lamps", Name: "Lamps", Addr: "lamps@mall.example", State: ShopOpen,
			Lang: "en", Currency: "KRW"}, "host@mall.example")
		if err != nil {
			t.Fatal(err)
		}
		if found, err := s.ShopBySlug(ctx, "lamps"); err != nil || found != shop {
			t.Errorf("found %+v, %v", found, err)
		}
		if _, err := s.AddShop(ctx, Shop{Slug: "lamps", Name: "Others", Addr: "others@mall.example",
			State: ShopApplied},
			"other@mall.example"); !errors.Is(err, ErrTaken) {
			t.Errorf("a slug twice: %v", err)
		}
		if _, err := s.ShopBySlug(ctx, "chairs"); !errors.Is(err, ErrUnknown) {
			t.Errorf("an unknown slug: %v", err)
		}
	})
}
