// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
)

// Limits and times. A request above a limit is refused or dropped; the relay never waits for it.
const (
	ticketLife = 60 * time.Second
	// inlineWrites is the most connections of a room to which the room's goroutine
	// writes a message itself; in a larger room the connections' own goroutines write.
	inlineWrites = 128
	closeWait    = carrier.CloseWait
	callTimeout  = 10 * time.Second // of one call to the store
	presenceWait = 2 * time.Second  // of one call to presence
	// sayRate is the frames a second that a connection may send, and the messages a
	// second of a participant; the relay reads more of them later.
	sayRate      = 20
	sayBurst     = 60
	maxFlying    = 8                     // texts of one connection on their way to the store; more are read later
	turnWait     = 5 * time.Second       // for the limiters to allow a participant's message
	maxTracked   = 20000                 // participants, prefixes and logins whose limits are remembered
	historyPage  = 100                   // messages read from the store at a time
	joinPage     = 8                     // of them, queued at once for who joins: they fit in the queue, however long
	catchUpAgain = time.Second           // after messages could not be read
	maxFrames    = 64                    // of one connection that wait for those before them; more are read later
	typingEvery  = time.Second           // typing passed on
	earlyWait    = 50 * time.Millisecond // for a message whose offset is before that of one that is known
	takeUpWithin = 2 * time.Minute       // a ring older than this does not go on after a restart
	// deviceIdle is how long a device may send no frame before it counts as gone.
	// docs/attempt.md promises that deviceIdle and signOffGrace are less than 10 s.
	deviceIdle   = 7 * time.Second
	signOffGrace = 2 * time.Second // the last device is gone for so long: the computer is off
	sessionWait  = 2 * time.Second // for the store to say whether a session is good, when a client comes in
	seenEvery    = time.Hour       // between two notes that a program is still here
	sessionCheck = time.Minute     // between two looks whether a device's session has ended
	// callerGrace is how long a caller whose connection has ended may take to come back: the time in which a page
	// is loaded again. comeWait is how long one may take to come in at all, after Chat now or after a restart.
	callerGrace = 4 * time.Second
	comeWait    = 8 * time.Second
	// attendedFor is how long after their last press or key in a room people count as looking at it, where a device
	// of theirs can be rung instead; a page tells of presses every 3 s at most. Elsewhere it is idleAfter.
	attendedFor = 6 * time.Second
	idleAfter   = 2 * time.Minute
	collapse    = 10 * time.Minute      // one alarm mail a room, caller and callee
	lookBack    = 20                    // attempts of a room among which an earlier alarm is looked for
	missedEvery = 15 * time.Second      // looks for callees who can be rung again
	turnSlack   = 20 * time.Millisecond // after the time at which an availability changes
	maxRooms    = 20000                 // live at once; the next is refused
	maxDevices  = 32                    // of one login; the next is refused
	maxAddress  = 320                   // octets of a mail address
	maxSessions = 20000                 // connections at once; the next is refused
	maxWords    = 500                   // octets of a decline's words

	portTries = 3 // ports tried when another program has one
)

// alarmTries are the waits before each try to send an alarm mail.
var alarmTries = []time.Duration{0, 2 * time.Second, 10 * time.Second, time.Minute}
