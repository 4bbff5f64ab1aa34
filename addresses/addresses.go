// SPDX-License-Identifier: GPL-3.0-or-later

// Package addresses knows whose an address of this server is, and what becomes of mail
// to it.
//
// Store keeps the domains, the aliases and what is set for each login in SQLite or
// PostgreSQL. Resolve follows aliases and forwarding to the accounts and the addresses
// elsewhere where a mail ends (resolve.go). Beside it are the rules of delivery: those
// that people set (rules.go), the notice of somebody who is away (vacation.go), and the
// sender of forwarded mail (srs.go).
package addresses

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"

	"golang.org/x/net/idna"
)

// Bounds.
const (
	maxDomains  = 10_000
	maxAliases  = 200_000 // members of all aliases together
	maxMembers  = 1000    // of an alias, and of what a mail to one address resolves to
	maxAddr     = 320     // octets, RFC 5321 section 4.5.3.1
	maxAnswered = 1000    // senders of a login whom its notice has answered, within AnswerAgain
)

// Errors of this package, to be tested with errors.Is.
var (
	// ErrUnknown: the address is nobody's.
	ErrUnknown = errors.New("there is no such address")
	// ErrDisabled: the account is disabled.
	ErrDisabled = errors.New("the account is disabled")
	// ErrDomain: this server does not serve the domain.
	ErrDomain = errors.New("not a domain of this server")
	// ErrLoop: mail would come back to where it was.
	ErrLoop = errors.New("mail would go in a circle")
	// ErrFull: there are as many as are kept.
	ErrFull = errors.New("there are as many as are kept")
	// ErrUnfit is what errors about something that was given are.
	ErrUnfit = errors.New("it cannot be")
)

// unfitError says what is wrong with something that was given.
type unfitError string

func (e unfitError) Error() string        { return string(e) }
func (e unfitError) Is(target error) bool { return target == ErrUnfit }

func unfit(format string, args ...any) error { return unfitError(fmt.Sprintf(format, args...)) }

// Fold is an address or domain as it is kept and compared.
func Fold(addr string) string { return strings.ToLower(strings.TrimSpace(addr)) }

// DomainOf is the part of an address after the @.
func DomainOf(addr string) string { return addr[strings.LastIndexByte(addr, '@')+1:] }

// CheckAddr says why a text is no address.
func CheckAddr(addr string) error {
	at := strings.LastIndexByte(addr, '@')
	if at < 1 || len(addr) > maxAddr || strings.ContainsAny(addr, " \t\r\n<>,;\"") {
		return unfit("%q is not an address like you@mall.example", addr)
	}
	if parsed, err := mail.ParseAddress(addr); err != nil || parsed.Address != addr {
		return unfit("%q is not an address like you@mall.example", addr)
	}
	return CheckDomain(addr[at+1:])
}

// CheckDomain says why a text is no domain.
func CheckDomain(domain string) error {
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil || len(ascii) > 253 || !strings.Contains(ascii, ".") || strings.HasPrefix(ascii, ".") ||
		strings.HasSuffix(ascii, ".") || strings.Contains(ascii, "..") {
		return unfit("%q is not a domain like mall.example", domain)
	}
	return nil
}
