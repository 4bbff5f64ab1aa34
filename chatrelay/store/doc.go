// SPDX-License-Identifier: GPL-3.0-or-later

// Package store keeps the conversations: rooms, participants, invites,
// messages and attempts, in SQLite or PostgreSQL.
//
// A link carries 128 random bits; only their SHA-256 is stored. A message is
// acknowledged after its commit, which is synced. One goroutine, the writer,
// commits messages, edits, and marks of what was seen, all that wait in one
// transaction (writer.go); everything else has a transaction of its own.
package store
