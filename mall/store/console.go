// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"
)

// Bounds of a shop.
const (
	MaxStaff   = 50
	MaxKeys    = 20
	MaxOrigins = 20
	MaxNotes   = 200 // about one member
	MaxNote    = 2000
)

// ErrLastOwner: a shop has an owner at all times.
var ErrLastOwner = errors.New("a shop needs an owner")

// Key is a key of a shop's API. The key itself is not kept.
type Key struct {
	bun.BaseModel `bun:"table:shop_keys"`

	Shop    string `bun:",pk"`
	ID      string `bun:",pk"`
	Name    string
	Hash    string // hex SHA-256 of the key
	Created int64
	Used    int64 // about when it was last used; 0: never
}

// Note is what staff wrote down about a member.
type Note struct {
	bun.BaseModel `bun:"table:shop_notes"`

	Shop   string `bun:",pk"`
	ID     string `bun:",pk"`
	Member string
	Login  string // who wrote it
	Text   string
	At     int64
}

// Shop finds a shop, whatever its state. ErrUnknown.
func (s *Store) Shop(ctx context.Context, id string) (shop Shop, err error) {
	if err := s.rd.NewSelect().Model(&shop).Where("id = ?", id).Scan(ctx); err != nil {
		return Shop{}, fmt.Errorf("reading the shop %s: %w", id, known(err))
	}
	return shop, nil
}

// Shops are those in a state, newest first, before an id; empty: from the newest.
func (s *Store) Shops(ctx context.Context, state, before string, limit int) (list []Shop, err error) {
	q := s.rd.NewSelect().Model(&list).Where("state = ?", state).Order("id DESC").Limit(int64(limit))
	if before != "" {
		q.Where("id < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, fmt.Errorf("listing shops: %w", err)
	}
	return list, nil
}

// SetShopState moves a shop from one state to another, and says why it was refused. ErrState:
// it is not in the first.
func (s *Store) SetShopState(ctx context.Context, id, from, to, why string) error {
	res, err := s.db.NewUpdate().Model((*Shop)(nil)).Set("state = ?, why = ?", to, why).Where("id = ? AND state = ?",
		id, from).Exec(ctx)
	if err := changed(res, err, ErrState); err != nil {
		return fmt.Errorf("setting a shop's state: %w", err)
	}
	return nil
}

// ChangeShop changes a shop by edit. Its id, slug, address and state stay. ErrUnknown.
func (s *Store) ChangeShop(ctx context.Context, id string, edit func(shop *Shop) error) (shop Shop, err error) {
	err = s.OfShop(ctx, id, func(tx bun.Tx) error {
		if err := s.forUpdate(tx.NewSelect().Model(&shop).Where("id = ?", id)).Scan(ctx); err != nil {
			return known(err)
		}
		if err := edit(&shop); err != nil {
			return err
		}
		res, err := tx.NewUpdate().Model(&shop).Where("id = ?", id).
			ExcludeColumn("id", "slug", "addr", "state", "why", "created").Exec(ctx)
		return changed(res, err, ErrUnknown)
	})
	if err != nil {
		return Shop{}, fmt.Errorf("changing a shop: %w", err)
	}
	return shop, nil
}

// Team is a shop's staff, in the order in which they came.
func (s *Store) Team(ctx context.Context, shop string) (list []Staff, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&list).Where("shop = ?", shop).Order("created", "login").Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading a shop's staff: %w", err)
	}
	return list, nil
}

// PutStaff gives a login a role in a shop. ErrFull; ErrLastOwner.
func (s *Store) PutStaff(ctx context.Context, shop, login, role string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		row := Staff{Shop: shop, Login: login, Role: role, Created: Micros(time.Now())}
		_, err := tx.NewInsert().Model(&row).On("CONFLICT (shop, login) DO UPDATE").Set("role = EXCLUDED.role").Exec(ctx)
		if err != nil {
			return err
		}
		return s.staffed(ctx, tx, shop)
	})
	if err != nil {
		return fmt.Errorf("storing staff: %w", err)
	}
	return nil
}

