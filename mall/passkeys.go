// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/mall/store"
)

// ErrPasskey: what the browser answered does not fit what it was asked, or came too late.
var ErrPasskey = errors.New("the passkey was not taken")

// What tickets of passkeys are for.
const (
	forAdding      = "add a passkey"
	forRegistering = "register by a passkey"
	forSignIn      = "sign in by a passkey"
)

const (
	passkeyWithin = 5 * time.Minute // that a person takes to touch their key
	maxPasskey    = 64              // characters of a passkey's name
)

// Ceremony is what a browser is asked for (Web Authentication, section 5): the options, and
// a ticket to bring back with the answer.
type Ceremony struct {
	Options any    `json:"options"`
	Ticket  string `json:"ticket"`
}

// newKeys is nil where browsers make no passkeys: for a mall without a host name.
func newKeys(opts Options) (*webauthn.WebAuthn, error) {
	host := opts.Base.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, nil
	}
	keys, err := webauthn.New(&webauthn.Config{RPID: host, RPDisplayName: opts.Name,
		RPOrigins: []string{opts.Base.Scheme + "://" + opts.Base.Host},
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired,
			UserVerification: protocol.VerificationRequired},
		AttestationPreference: protocol.PreferNoAttestation})
	if err != nil {
		return nil, fmt.Errorf("mall: preparing passkeys: %w", err)
	}
	return keys, nil
}

// HasPasskeys says whether members can have passkeys here.
func (m *Mall) HasPasskeys() bool { return m.keys != nil }

// holder is a member as a passkey's owner.
type holder struct {
	id, name string
	keys     []webauthn.Credential
}

var _ webauthn.User = holder{}

// WebAuthnID implements webauthn.User.
func (h holder) WebAuthnID() []byte { return []byte(h.id) }

// WebAuthnName implements webauthn.User.
func (h holder) WebAuthnName() string { return h.name }

// WebAuthnDisplayName implements webauthn.User.
func (h holder) WebAuthnDisplayName() string { return h.name }

// WebAuthnCredentials implements webauthn.User.
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.keys }

// holderOf reads a member's passkeys.
func (m *Mall) holderOf(ctx context.Context, member store.Member) (holder, error) {
	rows, err := m.store.Passkeys(ctx, member.ID)
	if err != nil {
		return holder{}, err
	}
	h := holder{id: member.ID, name: member.Login}
	for _, row := range rows {
		var c webauthn.Credential
		if err := json.Unmarshal([]byte(row.Credential), &c); err != nil {
			return holder{}, fmt.Errorf("reading a passkey of the member %s: %w", member.ID, err)
		}
		h.keys = append(h.keys, c)
	}
	return h, nil
}

// asked is what a ticket of a passkey carries.
type asked struct {
	Member  string               `json:"member"`
	Session webauthn.SessionData `json:"session"`
}

// ask begins a ceremony.
func (m *Mall) ask(what, member string, options any, session *webauthn.SessionData) Ceremony {
	b, err := json.Marshal(asked{member, *session})
	if err != nil { // texts
		panic(err)
	}
	return Ceremony{options, m.tickets.Make(what, b, passkeyWithin)}
}

// answered reads what a browser brought back.
func (m *Mall) answered(what, ticket string) (a asked, err error) {
	if m.keys == nil {
		return a, ErrPasskey
	}
	b, err := m.tickets.Take(what, ticket)
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return a, ErrPasskey
	}
	return a, nil
}

// BeginPasskey asks a member's browser for a new passkey.
func (m *Mall) BeginPasskey(ctx context.Context, member store.Member) (Ceremony, error) {
	h, err := m.holderOf(ctx, member)
	if err != nil {
		return Ceremony{}, err
	}
	return m.create(forAdding, h)
}

// BeginRegistering asks the browser of somebody who registers for a passkey.
func (m *Mall) BeginRegistering(addr string) (Ceremony, error) {
	return m.create(forRegistering, holder{id: store.NewID(), name: clean.Line(addr, maxPasskey, 4*maxPasskey)})
}

func (m *Mall) create(what string, h holder) (Ceremony, error) {
	if m.keys == nil {
		return Ceremony{}, ErrPasskey
	}
	options, session, err := m.keys.BeginRegistration(h,
		webauthn.WithExclusions(webauthn.Credentials(h.keys).CredentialDescriptors()))
	if err != nil {
		return Ceremony{}, fmt.Errorf("asking for a passkey: %w", err)
	}
	return m.ask(what, h.id, options, session), nil
}

