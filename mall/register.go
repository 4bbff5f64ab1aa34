// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
)

const (
	// ConfirmWithin is how long a mailed link to confirm an address works.
	ConfirmWithin = 24 * time.Hour

	loginTries = 50 // names that are tried for a new login
	maxLocal   = 40 // letters of a new login before its number
)

// Registration is what somebody typed to become a member.
type Registration struct {
	Name     string      `json:"name"`
	Addr     string      `json:"addr"` // their own e-mail address
	Lang     string      `json:"lang"`
	Password string      `json:"-"` // empty: they register by a passkey
	Consents []Agreement `json:"consents"`
	IP       netip.Addr  `json:"ip"`
	Browser  string      `json:"browser"` // hash of a secret in the browser's cookie
	Kept     string      `json:"kept"`    // the form that they were about to send
	Next     string      `json:"next"`    // the page that they were about to see

	Ticket, Response string         `json:"-"` // of the passkey
	Passkey          *store.Passkey `json:"passkey,omitempty"`
}

// Agreement is what somebody agreed to, in the words that they read.
type Agreement struct{ What, Wording string }

// Register mails a link to the address, which makes the member when it is pressed. An
// address that is a member's gets a mail that says so. Whoever registers learns nothing
// of it: both take the same way. The secret is for the browser's cookie. A
// *chat.RefusedError: the mail system takes no mail for the address. ErrPasskey.
func (m *Mall) Register(ctx context.Context, r Registration) (browser string, err error) {
	var hash string // it takes its time for addresses that are known, too
	if r.Password != "" {
		hash = password.Hash(r.Password)
	} else {
		_, row, err := m.made(forRegistering, r.Ticket, r.Response)
		if err != nil {
			return "", err
		}
		hash, r.Passkey = noPassword(), &row
	}
	browser, link := newSecret(), newSecret()
	r.Browser = hashOf(browser)
	row := store.Registration{Hash: hashOf(link), Password: hash, Expires: store.Micros(time.Now().Add(ConfirmWithin))}
	text, err := json.Marshal(r)
	if err != nil { // texts
		panic(err)
	}
	if row.Sealed, err = m.vault.Seal(text, registrationOf(row.Hash)); err != nil {
		return "", err
	}
	if err := m.store.AddRegistration(ctx, row); err != nil {
		return "", err
	}
	key, address := "confirm", m.URL("confirm", link)
	switch _, err := m.store.MemberByAddr(ctx, m.vault.Hash(r.Addr)); {
	case err == nil:
		key, address = "known", m.URL("sign-in")
	case !errors.Is(err, store.ErrUnknown):
		return "", err
	}
	if err := m.mail(ctx, r.Lang, chat.Person{Name: r.Name, Addr: r.Addr}, key, address, "mall", m.Name()); err != nil {
		return "", errors.Join(err, m.forget(ctx, row.Hash))
	}
	return browser, nil
}

// registrationOf is what a sealed registration is about.
func registrationOf(hash string) string { return "registration/" + hash }

func (m *Mall) forget(ctx context.Context, hash string) error {
	if err := m.store.RemoveRegistration(ctx, hash); !errors.Is(err, store.ErrUnknown) {
		return err
	}
	return nil
}

// mail sends a mail of the mall's own, the words mall.mail.KEY.…, with one link.
func (m *Mall) mail(ctx context.Context, lang string, to chat.Person, key, link string, values ...any) error {
	say := words.In(lang)
	title, text := say.Say("mall.mail."+key+".title", values...), say.Say("mall.mail."+key+".text", values...)
	button := say.Say("mall.mail."+key+".button", values...)
	err := m.opts.Notify(ctx, chat.ServerMail{To: to, Subject: title,
		Text: text + "\n\n" + button + ": " + link + "\n",
		HTML: "<p>" + html.EscapeString(text) + "</p><p><a href=\"" + html.EscapeString(link) + "\">" +
			html.EscapeString(button) + "</a></p>"})
	if err != nil {
		return fmt.Errorf("mailing: %w", err)
	}
	return nil
}

// Pending reads what a mailed link would confirm. ErrUnknown: it does not work any more.
func (m *Mall) Pending(ctx context.Context, link string) (Registration, error) {
	r, _, err := m.pending(ctx, link)
	return r, err
}

func (m *Mall) pending(ctx context.Context, link string) (r Registration, row store.Registration, err error) {
	if row, err = m.store.Registration(ctx, hashOf(link)); err != nil {
		return r, row, err
	}
	text, err := m.vault.Open(row.Sealed, registrationOf(row.Hash))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, row, fmt.Errorf("reading a registration: %w", err)
	}
	return r, row, nil
}

