// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/SherClockHolmes/webpush-go"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Web Push (RFC 8030) reaches a person's browsers when no page is open. A push
// is encrypted (RFC 8291) and signed with the server's own key (VAPID, RFC 8292).
// declarative.go says what it contains.
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
	MaxPayload = 3 << 10 // octets of a push's JSON; a service takes 4 KiB encrypted (RFC 8291 section 4)

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
	End     = "end"     // the ring is over: what a notification of it says is past
	Alarm   = "alarm"   // somebody rang in vain
	Message = "message" // somebody left a message
	Test    = "test"    // its reader wants to see whether notifications come
)

// Note is what a push is about.
type Note struct {
	Kind    string
	Room    string // what the desk shows after a press; of a test: "settings"
	Attempt string
	From    string
	ByLink  bool // From has not proven who they are
	Subject string
	URL     string // what a press on the notification opens, a path with its fragment
	At      time.Time
	Why     string // how a ring ended, of package frame
	Caller  string // who rings; pushes of one room and caller collapse
	// TTL is how long the push is of use, in whole seconds. If it is not
	// positive it is a minute for a ring, its end and a test, else a day.
	TTL time.Duration
}

// ttl returns how long the note is of use.
func (n Note) ttl() time.Duration {
	switch {
	case n.TTL > 0:
		return max(n.TTL.Truncate(time.Second), time.Second)
	case n.Kind == Ring || n.Kind == End || n.Kind == Test:
		return time.Minute
	}
	return 24 * time.Hour
}

// urgency is what a phone does about it (RFC 8030 section 5.3): a ring wakes
// it, the end of one can wait until it is awake.
func (n Note) urgency() webpush.Urgency {
	switch n.Kind {
	case Ring, Alarm, Test:
		return webpush.UrgencyHigh
	case End:
		return webpush.UrgencyLow
	}
	return webpush.UrgencyNormal
}

// topic names what collapses: 32 characters of base64url, RFC 8030 section
// 5.4. It tells the push service neither room nor caller.
func (n Note) topic() string {
	what := n.Room + "\x00" + n.Caller
	if n.Kind == Message { // it takes no ring's place
		what += "\x00" + Message
	}
	sum := sha256.Sum256([]byte(what))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
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
	Contact string // whom a push service's operator can reach; CheckContact looks at it
	WebBase string // origin of the pages
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
	subs, err := p.opt.Store.Subscriptions(ctx, login)
	if err != nil {
		return 0, fmt.Errorf("reading the subscriptions of %s: %w", login, err)
	}
	return len(subs), p.sendTo(login, n, subs)
}

// sendTo queues n for browsers of login.
func (p *pusher) sendTo(login string, n Note, browsers []chat.Subscription) error {
	topic, until := n.topic(), time.Now().Add(n.ttl())
	payloads := map[string][]byte{} // by language
	for _, stored := range browsers {
		sub := browserOf(stored)
		if n.Kind == End && sub.apple() {
			continue
		}
		if payloads[sub.Lang] == nil {
			payload, err := n.payload(sub.Lang, p.opt.WebBase)
			if err != nil {
				return err
			}
			payloads[sub.Lang] = payload
		}
		err := p.queue.add(key{sub.Endpoint, topic},
			&push{login: login, sub: sub, note: n, payload: payloads[sub.Lang], until: until})
		if err != nil {
			return err
		}
	}
	return nil
}
