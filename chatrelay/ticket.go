// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// errTicket: a ticket is forged, damaged, or older than ticketLife.
var errTicket = errors.New("the ticket is wrong or too old")

// ticket lets one participant into one room. It is checked by its seal alone.
type ticket struct {
	Room    string `json:"r"`
	Me      int64  `json:"m"`
	Callee  int64  `json:"c,omitempty"` // whom this participant's attempts ring; 0: nobody
	Port    int    `json:"p,omitempty"` // the granted port it is good for, besides the WebSocket
	Login   string `json:"l,omitempty"` // whose port that is, or will be elsewhere
	Expires int64  `json:"e"`           // Unix time
}

// derive makes the key of one purpose out of the relay's key.
func derive(key []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, key, nil, "chmail relay "+purpose, 32)
}

func seal(key, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return mac.Sum(nil)
}

func (t ticket) sealed(key []byte) string {
	body, err := json.Marshal(t)
	if err != nil { // it is strings and numbers
		panic(fmt.Sprintf("encoding a ticket: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(append(seal(key, body), body...))
}

func openTicket(key []byte, s string, now time.Time) (ticket, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) <= sha256.Size || !hmac.Equal(raw[:sha256.Size], seal(key, raw[sha256.Size:])) {
		return ticket{}, errTicket
	}
	var t ticket
	if err := json.Unmarshal(raw[sha256.Size:], &t); err != nil || now.Unix() > t.Expires {
		return ticket{}, errTicket
	}
	return t, nil
}
