// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/seal"
)

// errTicket: a ticket is forged, damaged, or older than ticketLife.
var errTicket = errors.New("the ticket is wrong or too old")

// ticket lets one participant into one room. It is checked by its seal, and
// that of the desk by its session.
type ticket struct {
	Room    string        `json:"r"`
	Me      int64         `json:"m"`
	Callee  int64         `json:"c,omitempty"` // whom this participant's attempts ring; 0: nobody
	Port    int           `json:"p,omitempty"` // the granted port it is good for, besides the WebSocket
	Login   string        `json:"l,omitempty"` // whose port that is, or will be elsewhere
	Session *chat.Session `json:"s,omitempty"` // of the desk; nil: the participant came by a link
	Conn    string        `json:"n,omitempty"` // of a ticket for coming back: the connection that got it
	Key     string        `json:"k,omitempty"` // of that link and the browser; see chat.Access
	Expires int64         `json:"e"`           // Unix time
}

// derive makes the key of one purpose out of the relay's key.
func derive(key []byte, purpose string) (seal.Key, error) {
	return seal.Derive(key, "chmail relay "+purpose)
}

func (t ticket) sealed(key seal.Key) string {
	body, err := json.Marshal(t)
	if err != nil { // it is strings, numbers and a time
		panic(fmt.Sprintf("encoding a ticket: %v", err))
	}
	return key.Seal(body)
}

func openTicket(key seal.Key, s string, now time.Time) (ticket, error) {
	body, err := key.Open(s)
	if err != nil {
		return ticket{}, errTicket
	}
	var t ticket
	if err := json.Unmarshal(body, &t); err != nil || now.Unix() > t.Expires {
		return ticket{}, errTicket
	}
	return t, nil
}
