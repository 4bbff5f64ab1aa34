// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The Sender Rewriting Scheme: a mail that is forwarded has a sender of the domain that
// forwards it, so that SPF does not fail where it goes, and the sender says where bounces
// go back to. A sender that another server has rewritten is not made longer with each
// further one: SRS1 names the first of them, who knows the rest.
//
//	kim@far.example      →  SRS0=HASH=DAY=far.example=kim@mall.example
//	SRS0=…@first.example →  SRS1=HASH=first.example==…@mall.example

const (
	srsHash = 6   // characters of the HMAC: 30 bits, and a guess leads to a bounce alone
	srsLast = 21  // days for which bounces are taken back
	srsDays = 960 // after which the days begin again: 32 × 30, two characters
)

// ErrSRS: the address is one of a forwarded mail's sender, but none that this server has
// made within three weeks.
var ErrSRS = errors.New("not a sender that this server has made, or too old")

var srsAlphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// Forwarder is the sender of a mail that a domain of this server forwards. An empty one
// stays, and so does one of this server.
func (s *Store) Forwarder(ctx context.Context, sender, domain string, now time.Time) (string, error) {
	local, from := split(sender)
	if from == "" {
		return sender, nil
	}
	if ours, err := s.Serves(ctx, from); err != nil || ours {
		return sender, err
	}
	kind, rest := srsKind(local)
	switch kind {
	case "SRS0":
		rest = from + "=" + rest // its "=" at the front is the second of "=="
	case "SRS1": // HASH=FIRST==…: the first stays, the hash is another
		if _, rest, _ = strings.Cut(rest[1:], "="); rest == "" {
			return "", ErrSRS
		}
	default:
		day := srsDay(now) + "=" + from + "=" + local
		return "SRS0=" + s.srsSum("SRS0", day) + "=" + day + "@" + domain, nil
	}
	return "SRS1=" + s.srsSum("SRS1", rest) + "=" + rest + "@" + domain, nil
}

// Bounce is where a mail without a sender to one of Forwarder's addresses goes. ok is
// false where the address is none of that form. Nobody else writes to such an address.
func (s *Store) Bounce(addr, sender string, now time.Time) (to string, ok bool, err error) {
	local, _ := split(addr)
	kind, rest := srsKind(local)
	switch {
	case kind == "":
		return "", false, nil
	case sender != "":
		return "", true, fmt.Errorf("%w: it takes bounces alone", ErrSRS)
	}
	hash, rest, _ := strings.Cut(rest[1:], "=")
	if !hmac.Equal([]byte(strings.ToUpper(hash)), []byte(s.srsSum(kind, rest))) {
		return "", true, ErrSRS
	}
	if kind == "SRS1" {
		first, rest, found := strings.Cut(rest, "=")
		if !found || rest == "" || !strings.Contains("=+-", rest[:1]) {
			return "", true, ErrSRS
		}
		return "SRS0" + rest + "@" + first, true, nil
	}
	day, rest, _ := strings.Cut(rest, "=")
	from, local, _ := strings.Cut(rest, "=")
	if from == "" || local == "" || srsAge(day, now) > srsLast {
		return "", true, ErrSRS
	}
	return local + "@" + from, true, nil
}

// srsKind is SRS0 or SRS1 and what follows, the separator at its front; empty: neither.
func srsKind(local string) (kind, rest string) {
	if len(local) < 6 || !strings.ContainsRune("=+-", rune(local[4])) {
		return "", ""
	}
	if kind = strings.ToUpper(local[:4]); kind == "SRS0" || kind == "SRS1" {
		return kind, local[4:]
	}
	return "", ""
}

// srsSum signs what an address says. Servers may change the case of a local part.
func (s *Store) srsSum(kind, rest string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(kind + "=" + strings.ToLower(rest)))
	return srsAlphabet.EncodeToString(mac.Sum(nil))[:srsHash]
}

// srsDay is a day as two characters.
func srsDay(now time.Time) string {
	n := now.Unix() / 86400 % srsDays
	return string([]byte{srsLetters[n/32], srsLetters[n%32]})
}

const srsLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// srsAge is how many days ago a day was; a large number for none.
func srsAge(day string, now time.Time) int64 {
	if len(day) != 2 {
		return srsDays
	}
	day = strings.ToUpper(day)
	high, low := strings.IndexByte(srsLetters, day[0]), strings.IndexByte(srsLetters, day[1])
	if high < 0 || low < 0 {
		return srsDays
	}
	return (now.Unix()/86400 - int64(high*32+low) + 10*srsDays) % srsDays
}

func split(addr string) (local, domain string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 1 {
		return addr, ""
	}
	return addr[:at], addr[at+1:]
}
