// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

// Counters count what happens to connections.
type Counters interface {
	// Dropped: a connection was closed with an error frame of this code.
	Dropped(code string)
	// Refused: a connection to a granted port was not let in, for a reason: prefix, request.
	Refused(reason string)
	// Retried: one had to prove its address first (QUIC Retry).
	Retried()
	// Listens: so many more granted ports are listened on.
	Listens(more int)
}

// Counted is told of everything. It is set before anything is served; where nobody
// keeps figures, as in the program on a person's computer, it is left as it is.
var Counted Counters = uncounted{}

type uncounted struct{}

func (uncounted) Dropped(string) {}
func (uncounted) Refused(string) {}
func (uncounted) Retried()       {}
func (uncounted) Listens(int)    {}
