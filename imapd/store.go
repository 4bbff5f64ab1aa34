// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/chmail/chmail/presence"
)

// The errors of a store that have a meaning in IMAP. A store's error wraps one of
// them; any other is taken as temporary and logged.
var (
	ErrNoMailbox = errors.New("imapd: no such mailbox")
	ErrExists    = errors.New("imapd: the mailbox exists already")
	ErrName      = errors.New("imapd: not a usable name of a mailbox")
	ErrNoMessage = errors.New("imapd: no such message")
	ErrInUse     = errors.New("imapd: a POP3 session has the mailbox open")
	ErrQuota     = errors.New("imapd: over quota")
	ErrFull      = errors.New("imapd: no room for mail")
	ErrLimit     = errors.New("imapd: more keywords or mailboxes than are kept")
	ErrDamaged   = errors.New("imapd: the message is damaged")
)

// Separator is between the levels of mailbox names.
const Separator = "."

// Inbox is the mailbox that every account has.
const Inbox = "INBOX"

// Store opens the accounts of signed-in logins. Its methods, and those of what it
// opens, are called by several goroutines at once.
type Store interface {
	// Account opens the account of a login, and makes it where there is none.
	Account(login string) (Account, error)
	// AppendLimit is the octets that APPEND may bring; 0 is no bound.
	AppendLimit() uint32
}

// Account is the mailboxes of one login.
type Account interface {
	// Mailboxes lists them by name, INBOX first.
	Mailboxes() ([]Status, error)
	// Status is what is known of one; recent asks for Status.Recent too.
	Status(name string, recent bool) (Status, error)
	// Create makes a mailbox, and those above it that are missing.
	Create(name, use string) error
	// Delete removes a mailbox, but not those below it.
	Delete(name string) error
	// Rename renames a mailbox and those below it.
	Rename(from, to string) error
	Subscribe(name string, subscribed bool) error
	// Append puts size octets of body into a mailbox, all or nothing, and
	// returns when they are safe.
	Append(ctx context.Context, name string, m NewMessage, body io.Reader, size int64) (validity, uid uint32, err error)
	// Quota is the octets in use and their bound; 0 is no bound.
	Quota() (used, limit int64, err error)
	// Open takes a mailbox into use.
	Open(name string) (Mailbox, error)
}

// NewMessage is what comes with the body of a message.
type NewMessage struct {
	Flags []string
	Date  time.Time // INTERNALDATE; now if zero
}

// Status is what is known of a mailbox without looking at its messages.
type Status struct {
	Name       string
	Use        string // RFC 6154 attribute or empty
	Subscribed bool
	Validity   uint32
	Next       uint32 // UIDNEXT
	Messages   uint32
	Unseen     uint32
	RecentFrom uint32 // messages from this UID on are \Recent
	Octets     int64
	Recent     uint32 // where Account.Status was asked for it
}

// Message is what is known of a message without reading it.
type Message struct {
	UID   uint32
	Size  int64 // octets, as Body gives them
	Date  time.Time
	Flags []string // as IMAP writes them
}

// FlagChange is what to do with flags: RFC 3501 section 6.4.6.
type FlagChange int

// Changes of flags.
const (
	SetFlags FlagChange = iota
	AddFlags
	RemoveFlags
)

// Copied is where copies of messages are.
type Copied struct {
	Validity uint32
	From, To []uint32 // UIDs, ascending; To[i] is the copy of From[i]
}

// Mailbox is one mailbox in use. Once it is removed, its methods return an error
// that wraps ErrNoMailbox.
type Mailbox interface {
	// Watch registers w and lists the mailbox as it was at that moment; w is told
	// of what comes later, until Close. Who may write takes the \Recent messages.
	Watch(w Watcher, write bool, each func(Message)) (Status, error)
	// Messages calls each for the messages with UIDs from first to last, in
	// order, until it returns false. What cannot be read is left out.
	Messages(first, last uint32, each func(Message) bool) error
	Message(uid uint32) (Message, error)
	Body(uid uint32) (Body, error)
	// Change changes the flags of messages, all or none, and returns them as they
	// are then. UIDs of messages that are gone are no failure, here and below.
	// silent is not told of it.
	Change(uids []uint32, how FlagChange, flags []string, silent Watcher) ([]Message, error)
	Remove(uids []uint32) error
	// Transfer copies messages to the end of another mailbox of the account, or
	// moves them there, all or none.
	Transfer(uids []uint32, to string, move bool) (Copied, error)
	Close() error
}

// Body streams one message. Its error wraps ErrDamaged where it is damaged, and
// ErrNoMessage where it was removed meanwhile.
type Body interface {
	io.Reader
	io.WriterTo
	// Len is the octets that are left.
	Len() int
	// Skip goes n octets on without reading them.
	Skip(n int64)
	// Check reads all of the body and compares it with its checksum.
	Check(whole bool) error
	Close() error
}

// Watcher is told of changes to a mailbox. It must not block.
type Watcher interface {
	// Added tells of new messages; to one watcher at most they are \Recent.
	Added(uids []uint32, recent bool)
	Removed(uids []uint32)
	Changed(uid uint32)
	// TakesRecent says whether new messages are \Recent to it and no other.
	TakesRecent() bool
}

// Renewer is what the server needs of presence.Directory: who is signed in renews
// where the login was seen last.
type Renewer interface {
	Renew(ctx context.Context, a presence.Address) error
}
