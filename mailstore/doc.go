// SPDX-License-Identifier: GPL-3.0-or-later

// Package mailstore keeps mail: accounts, their mailboxes, and messages with
// UIDs and flags, on Pebble, a log-structured key-value store in process.
//
// What was acknowledged is synced. One batch makes a message and all that
// indexes it appear, for all recipients of a transaction, or nothing; writers
// that come at the same time share one sync. No operation on one message
// depends on how many there are. Everything but the bodies of large messages
// is in one Pebble database:
//
//	a LOGIN                  account: id, when made
//	b ACCOUNT NAME           mailbox: id, UIDVALIDITY, special use, subscribed
//	c MAILBOX                counters of a mailbox: UIDNEXT, messages, octets, unseen …
//	m MAILBOX UID            message: its body, size, dates, flags, checksum
//	d BODY CHUNK             a body of up to Options.LargeBody octets, in chunks of 32 KiB
//	f BODY                   a larger body is the file bodies/XX/BODY
//	r BODY                   how many messages share a body, where more than one does
//	t MAILBOX                a removed mailbox whose messages are not removed yet
//	o PERIOD HASH            a login and the name of a message that it gets once (Recipient.Once)
//	s NAME                   what the store knows of itself: ids given out, starts
//
// Ids are 64-bit numbers from one counter, given out once. ACCOUNT, MAILBOX,
// BODY and UID are big-endian, so that a mailbox's messages lie together in the
// order of their UIDs, and bodies in the order they came, which lets Pebble
// move them down without writing them again. Values of a KiB and more lie in
// Pebble's blob files, apart from the keys.
//
// A UID is given out under the account's lock and becomes visible before it is
// synced; a crash may lose a message that nobody was told is safe. So that its
// UID does not come back as another message's, each start after a crash leaves
// out the next uidSkip UIDs of every mailbox.
//
// A damaged or missing file is the error of the messages that are in it: IMAP
// and POP3 read a body, and compare it with its checksum, before they announce
// it. The top of a message, its header and what a search reads are not compared.
//
// The file spare takes room that a start and deletions use on a full disk.
//
// A large body is a file, synced together with its folder before the index
// names it, and removed after the index has let go of it. Files of an earlier
// process that no index names are removed at the start.
//
// The lock order is: accounts in the order of their logins, then Store.shared.
package mailstore
