// SPDX-License-Identifier: GPL-3.0-or-later

// Package seal marks texts so that only the holder of a key can have marked
// them: tickets, cookies, nonces, reply addresses. The mark is HMAC-SHA-256.
// What is sealed can be read by everybody, but not changed.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

// ErrSeal: the text was not sealed with this key, or was changed since.
var ErrSeal = errors.New("the seal does not fit")

// MinSum is the shortest sum that Fits accepts, in octets.
const MinSum = 10

// Key is the key of one purpose.
type Key []byte

// Derive makes the key of one purpose, 32 octets, from a secret.
func Derive(secret []byte, purpose string) (Key, error) {
	return hkdf.Key(sha256.New, secret, nil, purpose, sha256.Size)
}

// Sum returns the 32 octets that mark a body. A prefix of them of at least
// MinSum octets is a mark too, where room is short.
func (k Key) Sum(body []byte) []byte {
	mac := hmac.New(sha256.New, k)
	mac.Write(body)
	return mac.Sum(nil)
}

// Fits reports whether sum, or the prefix of one, marks the body. The time it
// takes tells nothing about the right sum.
func (k Key) Fits(sum, body []byte) bool {
	return len(sum) >= MinSum && len(sum) <= sha256.Size && hmac.Equal(sum, k.Sum(body)[:len(sum)])
}

// Mark returns the sum of a text in base64url.
func (k Key) Mark(text string) string {
	return base64.RawURLEncoding.EncodeToString(k.Sum([]byte(text)))
}

// Marks reports whether mark is that of the text.
func (k Key) Marks(mark, text string) bool { return hmac.Equal([]byte(mark), []byte(k.Mark(text))) }

// Seal returns a body with its sum before it, in base64url.
func (k Key) Seal(body []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(k.Sum(body), body...))
}

// Open returns the body that Seal sealed; otherwise ErrSeal.
func (k Key) Open(sealed string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(raw) < sha256.Size || !k.Fits(raw[:sha256.Size], raw[sha256.Size:]) {
		return nil, ErrSeal
	}
	return raw[sha256.Size:], nil
}
