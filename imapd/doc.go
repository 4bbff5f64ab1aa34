// SPDX-License-Identifier: GPL-3.0-or-later

// Package imapd is an IMAP4rev1 server over a small interface of its own, Store,
// and the server of go-imap/v2, which parses the commands.
//
// Between the library and the client stands conn: it gives the library one line at
// a time within bounds, and answers what the library does not know. A session does
// what the library asks for; a view is what the client knows of the mailbox that it
// has selected; walk finds the parts of a message in one pass.
package imapd
