// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// settingKey is where the key is kept.
const settingKey = "push.vapid"

// Keys are the server's pair of VAPID keys (RFC 8292): P-256, for ES256.
// Browsers bind their subscriptions to it, so it is made once and kept.
type Keys struct {
	private *ecdh.PrivateKey
}

// LoadKeys returns the pair kept by setting, which stores what make returns
// if there is none yet.
func LoadKeys(
	ctx context.Context, setting func(ctx context.Context, key string, make func() ([]byte, error)) ([]byte, error),
) (Keys, error) {
	b, err := setting(ctx, settingKey, func() ([]byte, error) {
		k, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return k.Bytes(), nil
	})
	if err != nil {
		return Keys{}, fmt.Errorf("loading the push key: %w", err)
	}
	k, err := ecdh.P256().NewPrivateKey(b)
	if err != nil {
		return Keys{}, fmt.Errorf("loading the push key: %w", err)
	}
	return Keys{k}, nil
}

// Public returns the public key as pages give it to the browser's
// pushManager.subscribe as applicationServerKey: uncompressed, base64url.
func (k Keys) Public() string {
	return base64.RawURLEncoding.EncodeToString(k.private.PublicKey().Bytes())
}

func (k Keys) secret() string { return base64.RawURLEncoding.EncodeToString(k.private.Bytes()) }

// String keeps the private key out of logs.
func (k Keys) String() string { return "notify.Keys" }
