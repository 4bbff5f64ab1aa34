// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import "time"

// QueueFrames is the largest number of frames that wait for one connection;
// with one more the connection is behind.
const QueueFrames = 256

// CloseWait is how long a last frame may take before its connection is cut.
const CloseWait = 2 * time.Second

// Limits and times. What breaks one is refused or dropped, never waited for.
const (
	queueBytes = 1 << 20          // octets of the frames that wait for one connection
	writeWait  = 10 * time.Second // a connection that takes nothing for so long is dropped

	maxAhead     = 16 << 10 // octets that tryWrite leaves to a stream before a Write that waits
	maxFragments = 64       // of one message of a WebSocket
	maxControl   = 32       // control frames between two messages of a WebSocket: the rate limit does not count them

	certLife    = 13 * 24 * time.Hour // browsers pin certificates of less than 14 days
	certRenew   = 7 * 24 * time.Hour  // left of the current one when the next is made
	certSwitch  = 24 * time.Hour      // left of the current one when the next takes over
	certRecheck = time.Hour

	maxPorts       = 4096            // granted ports open at once; the next conversation goes by WebSocket
	holdWait       = 2 * time.Second // of one call to hold or release a grant
	maxPrefixConns = 512             // QUIC connections of one address prefix at once; further ones are refused
	prefixRate     = 20              // new ones a second of one prefix, in the long run
	prefixBurst    = 600             // new ones at once
	maxPrefixes    = 16384           // prefixes counted at once; of the next, only the total is
	retryFrom      = 32              // handshakes under way, from which on newcomers prove their address
	retryRate      = 100             // newcomers a second, from which on they do
	quicIdle       = 15 * time.Second
	quicHandshake  = 5 * time.Second
)
