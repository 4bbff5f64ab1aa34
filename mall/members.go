// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// Visitor is who looks at a page: a stranger, or a login with what it is here.
type Visitor struct {
	Login    string        // empty: a stranger
	Session  chat.Session  // as the relay knows it
	Member   *store.Member // nil: the login has not become a member yet
	Staff    []store.Staff // its places in shops
	Operator bool          // runs the mall
}

// Role is the visitor's role in a shop; empty: none.
func (v Visitor) Role(shop string) string {
	if i := slices.IndexFunc(v.Staff, func(s store.Staff) bool { return s.Shop == shop }); i >= 0 {
		return v.Staff[i].Role
	}
	return ""
}

// Visitor is who has a session's cookie. A cookie of no session is a stranger's.
func (m *Mall) Visitor(ctx context.Context, cookie string) (Visitor, error) {
	if cookie == "" {
		return Visitor{}, nil
	}
	session, err := m.store.Session(ctx, hashOf(cookie))
	if errors.Is(err, store.ErrUnknown) {
		return Visitor{}, nil
	}
	if err != nil {
		return Visitor{}, err
	}
	v := Visitor{Login: session.Login, Session: ofRelay(session),
		Operator: slices.Contains(m.opts.Operator, session.Login)}
	if good, err := m.opts.Relay.SignedIn(ctx, v.Session); err != nil || !good {
		return Visitor{}, err
	}
	switch member, err := m.store.MemberByLogin(ctx, session.Login); {
	case err == nil:
		v.Member = &member
	case !errors.Is(err, store.ErrUnknown):
		return Visitor{}, err
	}
	if v.Staff, err = m.store.StaffOf(ctx, v.Login); err != nil {
		return Visitor{}, err
	}
	return v, nil
}

// BeginSession begins a session of a login and returns its cookie. began is before its
// password was looked at: with an old password nobody comes in after a new one was set.
func (m *Mall) BeginSession(ctx context.Context, login string, began time.Time) (cookie string, err error) {
	cookie = newSecret()
	return cookie, m.store.AddSession(ctx, hashOf(cookie), login, began)
}

// ofRelay is a session as the relay knows it.
func ofRelay(s store.Session) chat.Session {
	return chat.Session{Login: s.Login, ID: "mall-" + s.Hash[:min(len(s.Hash), 32)], Began: store.Time(s.Created)}
}

// EndSession ends the session of a cookie, and what rings by it.
func (m *Mall) EndSession(ctx context.Context, cookie string) error {
	session, err := m.store.Session(ctx, hashOf(cookie))
	if errors.Is(err, store.ErrUnknown) {
		return nil
	}
	if err == nil {
		err = m.opts.Relay.EndSession(ctx, ofRelay(session), store.Time(session.Created).Add(store.SessionLife))
	}
	return errors.Join(err, m.store.EndSession(ctx, hashOf(cookie)))
}

// Personal is what is known about a member.
func (m *Mall) Personal(member store.Member) (p store.Personal, err error) {
	text, err := m.vault.Open(member.Sealed, personalOf(member.ID))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return store.Personal{}, fmt.Errorf("reading what is known about the member %s: %w", member.ID, err)
	}
	return p, nil
}

// personalOf is what a member's sealed data is about.
func personalOf(member string) string { return "member/" + member }

// sealPersonal seals what is known about a member.
func (m *Mall) sealPersonal(member string, p store.Personal) (string, error) {
	return SealPersonal(m.vault, member, p)
}

// SealPersonal seals what is known about a member, as Mall.Personal reads it.
func SealPersonal(v *vault.Vault, member string, p store.Personal) (string, error) {
	text, err := json.Marshal(p)
	if err != nil { // strings
		panic(err)
	}
	return v.Seal(text, personalOf(member))
}

// newSecret is 256 random bits as text, for cookies and links, of which only the
// hash is stored.
func newSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
