// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// number reads a number of the store's own; 0 when it was never written.
func (s *Store) number(key []byte) (n uint64, err error) {
	_, err = s.get(s.db, key, func(v []byte) error {
		r := record{b: v}
		n = r.uvarint()
		return r.end()
	})
	if err != nil {
		return 0, fmt.Errorf("key %q: %w", key, err)
	}
	return n, nil
}

// newID gives out an id that never was one.
func (s *Store) newID() (uint64, error) {
	s.ids.Lock()
	defer s.ids.Unlock()
	if s.ids.next == s.ids.bound {
		bound := s.ids.bound + idBlock
		if err := s.db.Set(storeIDs, binary.AppendUvarint(nil, bound), pebble.Sync); err != nil {
			return 0, fmt.Errorf("reserving ids: %w", err)
		}
		s.ids.bound = bound
	}
	s.ids.next++
	return s.ids.next - 1, nil
}

// newValidity gives out a UIDVALIDITY higher than any before (RFC 3501
// section 2.3.1.1) and writes it with b.
func (s *Store) newValidity(b *pebble.Batch) (uint32, error) {
	s.ids.Lock()
	defer s.ids.Unlock()
	v := max(uint32(time.Now().Unix()), s.ids.validity+1)
	if err := b.Set(storeValidity, binary.AppendUvarint(nil, uint64(v)), nil); err != nil {
		return 0, err
	}
	s.ids.validity = v
	return v, nil
}
