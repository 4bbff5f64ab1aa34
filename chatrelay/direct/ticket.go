// SPDX-License-Identifier: GPL-3.0-or-later

// Package direct is the way from computer to computer, past the server: the tickets
// with which the server lets people into the program on the sender's computer, and
// the rooms that this program serves. docs/direct.md describes it.
package direct

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/seal"
)

const (
	// MaxMessages is how many messages a part has at most.
	MaxMessages = 50
	// MaxKept is the same of a part that is not handed over.
	MaxKept = 1000
	// TicketLife is for how long a ticket lets somebody in.
	TicketLife = time.Minute
	// HandOver is how long the program has to hand a part over.
	HandOver = 2 * time.Second
)

// ErrTicket: a ticket is none of the server's, for another program, or too old.
var ErrTicket = errors.New("the ticket is wrong or too old")

// Ticket lets one person into one part of one room at one program. One without a room
// is the server's own, which looks whether the program can be reached.
type Ticket struct {
	Program string `json:"g"` // one of the hashes of its certificates
	Room    string `json:"r,omitempty"`
	Epoch   string `json:"e,omitempty"`
	Me      int64  `json:"m,omitempty"`
	Via     string `json:"v,omitempty"` // of what the person says, see chat.Message
	Expires int64  `json:"x"`           // Unix time
	// Keep: what is said in the part is not handed over. Then the ticket has what whoever reads it later wants to know.
	Keep    bool   `json:"k,omitempty"`
	Name    string `json:"n,omitempty"` // of the person
	Subject string `json:"s,omitempty"`
}

// Sign returns the ticket as it travels.
func (t Ticket) Sign(key ed25519.PrivateKey) string {
	body, err := json.Marshal(t)
	if err != nil { // it is strings and numbers
		panic(fmt.Sprintf("encoding a ticket: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(append(ed25519.Sign(key, body), body...))
}

// OpenTicket checks a ticket that came to a program.
func OpenTicket(key ed25519.PublicKey, s string, now time.Time) (t Ticket, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) < ed25519.SignatureSize ||
		!ed25519.Verify(key, raw[ed25519.SignatureSize:], raw[:ed25519.SignatureSize]) {
		return t, ErrTicket
	}
	if err := json.Unmarshal(raw[ed25519.SignatureSize:], &t); err != nil || now.Unix() > t.Expires {
		return t, ErrTicket
	}
	return t, nil
}

// Key is with which a person marks what they say in a part.
func Key(server seal.Key, room, epoch string, me int64, via string) seal.Key {
	return server.Sum([]byte(strings.Join([]string{room, epoch, strconv.FormatInt(me, 10), via}, "\n")))
}

// Marked is what a person marks of what they say; its Text comes last.
func Marked(f *frame.Frame) string {
	var at int64
	if f.At != nil {
		at = f.At.UnixMilli()
	}
	return f.ID + "\n" + strconv.FormatInt(at, 10) + "\n" + strconv.FormatInt(f.Ref, 10) + "\n" + f.Text
}