// RemoveStaff takes a login out of a shop. ErrUnknown; ErrLastOwner.
func (s *Store) RemoveStaff(ctx context.Context, shop, login string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*Staff)(nil)).Where("shop = ? AND login = ?", shop, login).Exec(ctx)
		if err := changed(res, err, ErrUnknown); err != nil {
			return err
		}
		return s.staffed(ctx, tx, shop)
	})
	if err != nil {
		return fmt.Errorf("removing staff: %w", err)
	}
	return nil
}

// staffed says whether a shop's staff may be as it is now. The row of the shop is
// locked meanwhile, so that two owners do not remove each other.
func (s *Store) staffed(ctx context.Context, tx bun.Tx, shop string) error {
	if s.postgres() {
		if _, err := tx.ExecContext(ctx, "SELECT id FROM shops WHERE id = ? FOR UPDATE", shop); err != nil {
			return err
		}
	}
	var team []Staff
	if err := tx.NewSelect().Model(&team).Where("shop = ?", shop).Scan(ctx); err != nil {
		return err
	}
	if len(team) > MaxStaff {
		return ErrFull
	}
	for _, t := range team {
		if t.Role == RoleOwner {
			return nil
		}
	}
	return ErrLastOwner
}

// StaffedShops are the logins of the staff of every open shop, by the shop's address.
func (s *Store) StaffedShops(ctx context.Context) (groups map[string][]string, err error) {
	var rows []struct{ Addr, Login string }
	err = s.rd.NewSelect().TableExpr("staff AS st").ColumnExpr("sh.addr, st.login").
		Join("JOIN shops AS sh ON sh.id = st.shop").Where("sh.state = ?", ShopOpen).
		OrderExpr("sh.addr, st.login").Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("reading the staff of shops: %w", err)
	}
	groups = make(map[string][]string)
	for _, r := range rows {
		groups[r.Addr] = append(groups[r.Addr], r.Login)
	}
	return groups, nil
}

// ShopHours are the opening hours of the open shops that have some, by the shop's address.
func (s *Store) ShopHours(ctx context.Context) (map[string]Hours, error) {
	var rows []struct{ Addr, Hours string }
	err := s.rd.NewSelect().Table("shops").Column("addr", "hours").Where("state = ? AND hours <> ''",
		ShopOpen).Scan(ctx, &rows)
	if err != nil {
		return nil, fmt.Errorf("reading the opening hours of shops: %w", err)
	}
	all := make(map[string]Hours, len(rows))
	for _, r := range rows {
		h, err := ParseHours(r.Hours)
		if err != nil { // it was checked when it was stored
			s.log.Warn("a shop's opening hours cannot be read: it counts as always open", "shop", r.Addr, "err", err)
			continue
		}
		all[r.Addr] = h
	}
	return all, nil
}

// StaffAt are the logins that work for the open shop of an address; none: it is no shop's.
func (s *Store) StaffAt(ctx context.Context, addr string) (logins []string, err error) {
	err = s.rd.NewSelect().TableExpr("staff AS st").ColumnExpr("st.login").
		Join("JOIN shops AS sh ON sh.id = st.shop").Where("sh.addr = ? AND sh.state = ?", addr, ShopOpen).
		OrderExpr("st.login").Scan(ctx, &logins)
	if err != nil {
		return nil, fmt.Errorf("reading the staff of %s: %w", addr, err)
	}
	return logins, nil
}

// keyPrefix begins every key, so that it is known when it is found where it should not be.
const keyPrefix = "chmall_"

// AddKey makes a key of a shop's API. It is shown once: the store keeps its hash.
func (s *Store) AddKey(ctx context.Context, shop, name string) (row Key, key string, err error) {
	if err := line("name", name, 1, maxName); err != nil {
		return Key{}, "", err
	}
	key = keyPrefix + rand.Text()
	row = Key{Shop: shop, ID: NewID(), Name: name, Hash: hashKey(key), Created: Micros(time.Now())}
	err = s.OfShop(ctx, shop, func(tx bun.Tx) error {
		n, err := tx.NewSelect().Model((*Key)(nil)).Where("shop = ?", shop).Count(ctx)
		if err != nil {
			return err
		}
		if n >= MaxKeys {
			return ErrFull
		}
		_, err = tx.NewInsert().Model(&row).Exec(ctx)
		return err
	})
	if err != nil {
		return Key{}, "", fmt.Errorf("adding a key: %w", err)
	}
	return row, key, nil
}

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// keyUsedEvery is how exactly the last use of a key is known.
const keyUsedEvery = time.Hour

