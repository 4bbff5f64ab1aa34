// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// TestRotateKeys: while the keys are rotated twice, members register and are read; a text
// that was sealed before and stored late is sealed anew, too. With the keys that are
// left, also at another host, everything opens.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(dir, "mall.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	open := func() *Mall {
		v, err := vault.Open(filepath.Join(dir, "mall.keys"))
		if err != nil {
			t.Fatal(err)
		}
		return &Mall{store: s, vault: v, log: slog.New(slog.DiscardHandler), rotateWait: 300 * time.Millisecond}
	}
	here, there := open(), open()
	add := func(m *Mall, n int) store.Member {
		row := store.Member{ID: store.NewID(), AddrHash: strconv.Itoa(n), State: store.MemberActive}
		row.Login = row.ID
		var err error
		if row.Sealed, err = m.sealPersonal(row.ID, store.Personal{Name: "Member " + strconv.Itoa(n)}); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Duration(n%3) * time.Millisecond) // between sealing and storing
		if err := s.AddMember(ctx, row, nil); err != nil {
			t.Error(err)
		}
		return row
	}
	const before = 510 // more than is sealed in one go
	for n := range before {
		add(here, 3*n)
	}
	if err := s.AddRegistration(ctx, store.Registration{Hash: "h", Expires: 1 << 60,
		Sealed: must(here.vault.Seal([]byte("waits"), registrationOf("h")))}); err != nil {
		t.Fatal(err)
	}
	busy, end := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for w, m := range []*Mall{here, there} {
		workers.Go(func() {
			for n := 3*before + w; busy.Err() == nil; n += 2 {
				row := add(m, n)
				read, err := s.MemberByID(ctx, row.ID)
				if err == nil {
					_, err = m.Personal(read)
				}
				if err != nil {
					t.Errorf("reading while keys are rotated: %v", err)
				}
			}
		})
	}
	for range 2 {
		if n, err := here.RotateKeys(ctx); err != nil || n < before+1 {
			t.Errorf("sealed %d texts anew, %v", n, err)
		}
	}
	end()
	workers.Wait()
	fresh := open()
	for after := ""; ; {
		list, err := s.Members(ctx, after, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, row := range list {
			after = row.ID
			if p, err := fresh.Personal(row); err != nil || p.Name == "" || fresh.vault.Stale(row.Sealed) {
				t.Fatalf("%+v, %v", p, err)
			}
		}
	}
	if r, err := s.Registration(ctx, "h"); err != nil ||
		string(must(fresh.vault.Open(r.Sealed, registrationOf("h")))) != "waits" {
		t.Error(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
