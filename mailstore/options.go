// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// DefaultCacheSize is the octets of Pebble's block cache.
	DefaultCacheSize = 32 << 20
	// DefaultPath is the store's folder below the state directory.
	DefaultPath = "mailstore"
	// DefaultLargeBody is the octets above which a body is a file.
	DefaultLargeBody = 256 << 10
	// DefaultMinFree is the free octets of the file system below which nothing
	// new is taken; deletions may use them.
	DefaultMinFree = 256 << 20
)

var (
	// ErrInUse: another process, or a POP3 session, holds what was asked for.
	ErrInUse = errors.New("in use")
	// ErrFormat: the store was written by a newer version.
	ErrFormat = errors.New("it was written by a newer version")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("closed")
	// ErrNoAccount: there is no such account.
	ErrNoAccount = errors.New("no such account")
	// ErrNoMailbox: there is no such mailbox.
	ErrNoMailbox = errors.New("no such mailbox")
	// ErrNoMessage: the message is gone.
	ErrNoMessage = errors.New("no such message")
	// ErrDamaged: a file of the store is damaged or missing.
	ErrDamaged = errors.New("damaged or missing")
	// ErrExists: the account or mailbox is there already.
	ErrExists = errors.New("exists already")
	// ErrValidity: an imported message's UIDVALIDITY is not the mailbox's.
	ErrValidity = errors.New("the mailbox has mail under another UIDVALIDITY")
	// ErrFull: the file system has no room for more mail.
	ErrFull = errors.New("no room on the disk")
	// ErrQuota: the account's or its domain's quota is used up.
	ErrQuota = errors.New("over quota")
	// ErrTooLarge: the message alone is larger than the quota.
	ErrTooLarge = errors.New("larger than the quota")
	// ErrLimit: more keywords or mailboxes than are kept.
	ErrLimit = errors.New("more than are kept")
	// ErrName: the name cannot be one of a login or mailbox.
	ErrName = errors.New("not a usable name")
)

// Options of a store. Zero numbers are the defaults.
type Options struct {
	CacheSize int64 // octets
	LargeBody int64 // octets
	MinFree   int64 // octets; negative: none
	Quotas    Quotas
	Log       *slog.Logger // nil: nothing is logged
	FS        vfs.FS       // nil: the machine's
	// Fatal is called when Pebble cannot go on: a write-ahead log that cannot
	// be written, say. It must not return. nil: the process exits with 75
	// (EX_TEMPFAIL), to be started again.
	Fatal func(err error)
}