// Confirm makes the member of a mailed link that was pressed, and their account here
// unless the address has one. The link works once. browser is the secret that the
// browser got when it registered: only that browser is signed in, by the cookie
// returned; another one's reader knows nothing but the mail. ErrUnknown: the link does
// not work, or the address has become a member's.
func (m *Mall) Confirm(ctx context.Context, link, browser string) (login, cookie string, r Registration, err error) {
	r, row, err := m.pending(ctx, link)
	if err != nil {
		return "", "", r, err
	}
	if err := m.store.RemoveRegistration(ctx, row.Hash); err != nil {
		return "", "", r, err
	}
	if _, err := m.store.MemberByAddr(ctx, m.vault.Hash(r.Addr)); !errors.Is(err, store.ErrUnknown) {
		if err == nil {
			err = store.ErrUnknown
		}
		return "", "", r, err
	}
	login, made, err := m.newLogin(ctx, r.Addr, row.Password)
	if err != nil {
		return "", "", r, err
	}
	if !made && hashOf(browser) != r.Browser {
		r.Passkey = nil // whoever registered may not be whose account it is
	}
	if err := m.addMember(ctx, login, r, made); err != nil {
		if made {
			ctx := context.WithoutCancel(ctx)
			err = errors.Join(err, m.opts.Accounts.Remove(ctx, login)) // nobody's
		}
		if errors.Is(err, store.ErrTaken) { // that account is a member with another address
			err = store.ErrUnknown
		}
		return "", "", r, err
	}
	m.log.Info("a member confirmed their address", "login", login)
	if hashOf(browser) != r.Browser {
		return login, "", r, nil
	}
	cookie, err = m.BeginSession(ctx, login, time.Now())
	return login, cookie, r, err
}

// newLogin is the account of a new member: the address itself where it is an account
// here, whose password stays as it is; otherwise a new one.
func (m *Mall) newLogin(ctx context.Context, addr, hash string) (login string, made bool, err error) {
	addr = strings.ToLower(addr)
	local, domain, _ := strings.Cut(addr, "@")
	if there, err := m.opts.Accounts.Exists(ctx, addr); err != nil || there {
		return addr, false, err
	}
	local = loginName(local)
	for n := 1; n <= loginTries; n++ {
		login := local
		if n > 1 || Reserved(local) || domain == m.opts.Domain {
			login += strconv.Itoa(n)
		}
		login += "@" + m.opts.Domain
		if shop, err := m.isShop(ctx, login); err != nil {
			return "", false, err
		} else if shop {
			continue
		}
		switch err := m.opts.Accounts.Create(ctx, login, hash); {
		case err == nil:
			return login, true, nil
		case !errors.Is(err, ErrAccountTaken):
			return "", false, err
		}
	}
	login = strings.ToLower(store.NewID()) + "@" + m.opts.Domain
	return login, true, m.opts.Accounts.Create(ctx, login, hash)
}

// reserved names are of the mail system and of whoever runs it (RFC 2142).
var reserved = []string{"abuse", "admin", "administrator", "hostmaster", "info", "mailer-daemon", "mall", "no-reply",
	"noreply", "postmaster", "reply", "root", "sales", "security", "support", "webmaster"}

// Reserved says whether a name before the @ is one that no member and no shop gets.
func Reserved(local string) bool { return slices.Contains(reserved, local) }

// loginName is a name that a login may have, as near to an address's as possible.
func loginName(local string) string {
	local, _, _ = strings.Cut(local, "+")
	local = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, local)
	if local = strings.Trim(local[:min(len(local), maxLocal)], ".-_"); local == "" {
		return "member"
	}
	return strings.ReplaceAll(local, "..", ".")
}

// isShop says whether an address is a shop's.
func (m *Mall) isShop(ctx context.Context, addr string) (bool, error) {
	_, err := m.store.ShopByAddr(ctx, addr)
	if errors.Is(err, store.ErrUnknown) {
		return false, nil
	}
	return err == nil, err
}

// addMember makes a login a member; made: the mall made its account.
func (m *Mall) addMember(ctx context.Context, login string, r Registration, made bool) error {
	id, keys := store.NewID(), []store.Passkey(nil)
	if r.Passkey != nil {
		id, keys = r.Passkey.Member, append(keys, *r.Passkey)
	}
	member := store.Member{ID: id, Login: login, Made: made, Bare: made && r.Passkey != nil,
		AddrHash: m.vault.Hash(r.Addr), Lang: r.Lang,
		State: store.MemberActive, Created: store.Micros(time.Now())}
	var err error
	if member.Sealed, err = m.sealPersonal(member.ID, store.Personal{Name: r.Name, Addr: r.Addr}); err != nil {
		return err
	}
	var consents []store.Consent
	for _, a := range r.Consents {
		consents = append(consents, store.Consent{What: a.What, Given: true, At: member.Created, Addr: r.IP.String(),
			Wording: a.Wording})
		member.Record = member.Record || a.What == store.ConsentRecord
		member.Publicity = member.Publicity || a.What == store.ConsentPublicity
	}
	return m.store.AddMember(ctx, member, consents, keys...)
}

// Join makes a login that has an account here a member.
func (m *Mall) Join(ctx context.Context, login string, r Registration) error {
	r.Addr = login
	return m.addMember(ctx, login, r, false)
}

// SignIn checks a password and begins a session. who is a login, or a member's own
// address. The errors are those of signin.Check.SignIn.
func (m *Mall) SignIn(ctx context.Context, who, pass string, ip netip.Addr) (login, cookie string, err error) {
	login, began := who, time.Now()
	if strings.Contains(who, "@") {
		member, err := m.store.MemberByAddr(ctx, m.vault.Hash(who))
		if err == nil {
			login = member.Login
		} else if !errors.Is(err, store.ErrUnknown) {
			return "", "", err
		}
	}
	s, err := m.opts.SignIns.SignIn(ctx, signin.Attempt{Door: signin.Desk, Login: login, Password: pass, Addr: ip})
	if err != nil {
		return "", "", err
	}
	s.Close() // the cookie is the session
	cookie, err = m.BeginSession(ctx, s.Login, began)
	return s.Login, cookie, err
}
