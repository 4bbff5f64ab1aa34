// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import "time"

// Limits and times. What breaks one is refused or dropped, never waited for.
const (
	ticketLife  = 60 * time.Second
	certLife    = 13 * 24 * time.Hour // browsers pin certificates of less than 14 days
	certRenew   = 7 * 24 * time.Hour  // left of the current one when the next is made
	certSwitch  = 24 * time.Hour      // left of the current one when the next takes over
	certRecheck = time.Hour

	queueFrames  = 256     // frames waiting for one connection; one more and it is behind
	queueBytes   = 1 << 20 // octets of them
	writeWait    = 10 * time.Second
	closeWait    = 2 * time.Second  // for a last error frame
	callTimeout  = 10 * time.Second // of one call to the store
	presenceWait = 2 * time.Second  // of one call to presence
	sayRate      = 20               // frames a second that a connection may send
	sayBurst     = 60
	historyPage  = 100             // messages read from the store at a time
	typingEvery  = time.Second     // typing passed on
	roomInbox    = 256             // things waiting for a room; whoever sends one more waits
	takeUpWithin = 2 * time.Minute // a ring older than this does not go on after a restart
	signOffGrace = 2 * time.Second // the last device is gone for so long: the computer is off
	callerGrace  = 10 * time.Second
	collapse     = 10 * time.Minute // one alarm mail a room, caller and callee
	maxAlarms    = 10000            // remembered for collapse; the oldest go
	maxRooms     = 20000            // live at once; the next is refused
	maxDevices   = 32               // of one login; the next is refused
	maxSessions  = 20000            // connections at once; the next is refused
	maxWords     = 500              // octets of a decline's words

	maxPorts      = 4096 // granted ports open at once; the next conversation goes by WebSocket
	portTries     = 3    // ports tried when another program has one
	quicIdle      = 15 * time.Second
	quicHandshake = 5 * time.Second
)

// alarmTries are the waits before each try to send an alarm mail.
var alarmTries = []time.Duration{0, 2 * time.Second, 10 * time.Second, time.Minute}
