// SPDX-License-Identifier: GPL-3.0-or-later

// Package mall is what members, hosts and the operator of a shopping mall do:
// register, sign in, choose, ask, order, publish.
//
// A method is one act: it checks who may, changes the store, and tells whom it
// concerns, by mail or by a ring. The pages (mall/site) read from the store and call
// these methods. A file a subject.
package mall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/pass"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/guard/ticket"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// Errors of this package, to be tested with errors.Is, beside those of store.
var (
	// ErrAccountTaken: there is an account of that login already.
	ErrAccountTaken = errors.New("there is an account of that name already")
	// ErrNotAllowed: the login may not do that.
	ErrNotAllowed = errors.New("not allowed")
)

// Accounts are the accounts of the mail server.
type Accounts interface {
	Exists(ctx context.Context, login string) (bool, error)
	// Create makes an account from the hash of a password (guard/password).
	// ErrAccountTaken: there is one.
	Create(ctx context.Context, login, hash string) error
	// Remove takes an account away, with its mail and its part of conversations. One that
	// is gone already is no error.
	Remove(ctx context.Context, login string) error
	// SetPassword gives an account another password. Sessions of web pages stay.
	SetPassword(ctx context.Context, login, given string) error
}

// SignIns checks passwords; a *signin.Check does.
type SignIns interface {
	SignIn(ctx context.Context, a signin.Attempt) (*signin.Session, error)
}

// Relay is what the mall uses of a chatrelay.Relay.
type Relay interface {
	TalkRelay // talk.go
	// SignedIn is whether a session is good: it is ended by itself, and by a new password
	// and the removal of the account. EndSession ends one, with its devices.
	SignedIn(ctx context.Context, session chat.Session) (bool, error)
	EndSession(ctx context.Context, session chat.Session, expires time.Time) error
	// Status is whether a login or a group can be rung now.
	Status(ctx context.Context, login string) frame.Status
	// Secret is a key of one purpose, kept over restarts.
	Secret(purpose string) ([]byte, error)
}

var _ Relay = (*chatrelay.Relay)(nil)

// Options are what New needs. All is required unless it says otherwise.
type Options struct {
	Name     string // of the mall, as people call it
	Base     *url.URL
	Chat     *url.URL // of the chat pages, another origin
	Domain   string   // of the logins that members get
	Operator []string // logins that run the mall
	Store    *store.Store
	Vault    *vault.Vault
	Accounts Accounts
	SignIns  SignIns
	Relay    Relay
	Pictures *picture.Store
	// Submit sends a mail as its login would; a *chat.RefusedError: it is not taken.
	Submit func(context.Context, chat.Letter) error
	// Notify sends a mail of the mall's own, which nothing that is automatic answers.
	Notify func(context.Context, chat.ServerMail) error
	// Money writes an amount for readers of a language; nil: as a number and a code.
	Money    func(lang, currency string, amount int64) string
	Payments Payments     // nil: ByTransfer
	Log      *slog.Logger // nil: nothing is logged
}

// Mall does what people of the mall ask for. Its methods may be called at the same time.
type Mall struct {
	opts   Options
	log    *slog.Logger
	store  *store.Store
	vault  *vault.Vault
	secret []byte

	passKey seal.Key // of the passes that open chat pages
	talks   talks
	uses    chan store.Use     // that wait to be recorded
	keys    *webauthn.WebAuthn // nil: nobody can have passkeys
	tickets *ticket.Tickets

	rotating   sync.Mutex    // of the keys of personal data
	rotateWait time.Duration // rotateWait, but in tests
}

// New checks the options.
func New(opts Options) (*Mall, error) {
	switch {
	case opts.Base == nil || opts.Chat == nil || opts.Domain == "":
		return nil, errors.New("mall: the address of the mall, of the chats or the domain is missing")
	case opts.Store == nil || opts.Vault == nil || opts.Accounts == nil || opts.SignIns == nil || opts.Relay == nil ||
		opts.Submit == nil || opts.Notify == nil || opts.Pictures == nil:
		return nil, errors.New("mall: a part is missing")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Money == nil {
		opts.Money = func(_, currency string, amount int64) string { return fmt.Sprint(amount, " ", currency) }
	}
	if opts.Payments == nil {
		opts.Payments = ByTransfer{opts.Money}
	}
	if opts.Name == "" {
		opts.Name = opts.Base.Hostname()
	}
	secret, err := opts.Relay.Secret("mall")
	if err != nil {
		return nil, err
	}
	passKey, err := opts.Relay.Secret(pass.Purpose)
	if err != nil {
		return nil, err
	}
	keys, err := newKeys(opts)
	if err != nil {
		return nil, err
	}
	ticketKey, err := seal.Derive(secret, "mall tickets")
	if err != nil {
		return nil, err
	}
	return &Mall{opts: opts, keys: keys, tickets: ticket.New(ticketKey), rotateWait: rotateWait, log: opts.Log,
		store: opts.Store, vault: opts.Vault, secret: secret, passKey: passKey,
		uses: make(chan store.Use, maxUses), talks: talks{seen: map[string]bool{},
			events: make(chan chatrelay.Event, maxEvents)}}, nil
}

// Store is the database, for the pages, which read.
func (m *Mall) Store() *store.Store { return m.store }

// Vault seals what the mall knows about people.
func (m *Mall) Vault() *vault.Vault { return m.vault }

// Pictures keeps the pictures of goods.
func (m *Mall) Pictures() *picture.Store { return m.opts.Pictures }

// HasAccount says whether the mail server has an account of a login.
func (m *Mall) HasAccount(ctx context.Context, login string) (bool, error) {
	return m.opts.Accounts.Exists(ctx, login)
}

// Name is the mall's, Base its address and Chat that of the chat pages.
func (m *Mall) Name() string       { return m.opts.Name }
func (m *Mall) Base() *url.URL     { return m.opts.Base }
func (m *Mall) Chat() *url.URL     { return m.opts.Chat }
func (m *Mall) Relay() Relay       { return m.opts.Relay }
func (m *Mall) Log() *slog.Logger  { return m.log }
func (m *Mall) Domain() string     { return m.opts.Domain }
func (m *Mall) Operator() []string { return m.opts.Operator }

// Key is a key of one purpose, kept over restarts.
func (m *Mall) Key(purpose string) (seal.Key, error) { return seal.Derive(m.secret, "mall "+purpose) }

// URL is the address of a path of the mall, as it stands in mails.
func (m *Mall) URL(path ...string) string { return m.opts.Base.JoinPath(path...).String() }
