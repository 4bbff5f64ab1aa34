// SPDX-License-Identifier: GPL-3.0-or-later

// Package ticket makes texts that a client carries from one request to a later one, and
// brings back once. A ticket is sealed, is for one purpose, and expires. Nothing is kept
// of one until it comes back.
package ticket

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/seal"
)

// ErrTicket: the ticket is not ours, is for something else, expired, or was used.
var ErrTicket = errors.New("the ticket is not good, or not any more")

const maxUsed = 65536 // tickets that came back; the one that did so longest ago is forgotten

// Tickets makes and takes tickets. Its methods may be called at the same time.
type Tickets struct {
	key   seal.Key
	began time.Time // older tickets may have been used before this process began
	used  *limit.Table[bool]
}

// New returns the tickets of a key. Processes with the same key take each other's.
func New(key seal.Key) *Tickets {
	return &Tickets{key: key, began: time.Now(), used: limit.NewTable[bool](maxUsed)}
}

// row is what a ticket says, to everybody who can read it.
type row struct {
	ID    string    `json:"i"`
	What  string    `json:"w"`
	Made  time.Time `json:"m"`
	Until time.Time `json:"u"`
	Body  []byte    `json:"b"`
}

// Make makes a ticket for one purpose. The client can read its body.
func (t *Tickets) Make(what string, body []byte, life time.Duration) string {
	now := time.Now()
	b, err := json.Marshal(row{ulid.Make().String(), what, now, now.Add(life), body})
	if err != nil { // texts and times
		panic(err)
	}
	return t.key.Seal(b)
}

// Take returns the body of a ticket, once. ErrTicket.
func (t *Tickets) Take(what, ticket string) ([]byte, error) {
	var r row
	b, err := t.key.Open(ticket)
	if err != nil || json.Unmarshal(b, &r) != nil || r.What != what || time.Now().After(r.Until) ||
		r.Made.Before(t.began) {
		return nil, ErrTicket
	}
	again := true
	t.used.Change(r.ID, func(used *bool) { again, *used = *used, true })
	if again {
		return nil, ErrTicket
	}
	return r.Body, nil
}
