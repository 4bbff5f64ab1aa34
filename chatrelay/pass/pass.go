// SPDX-License-Identifier: GPL-3.0-or-later

// Package pass has what another page of this server, such as the mall's, gives the
// page of a chat link that it opens: who its reader is, and who may frame it.
package pass

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/chmail/chmail/internal/seal"
)

// Life is how long a pass proves who its reader is, and how long a page with it may
// be loaded.
const Life = 2 * time.Minute

// Purpose is the purpose of the key with which passes are sealed.
const Purpose = "pass"

// What the page does at once.
const (
	Ring  = "ring"  // comes in, and rings
	Enter = "enter" // comes in
)

// Errors of Open.
var (
	ErrWrong   = errors.New("the pass is damaged, or another link's")
	ErrExpired = errors.New("the pass is too old")
)

// Pass is good for one link.
type Pass struct {
	Token   string   `json:"t"`
	Login   string   `json:"l,omitempty"` // who is signed in at the page that gave it; empty: nobody
	Frames  []string `json:"f,omitempty"` // origins whose pages may frame the link's page
	Do      string   `json:"d"`           // Ring or Enter
	Expires int64    `json:"e"`           // Unix time
}

// Seal makes the pass good for Life.
func (p Pass) Seal(key seal.Key, now time.Time) string {
	p.Expires = now.Add(Life).Unix()
	b, err := json.Marshal(p)
	if err != nil { // strings and a number
		panic(fmt.Sprintf("encoding a pass: %v", err))
	}
	return key.Seal(b)
}

// Open reads a sealed pass of a link. With ErrExpired the pass is returned too: it
// proves nothing any more.
func Open(key seal.Key, sealed, token string, now time.Time) (p Pass, err error) {
	b, err := key.Open(sealed)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Token != token {
		return Pass{}, ErrWrong
	}
	if now.Unix() > p.Expires {
		return p, ErrExpired
	}
	return p, nil
}

// Link is the address of a link's page with a sealed pass; base is the origin of the
// pages of chats.
func Link(base, token, sealed string) string {
	return base + "/c/" + token + "?pass=" + url.QueryEscape(sealed)
}
