// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
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

// Subscriptions keeps the browsers of logins. Its methods may be called at
// the same time.
type Subscriptions interface {
	// Put keeps s, which the caller has checked. An endpoint belongs to one
	// login, the last that was signed in there. Of more than PerLogin the one
	// put the longest ago goes.
	Put(ctx context.Context, login string, s Subscription) error
	// Of returns the subscriptions of login, none if it is unknown.
	Of(ctx context.Context, login string) ([]Subscription, error)
	// Forget removes the endpoint; that there is none is no error.
	Forget(ctx context.Context, endpoint string) error
}
