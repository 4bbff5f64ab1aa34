// SPDX-License-Identifier: GPL-3.0-or-later

// Package pop3d is a POP3 server over a small maildrop interface of its own.
//
// A Server owns the listeners and one goroutine a connection. That goroutine
// owns its session: it reads a line, runs the command, and flushes replies
// only when no further command is waiting (RFC 2449 section 6.6). Messages are
// streamed, and a session that waits holds no write buffer, so idle sessions
// are cheap. A login's maildrop is open in one session at a time, and messages
// are deleted at QUIT only (RFC 1939). Module serves maddy's storage by it.
package pop3d

import (
	"context"
	"errors"
	"io"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/presence"
)

var (
	// ErrInUse: something else holds the maildrop (RFC 2449 section 8.1.1).
	ErrInUse = errors.New("pop3d: the maildrop is in use")
	// ErrDamaged: a message is damaged or missing where it is kept.
	ErrDamaged = errors.New("pop3d: the message is damaged")
)

// SignIns checks sign-ins; a *signin.Check does. By a session's login the maildrop is
// locked and opened.
type SignIns interface {
	SignIn(ctx context.Context, a signin.Attempt) (*signin.Session, error)
	Tokens() bool
}

// Maildrops opens the maildrops of signed-in logins.
type Maildrops interface {
	// Open lists a maildrop and keeps that listing fixed until it is closed.
	// No body is read. An error that wraps ErrInUse means that something
	// outside this server holds it; any other error is taken as temporary.
	Open(ctx context.Context, login string) (Maildrop, error)
}

// Maildrop is the mail of one login as it was when opened. Messages are
// numbered from 1 to Count. One goroutine uses it.
type Maildrop interface {
	// Count is the number of messages.
	Count() int
	// Size is the octets of message n with CRLF line ends, before dot-stuffing.
	Size(n int) int64
	// UIDL is the unique id of message n: 1 to 70 characters from 0x21 to
	// 0x7E, never changing and never used again (RFC 1939 section 7).
	UIDL(n int) string
	// Open streams message n, of which the whole will be sent or only its top.
	// An error that wraps ErrDamaged means that it is damaged or missing in the
	// store; any other error is taken as temporary.
	Open(ctx context.Context, n int, whole bool) (io.ReadCloser, error)
	// Delete removes the messages with these numbers and no others, all or none.
	Delete(ctx context.Context, numbers []int) error
	// Close ends the use of the maildrop and deletes nothing.
	Close() error
}

// LateLister is a Maildrop that opens without listing its messages: Count and
// Total are known at once, Size and UIDL after List only.
type LateLister interface {
	Maildrop
	// Total is the octets of all messages, as Size counts them.
	Total() int64
	// List reads what Size and UIDL say; again, it does nothing. Any error is
	// taken as temporary.
	List(ctx context.Context) error
}

// Storage is a maddy storage that serves maildrops itself, better than
// Accounts does through IMAP.
type Storage interface {
	Maildrops() Maildrops
}

// Renewer is what the server needs of presence.Directory: a sign-in renews
// where the login was seen last.
type Renewer interface {
	Renew(ctx context.Context, a presence.Address) error
}
