// SPDX-License-Identifier: GPL-3.0-or-later

// Package work asks a browser to do some work before it is served, where so much comes
// from its prefix or account that a limit is near. A person notices a second at most;
// whoever tries ten thousand times does not come through.
//
// A task is "BITS.TICKET"; its answer is "BITS.TICKET.NUMBER". With the SHA-256 of the
// task and then the number, as 8 octets, the SHA-256 of both begins with so many bits of
// zero. A task is for one client and purpose, is good once, and expires.
package work

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/guard/ticket"
	"github.com/chmail/chmail/internal/seal"
)

const (
	least, most = 14, 20 // bits: 16,000 hashes on the average, and a million
	life        = 15 * time.Minute
)

// Desk asks for work. Its methods may be called at the same time.
type Desk struct{ tickets *ticket.Tickets }

// New returns a desk that signs its tasks with a key.
func New(key seal.Key) *Desk { return &Desk{ticket.New(key)} }

// Bits is how much work is asked for when so many of a burst may still be done: none while
// half of them are left, and then more and more.
func Bits(left, burst float64) int {
	if over := 1 - 2*left/burst; over >= 0 && burst > 0 {
		return least + int(min(over, 1)*(most-least)+0.5)
	}
	return 0
}

// Task is work for one client and purpose. No bits: no task.
func (d *Desk) Task(who string, n int) string {
	if n == 0 {
		return ""
	}
	n = min(n, most)
	return strconv.Itoa(n) + "." + d.tickets.Make(who, []byte{byte(n)}, life)
}

// Done says whether an answer is right, for the first time.
func (d *Desk) Done(who, answer string) bool {
	dot := strings.LastIndexByte(answer, '.')
	if dot < 0 {
		return false
	}
	task := answer[:dot]
	number, err := strconv.ParseUint(answer[dot+1:], 10, 64)
	asked, sealed, ok := strings.Cut(task, ".")
	n, errBits := strconv.Atoi(asked)
	if err != nil || errBits != nil || !ok || n < 1 || n > most || zeros(task, number) < n {
		return false
	}
	body, err := d.tickets.Take(who, sealed)
	return err == nil && len(body) == 1 && int(body[0]) == n
}

// zeros is how many bits of zero the hash of a task and a number begins with.
func zeros(task string, number uint64) int {
	seed := sha256.Sum256([]byte(task))
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(seed[:], number))
	for i, octet := range sum {
		if octet != 0 {
			return 8*i + bits.LeadingZeros8(octet)
		}
	}
	return 8 * len(sum)
}

// Solve does the work of a task, as a browser does.
func Solve(task string) (answer string) {
	asked, _, _ := strings.Cut(task, ".")
	n, _ := strconv.Atoi(asked) // a task of ours
	var number uint64
	for zeros(task, number) < n {
		number++
	}
	return task + "." + strconv.FormatUint(number, 10)
}
