// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"errors"
	"time"

	"github.com/chmail/chmail/mall/vault"
)

// rotateWait is longer than anything takes from sealing a text to storing it.
const rotateWait = 30 * time.Second

// sealedAs is what the sealed texts of a table are about, before the row's ID.
var sealedAs = map[string]func(id string) string{
	"members": personalOf, "orders": deliverOf, "registrations": registrationOf,
}

// RotateKeys seals all personal data with a new key, while the mall goes on, and drops the
// old keys. It returns how many texts were sealed anew. When it is cut off, the old keys
// stay, and it can be begun again.
func (m *Mall) RotateKeys(ctx context.Context) (int, error) {
	m.rotating.Lock()
	defer m.rotating.Unlock()
	newest, err := m.vault.Rotate()
	if err != nil {
		return 0, err
	}
	n, err := m.reseal(ctx)
	if err != nil {
		return n, err
	}
	// What was sealed with an old key just before may be stored only now.
	select {
	case <-time.After(m.rotateWait):
	case <-ctx.Done():
		return n, ctx.Err()
	}
	late, err := m.reseal(ctx)
	if err != nil {
		return n + late, err
	}
	m.log.Info("the keys of personal data were rotated", "texts", n+late)
	return n + late, m.vault.Forget(newest)
}

// reseal seals with the newest key what is sealed with older ones.
func (m *Mall) reseal(ctx context.Context) (int, error) {
	return m.store.Reseal(ctx, func(table, id, sealed string) (string, error) {
		if !m.vault.Stale(sealed) {
			return sealed, nil
		}
		about := sealedAs[table](id)
		text, err := m.vault.Open(sealed, about)
		if errors.Is(err, vault.ErrSealed) {
			m.log.Error("a sealed text is damaged and stays as it is", "table", table, "id", id)
			return sealed, nil
		}
		if err != nil {
			return "", err
		}
		return m.vault.Seal(text, about)
	})
}