// made checks a new passkey. ErrPasskey.
func (m *Mall) made(what, ticket, response string) (member string, row store.Passkey, err error) {
	a, err := m.answered(what, ticket)
	if err != nil {
		return "", row, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(response))
	var c *webauthn.Credential
	if err == nil {
		c, err = m.keys.CreateCredential(holder{id: a.Member}, a.Session, parsed)
	}
	if err != nil {
		m.log.Info("a new passkey was not taken", "err", err)
		return "", row, ErrPasskey
	}
	row = store.Passkey{ID: base64.RawURLEncoding.EncodeToString(c.ID), Member: a.Member, Credential: jsonOf(c),
		Created: store.Micros(time.Now())}
	return a.Member, row, nil
}

func jsonOf(c *webauthn.Credential) string {
	b, err := json.Marshal(c)
	if err != nil { // octets and texts
		panic(err)
	}
	return string(b)
}

// AddPasskey gives a member the passkey that their browser made. ErrPasskey;
// store.ErrFull, store.ErrTaken.
func (m *Mall) AddPasskey(ctx context.Context, member store.Member, name, ticket, response string) error {
	of, row, err := m.made(forAdding, ticket, response)
	if err != nil {
		return err
	}
	if of != member.ID { // they signed in as somebody else meanwhile
		return ErrPasskey
	}
	row.Name = clean.Line(name, maxPasskey, 4*maxPasskey)
	return m.store.AddPasskey(ctx, row)
}

// RemovePasskey takes a passkey away. store.ErrState: it is the last one, of a member who
// has no password.
func (m *Mall) RemovePasskey(ctx context.Context, member store.Member, id string) error {
	if member.Bare {
		if all, err := m.store.Passkeys(ctx, member.ID); err != nil || len(all) < 2 {
			return errors.Join(err, store.ErrState)
		}
	}
	return m.store.RemovePasskey(ctx, member.ID, id)
}

// BeginPasskeySignIn asks a browser for any passkey of this mall.
func (m *Mall) BeginPasskeySignIn() (Ceremony, error) {
	if m.keys == nil {
		return Ceremony{}, ErrPasskey
	}
	options, session, err := m.keys.BeginDiscoverableLogin()
	if err != nil {
		return Ceremony{}, fmt.Errorf("asking for a passkey: %w", err)
	}
	return m.ask(forSignIn, "", options, session), nil
}

// PasskeySignIn begins a session of whose passkey it is. ErrPasskey.
func (m *Mall) PasskeySignIn(ctx context.Context, ticket, response string) (login, cookie string, err error) {
	began := time.Now()
	a, err := m.answered(forSignIn, ticket)
	if err != nil {
		return "", "", err
	}
	var member store.Member
	var trouble error // of ours, unlike a passkey that does not fit
	find := func(_, handle []byte) (webauthn.User, error) {
		if member, trouble = m.store.MemberByID(ctx, string(handle)); trouble != nil {
			return nil, trouble
		}
		var h holder
		h, trouble = m.holderOf(ctx, member)
		return h, trouble
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(response))
	var c *webauthn.Credential
	if err == nil {
		c, err = m.keys.ValidateDiscoverableLogin(find, a.Session, parsed)
	}
	if trouble != nil && !errors.Is(trouble, store.ErrUnknown) {
		return "", "", trouble
	}
	if err != nil || c.Authenticator.CloneWarning {
		m.log.Info("a passkey does not fit", "err", err)
		return "", "", ErrPasskey
	}
	if there, err := m.opts.Accounts.Exists(ctx, member.Login); err != nil || !there {
		return "", "", errors.Join(err, ErrPasskey)
	}
	id := base64.RawURLEncoding.EncodeToString(c.ID)
	if err := m.store.UsedPasskey(ctx, member.ID, id, jsonOf(c)); err != nil {
		return "", "", err
	}
	cookie, err = m.BeginSession(ctx, member.Login, began)
	return member.Login, cookie, err
}

// MailPassword makes a password for the mail programs of a member who registered by a
// passkey alone, in place of the one before. ErrNotAllowed: the member has their own.
func (m *Mall) MailPassword(ctx context.Context, member store.Member) (string, error) {
	if !member.Bare {
		return "", ErrNotAllowed
	}
	text := strings.ToLower(rand.Text())
	made := text[:6] + "-" + text[6:12] + "-" + text[12:18] + "-" + text[18:24]
	if err := m.opts.Accounts.SetPassword(ctx, member.Login, made); err != nil {
		return "", err
	}
	return made, nil
}

// noPassword is the hash of a password that nobody knows.
func noPassword() string { return password.Hash(rand.Text()) }
