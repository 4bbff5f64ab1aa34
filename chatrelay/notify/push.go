// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/SherClockHolmes/webpush-go"
)

// Web Push (RFC 8030) reaches a person's browsers when no page is open. A push
// is encrypted (RFC 8291) and signed with the server's own key (VAPID, RFC 8292).
//
// Send looks up the login's subscriptions and queues one push each; a few
// senders take them to the push services. Pushes of one room and caller to
// one browser collapse: in the queue the newer replaces the older, and at the
// push service by the Topic header (RFC 8030 section 5.4). They are sent one
// after the other, so a ring's end never comes before the ring.
//
// An endpoint is a URL that a stranger's browser gave, so it must be https,
// on port 443, and at an address of the public net after name resolution.

// Limits and times.
const (
	PerLogin   = 16      // subscriptions of one login; one more and the oldest goes
	MaxPayload = 3 << 10 // octets of a note's JSON; a service takes 4 KiB encrypted (RFC 8291 section 4)

	maxQueue    = 4096             // pushes that wait; one more is refused with ErrFull
	senders     = 4                // pushes under way at once
	tries       = 6                // of one push
	sendTimeout = 10 * time.Second // of one try
	maxEndpoint = 2048             // octets
	maxFrom     = 255              // octets; longer ones are cut
	maxSubject  = 998              // octets; longer ones are cut
)

// backoff is the wait after a failed try when the service names none.
var backoff = [tries]time.Duration{time.Second, 4 * time.Second, 15 * time.Second,
	time.Minute, 5 * time.Minute, 15 * time.Minute}

var (
	// ErrClosed: the pusher was closed.
	ErrClosed = errors.New("push: closed")
	// ErrFull: too many pushes wait.
	ErrFull = errors.New("push: the queue is full")
	// ErrTooLarge: the note is of more than MaxPayload octets.
	ErrTooLarge = errors.New("push: the note is too large")
	// ErrSubscription: a subscription that no push can be sent to.
	ErrSubscription = errors.New("push: not a valid subscription")
	// ErrAddress: the endpoint is not on the public net.
	ErrAddress = errors.New("push: the endpoint's address is not public")
	// ErrGone: the push service no longer knows the subscription.
	ErrGone = errors.New("push: the subscription is gone")
	// ErrRefused: the push service refused the push for good.
	ErrRefused = errors.New("push: refused by the push service")
	// ErrGivenUp: the push was tried until it was too late or too often.
	ErrGivenUp = errors.New("push: given up")
	// ErrReplaced: a newer push of the same topic took this one's place.
	ErrReplaced = errors.New("push: replaced by a newer one")
)

// The kinds of Note.
const (
	Ring    = "ring"    // somebody rings now
	End     = "end"     // the ring is over: a notification of it can go
	Alarm   = "alarm"   // somebody rang in vain
	Message = "message" // somebody left a message
)

// Note is what a push says; the service worker gets it as JSON.
type Note struct {
	Kind    string    `json:"kind"`
	Room    string    `json:"room"`
	Attempt string    `json:"attempt,omitempty"`
	From    string    `json:"from,omitempty"`
	ByLink  bool      `json:"by_link,omitempty"` // From has not proven who they are
	Subject string    `json:"subject,omitempty"`
	URL     string    `json:"url,omitempty"` // what a press on the notification opens
	At      time.Time `json:"at"`

	// Caller is who rings; pushes of one room and caller collapse.
	Caller string `json:"-"`
	// TTL is how long the push is of use, in whole seconds. If it is not
	// positive it is a minute for a ring and its end, else a day.
	TTL time.Duration `json:"-"`
}

// ttl returns how long the note is of use.
func (n Note) ttl() time.Duration {
	switch {
	case n.TTL > 0:
		return max(n.TTL.Truncate(time.Second), time.Second)
	case n.Kind == Ring || n.Kind == End:
		return time.Minute
	}
	return 24 * time.Hour
}

// urgency is what a phone does about it (RFC 8030 section 5.3): a ring wakes
// it, the end of one can wait until it is awake.
func (n Note) urgency() webpush.Urgency {
	switch n.Kind {
	case Ring, Alarm:
		return webpush.UrgencyHigh
	case End:
		return webpush.UrgencyLow
	}
	return webpush.UrgencyNormal
}

// topic names what collapses: 32 characters of base64url, RFC 8030 section
// 5.4. It tells the push service neither room nor caller.
func (n Note) topic() string {
	sum := sha256.Sum256([]byte(n.Room + "\x00" + n.Caller))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// payload is the note as JSON, its From and Subject cut if need be.
func (n Note) payload() ([]byte, error) {
	n.From, n.Subject = cut(n.From, maxFrom), cut(n.Subject, maxSubject)
	for {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(n); err != nil {
			return nil, fmt.Errorf("encoding a push: %w", err)
		}
		out := []byte(strings.TrimSuffix(b.String(), "\n"))
		switch {
		case len(out) <= MaxPayload:
			return out, nil
		case n.Subject == "" && n.From == "":
			return nil, fmt.Errorf("%w: %d octets", ErrTooLarge, len(out))
		}
		n.Subject, n.From = cut(n.Subject, len(n.Subject)/2), cut(n.From, max(len(n.From)/2, 16*len(n.Subject)))
	}
}

// cut shortens s to at most octets, at a rune.
func cut(s string, octets int) string {
	if len(s) <= octets {
		return s
	}
	for octets > 0 && !utf8.RuneStart(s[octets]) {
		octets--
	}
	return s[:octets]
}

// pusherOptions are what newPusher needs.
type pusherOptions struct {
	Keys    Keys
	Contact string // whom a push service's operator can reach: a mail address or an https URL (RFC 8292 section 2.1)
	Store   Store
	Log     *slog.Logger // gets no endpoint, which is a secret
	// Report is told how each push ended, nil being accepted by the service;
	// it is called by the pusher's goroutines and must not block.
	Report func(login string, n Note, err error)
	// Anywhere allows endpoints on any port and address, for tests and for a
	// push service within one's own net.
	Anywhere bool
	// TLS is for the connections to push services; may be nil.
	TLS *tls.Config
}

// Send queues n for each of login's browsers and returns how many there are.
// It does not wait for them to be sent.
func (p *pusher) Send(ctx context.Context, login string, n Note) (int, error) {
	payload, err := n.payload()
	if err != nil {
		return 0, err
	}
	subs, err := p.opt.Store.Subscriptions(ctx, login)
	if err != nil {
		return 0, fmt.Errorf("reading the subscriptions of %s: %w", login, err)
	}
	topic, until := n.topic(), time.Now().Add(n.ttl())
	for i, stored := range subs {
		sub := browserOf(stored)
		err := p.queue.add(key{sub.Endpoint, topic},
			&push{login: login, sub: sub, note: n, payload: payload, until: until})
		if err != nil {
			return i, err
		}
	}
	return len(subs), nil
}
