// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// onceKept is for how long at the least a message of Recipient.Once is known.
// Marks lie by periods of that length, so that old ones go in one stroke.
const onceKept = 90 * 24 * time.Hour

// errAllThere: every recipient has the message already.
var errAllThere = errors.New("every recipient has the message already")

func oncePeriod(now time.Time) uint32 { return uint32(now.Unix() / int64(onceKept/time.Second)) }

func onceKey(period uint32, r *Recipient) []byte {
	hash := sha256.Sum256([]byte(r.Login + "\x00" + r.Once))
	return append(binary.BigEndian.AppendUint32([]byte{keyOnce}, period), hash[:16]...)
}

// marked returns the recipients who have not got the message yet, and marks
// with b that they get it: the mark appears with the message or not at all.
// The caller holds their accounts' locks. errAllThere: there are none.
func (s *Store) marked(b *pebble.Batch, to []Recipient, now time.Time) ([]Recipient, error) {
	period := oncePeriod(now)
	fresh := to[:0:0]
	for i := range to {
		if to[i].Once != "" {
			there, err := s.hasOnce(period, &to[i])
			if err != nil {
				return nil, err
			}
			if there {
				continue
			}
			if err := b.Set(onceKey(period, &to[i]), nil, nil); err != nil {
				return nil, err
			}
		}
		fresh = append(fresh, to[i])
	}
	if len(fresh) == 0 && len(to) > 0 {
		return nil, errAllThere
	}
	if len(fresh) == len(to) {
		return to, nil // the caller's, whose UIDs are set
	}
	return fresh, nil
}

func (s *Store) hasOnce(period uint32, r *Recipient) (bool, error) {
	there, err := s.has(onceKey(period, r))
	if err != nil || there {
		return there, err
	}
	return s.has(onceKey(period-1, r))
}

// forgetOnce removes the marks of periods that are over.
func (s *Store) forgetOnce(now time.Time) error {
	if err := s.enter(); err != nil {
		return nil // closed: the next start does
	}
	defer s.leave()
	before := binary.BigEndian.AppendUint32([]byte{keyOnce}, oncePeriod(now)-1)
	return s.db.DeleteRange([]byte{keyOnce}, before, pebble.NoSync)
}
