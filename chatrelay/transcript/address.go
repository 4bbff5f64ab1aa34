// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/seal"
)

const (
	sealKey  = 32          // octets
	sealMAC  = seal.MinSum // 80 bits, and every guess is a mail
	prefix   = "reply+"
	maxLocal = 64 // octets of a local part, RFC 5321 section 4.5.3.1.1

	sealRaw  = 1 // version: the room's ID as it is
	sealBits = 2 // version: the octets that the room's ID is base64url of
)

// sealing is base32 in lower case: some systems fold a local part's case.
var sealing = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Address is what a reply address stands for. Whoever has the address can
// write as the participant, as with any link into the room; a caller that
// wants more compares the mail's sender with the participant.
type Address struct {
	Room        string
	Participant int64     // not negative
	Expires     time.Time // whole hours; the part of one counts as a whole
}

// Sealer makes and opens reply addresses, "reply+SEAL@DOMAIN".
type Sealer struct {
	key    seal.Key
	domain string
}

// NewSealer returns the sealer of a mail domain. Its key, a secret, has 32
// octets and is the same at every relay that shares the rooms.
func NewSealer(domain string, key []byte) (*Sealer, error) {
	if len(key) != sealKey {
		return nil, fmt.Errorf("the key of reply addresses has %d octets, not %d", len(key), sealKey)
	}
	return &Sealer{key, strings.ToLower(domain)}, nil
}

// Seal returns the address for a. It errs if the room's ID is too long for
// one.
func (s *Sealer) Seal(a Address) (string, error) {
	hours := (a.Expires.Unix() + 3599) / 3600
	if a.Participant < 0 || hours < 0 || hours >= 1<<24 {
		return "", fmt.Errorf("sealing a reply address: %w: participant %d, expiry %v",
			ErrAddress, a.Participant, a.Expires)
	}
	version, room := byte(sealRaw), []byte(a.Room)
	if b, err := base64.RawURLEncoding.Strict().DecodeString(a.Room); err == nil {
		version, room = sealBits, b
	}
	b := []byte{version, byte(hours >> 16), byte(hours >> 8), byte(hours)}
	b = binary.AppendUvarint(b, uint64(a.Participant))
	b = append(b, room...)
	local := prefix + sealing.EncodeToString(append(b, s.key.Sum(marked(b))[:sealMAC]...))
	if len(local) > maxLocal {
		return "", fmt.Errorf("sealing a reply address: %w: the room's ID is too long", ErrAddress)
	}
	return local + "@" + s.domain, nil
}

// Open returns what an address stands for. It errs with ErrAddress, or with
// ErrExpired and the address.
func (s *Sealer) Open(addr string, now time.Time) (Address, error) {
	addr = strings.ToLower(strings.TrimSpace(addr))
	local, domain, _ := strings.Cut(addr, "@")
	sealed, ours := strings.CutPrefix(local, prefix)
	if !ours || domain != s.domain || len(local) > maxLocal {
		return Address{}, ErrAddress
	}
	b, err := sealing.DecodeString(sealed)
	if err != nil || len(b) < 5+sealMAC || sealing.EncodeToString(b) != sealed { // one spelling each
		return Address{}, ErrAddress
	}
	b, mac := b[:len(b)-sealMAC], b[len(b)-sealMAC:]
	if !s.key.Fits(mac, marked(b)) {
		return Address{}, ErrAddress
	}
	participant, n := binary.Uvarint(b[4:])
	if n <= 0 || participant > 1<<62 {
		return Address{}, ErrAddress
	}
	a := Address{Participant: int64(participant),
		Expires: time.Unix(3600*(int64(b[1])<<16|int64(b[2])<<8|int64(b[3])), 0).UTC()}
	switch room := b[4+n:]; b[0] {
	case sealRaw:
		a.Room = string(room)
	case sealBits:
		a.Room = base64.RawURLEncoding.EncodeToString(room)
	default:
		return Address{}, ErrAddress
	}
	if !now.Before(a.Expires) {
		return a, ErrExpired
	}
	return a, nil
}

// marked is what the mark of a reply address is made of: the key may have
// other uses.
func marked(b []byte) []byte { return append([]byte("CHmail reply address\x00"), b...) }
