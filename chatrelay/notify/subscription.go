// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Subscription is one browser, as its PushSubscription's toJSON gives it.
type Subscription struct {
	Endpoint string `json:"endpoint"` // a secret: whoever has it can send to the browser
	Keys     struct {
		P256dh string `json:"p256dh"` // the browser's public key, base64url
		Auth   string `json:"auth"`   // 16 octets, base64url
	} `json:"keys"`
}

// Check errs with ErrSubscription unless a push can be sent to s. It makes no
// network call; addresses are looked at again when they are dialled.
func (s Subscription) Check() error {
	u, err := url.Parse(s.Endpoint)
	switch {
	case len(s.Endpoint) > maxEndpoint:
		return fmt.Errorf("%w: the endpoint is too long", ErrSubscription)
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Opaque != "" || u.Fragment != "":
		return fmt.Errorf("%w: the endpoint is not an https URL", ErrSubscription)
	}
	if key, err := octets(s.Keys.P256dh); err != nil {
		return fmt.Errorf("%w: p256dh: %w", ErrSubscription, err)
	} else if _, err := ecdh.P256().NewPublicKey(key); err != nil {
		return fmt.Errorf("%w: p256dh: %w", ErrSubscription, err)
	}
	if auth, err := octets(s.Keys.Auth); err != nil || len(auth) != 16 { // RFC 8291 section 3.2
		return fmt.Errorf("%w: auth is not 16 octets", ErrSubscription)
	}
	return nil
}

// octets decodes base64url with or without padding.
func octets(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// stored is the subscription as the store keeps it.
func (s Subscription) stored() chat.Subscription {
	return chat.Subscription{Endpoint: s.Endpoint, P256dh: s.Keys.P256dh, Auth: s.Keys.Auth}
}

// browserOf is a subscription as the store has kept it.
func browserOf(stored chat.Subscription) (s Subscription) {
	s.Endpoint, s.Keys.P256dh, s.Keys.Auth = stored.Endpoint, stored.P256dh, stored.Auth
	return s
}