// ShopOfKey finds an open shop by a key of its API. ErrUnknown.
func (s *Store) ShopOfKey(ctx context.Context, key string) (shop Shop, row Key, err error) {
	err = s.rd.NewSelect().Model(&row).Where("hash = ?", hashKey(key)).Scan(ctx)
	if err == nil {
		err = s.rd.NewSelect().Model(&shop).Where("id = ? AND state = ?", row.Shop, ShopOpen).Scan(ctx)
	}
	if now := Micros(time.Now()); err == nil && now-row.Used > keyUsedEvery.Microseconds() {
		_, err = s.db.NewUpdate().Model((*Key)(nil)).Set("used = ?", now).Where("shop = ? AND id = ?", row.Shop,
			row.ID).Exec(ctx)
	}
	if err != nil {
		return Shop{}, Key{}, fmt.Errorf("reading a key: %w", known(err))
	}
	return shop, row, nil
}

// Keys are those of a shop's API.
func (s *Store) Keys(ctx context.Context, shop string) (list []Key, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&list).Where("shop = ?", shop).Order("id").Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	return list, nil
}

// RemoveKey ends a key. ErrUnknown.
func (s *Store) RemoveKey(ctx context.Context, shop, id string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*Key)(nil)).Where("shop = ? AND id = ?", shop, id).Exec(ctx)
		return changed(res, err, ErrUnknown)
	})
	if err != nil {
		return fmt.Errorf("removing a key: %w", err)
	}
	return nil
}

type shopOrigin struct {
	bun.BaseModel `bun:"table:shop_origins"`
	Shop, Origin  string
}

// Origins are the web origins whose pages may show a shop's buttons.
func (s *Store) Origins(ctx context.Context, shop string) (list []string, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model((*shopOrigin)(nil)).Column("origin").Where("shop = ?",
			shop).Order("origin").Scan(ctx, &list)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the origins of a shop: %w", err)
	}
	return list, nil
}

// SetOrigins sets them. ErrFull.
func (s *Store) SetOrigins(ctx context.Context, shop string, list []string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		if len(list) > MaxOrigins {
			return ErrFull
		}
		if _, err := tx.NewDelete().Model((*shopOrigin)(nil)).Where("shop = ?", shop).Exec(ctx); err != nil {
			return err
		}
		for _, o := range list {
			row := shopOrigin{Shop: shop, Origin: strings.ToLower(o)}
			if _, err := tx.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing the origins of a shop: %w", err)
	}
	return nil
}

// AddNote writes down something about a member. Invalid; ErrFull.
func (s *Store) AddNote(ctx context.Context, n Note) error {
	if length := utf8.RuneCountInString(n.Text); strings.TrimSpace(n.Text) == "" {
		return Invalid{"note", "missing"}
	} else if length > MaxNote {
		return Invalid{"note", "long"}
	}
	n.ID, n.At = NewID(), Micros(time.Now())
	err := s.OfShop(ctx, n.Shop, func(tx bun.Tx) error {
		have, err := tx.NewSelect().Model((*Note)(nil)).Where("shop = ? AND member = ?", n.Shop, n.Member).Count(ctx)
		if err != nil {
			return err
		}
		if have >= MaxNotes {
			return ErrFull
		}
		_, err = tx.NewInsert().Model(&n).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("adding a note: %w", err)
	}
	return nil
}

// Notes are a shop's about a member, newest first.
func (s *Store) Notes(ctx context.Context, shop, member string) (list []Note, err error) {
	err = s.readOfShop(ctx, shop, func(db bun.IDB) error {
		return db.NewSelect().Model(&list).Where("shop = ? AND member = ?", shop, member).Order("id DESC").
			Limit(MaxNotes).Scan(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("reading notes: %w", err)
	}
	return list, nil
}

// RemoveNote takes a note away. ErrUnknown.
func (s *Store) RemoveNote(ctx context.Context, shop, id string) error {
	err := s.OfShop(ctx, shop, func(tx bun.Tx) error {
		res, err := tx.NewDelete().Model((*Note)(nil)).Where("shop = ? AND id = ?", shop, id).Exec(ctx)
		return changed(res, err, ErrUnknown)
	})
	if err != nil {
		return fmt.Errorf("removing a note: %w", err)
	}
	return nil
}
