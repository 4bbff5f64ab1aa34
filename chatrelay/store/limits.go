// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Limits. Lengths are in bytes. Subjects and names that are longer are cut, by
// package clean; everything else that is longer is refused with ErrFull.
const (
	maxMailID  = 998 // longer message ids are not looked up
	maxName    = 255 // of a setting; people's names are bounded by package clean
	maxAddress = 320 // 64 + 1 + 255, RFC 5321 section 4.5.3.1
	maxState   = 32
	maxDecline = 500 // with a decline; cut
	maxSetting = 64 << 10

	maxParticipants = 1000 // in a room, guests included
	maxRecipients   = 1000 // of one mail
	maxReferences   = 100  // of one mail; the newest are looked up
	maxThreadRooms  = 20   // of one thread, that are looked at for a mail
	maxClaims       = 32   // browsers of one invite, guests included
	maxPage         = 1000 // rows one call reads
	maxPreview      = 500  // of the newest message's text in a list; cut

	codeTTL      = 10 * time.Minute
	codeTries    = 5
	codesAnHour  = 3
	returnWithin = time.Minute         // a browser that came in through a link is expected, and expected back, for so long
	defaultTTL   = 90 * 24 * time.Hour // of an invite
	inviteRest   = 30 * 24 * time.Hour // an expired invite is known for so long
	sweepEvery   = time.Hour
	queueLength  = 1024                 // writes waiting; a further one waits for room in the queue
	maxBatch     = 256                  // writes that share one commit
	pause        = 2 * time.Millisecond // from the begin of one commit to the next; after a longer rest it is at once
	cacheSize    = "-8000"              // SQLite: the writer's pages in memory, in KiB
	writeTimeout = 15 * time.Second     // PostgreSQL: of one batch
	closeTimeout = 3 * time.Second      // Close: for what is queued
	readers      = 4                    // SQLite: connections for reading
	pgConns      = 8                    // PostgreSQL: connections
	txTries      = 3                    // after deadlocks and races for a unique key

	checkpointEvery   = time.Second // SQLite: a checkpoint, after so many commits
	checkpointCommits = 200
	checkpointRest    = time.Minute // and after any commit, when the last one is so old
	longLog           = 16384       // pages of the write-ahead log (64 MB), from which on the writer waits for its end
)

// whole makes s storable and refuses it when it is longer than max bytes.
func whole(what, s string, max int) (string, error) {
	if c := chat.Storable(s, len(s)*3); len(c) <= max {
		return c, nil
	}
	return "", fmt.Errorf("%w: %s of more than %d bytes", chat.ErrFull, what, max)
}

// fold brings logins and addresses into the one form that is compared.
func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// page bounds how many rows a caller asked for.
func page(limit int) int {
	if limit <= 0 || limit > maxPage {
		return maxPage
	}
	return limit
}

// micros is how times are stored; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
