// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
)

// ErrContact: push services refuse to be told whom to reach like this.
var ErrContact = errors.New("push: not a contact that every push service takes")

// Subscription is one browser, as its PushSubscription's toJSON gives it.
type Subscription struct {
	Name     string `json:"-"`        // of the browser, for people
	Lang     string `json:"-"`        // in which it shows what comes
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

// apple says whether the browser is Safari, which ends a subscription when pushes
// show nothing.
func (s Subscription) apple() bool {
	u, err := url.Parse(s.Endpoint)
	return err == nil && strings.HasSuffix("."+strings.ToLower(u.Hostname()), ".push.apple.com")
}

// CheckContact says what is wrong with a contact of the operator (RFC 8292 section
// 2.1): Apple's push service refuses every push that names no real mail address or
// https URL.
func CheckContact(contact string) error {
	var host string
	u, err := url.Parse(contact)
	switch {
	case err == nil && u.Scheme == "https":
		host = u.Hostname()
	default:
		addr := strings.TrimPrefix(contact, "mailto:")
		parsed, err := mail.ParseAddress(addr)
		if err != nil || parsed.Address != addr {
			return fmt.Errorf("%w: %q is neither a mail address nor an https URL", ErrContact, contact)
		}
		host = addr[strings.LastIndex(addr, "@")+1:]
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, isAddr := netip.ParseAddr(strings.Trim(host, "[]"))
	if isAddr == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") ||
		strings.HasSuffix(host, ".local") {
		return fmt.Errorf("%w: %q is not on a domain of the Internet", ErrContact, contact)
	}
	return nil
}

// BrowserID names a browser to people's pages, since its endpoint is a secret.
func BrowserID(endpoint string) string {
	sum := sha256.Sum256([]byte(endpoint))
	return hex.EncodeToString(sum[:16])
}

// octets decodes base64url with or without padding.
func octets(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

// stored is the subscription as the store keeps it.
func (s Subscription) stored() chat.Subscription {
	return chat.Subscription{Endpoint: s.Endpoint, P256dh: s.Keys.P256dh, Auth: s.Keys.Auth, Name: s.Name, Lang: s.Lang}
}

// browserOf is a subscription as the store has kept it.
func browserOf(stored chat.Subscription) (s Subscription) {
	s.Endpoint, s.Keys.P256dh, s.Keys.Auth = stored.Endpoint, stored.P256dh, stored.Auth
	s.Name, s.Lang = stored.Name, stored.Lang
	return s
}
