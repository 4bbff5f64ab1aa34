// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
)

// A push is a declarative one (Push API, section "Declarative push message"):
// it contains the whole notification. Safari shows it by itself where the service
// worker does not, so none comes to nothing; three that showed nothing would end
// the subscription there. The service worker of every browser shows the same.

// The magic number of a declarative push is that of RFC 8030.
const declarative = 8030

// pushMessage is the JSON of a push.
type pushMessage struct {
	WebPush      int     `json:"web_push"`
	Notification options `json:"notification"`
	Mutable      bool    `json:"mutable"` // the service worker is asked first
}

// options are the NotificationOptions of the Notifications API, with the title.
type options struct {
	Title              string           `json:"title"`
	Lang               string           `json:"lang"`
	Body               string           `json:"body"`
	Navigate           string           `json:"navigate"` // what a press on it opens, without a service worker
	Tag                string           `json:"tag"`      // a newer one of the same tag takes its place
	Icon               string           `json:"icon"`
	Badge              string           `json:"badge"`
	Renotify           bool             `json:"renotify"`
	RequireInteraction bool             `json:"requireInteraction"`
	Silent             bool             `json:"silent"`
	Vibrate            []int            `json:"vibrate,omitempty"`
	Timestamp          int64            `json:"timestamp"` // in milliseconds
	Actions            []action         `json:"actions,omitempty"`
	Data               notificationData `json:"data"`
}

// action is a button in a notification.
type action struct {
	Action string `json:"action"`
	Title  string `json:"title"`
}

// notificationData is what the service worker knows of a notification.
type notificationData struct {
	Kind    string `json:"kind"`
	Room    string `json:"room"`
	Attempt string `json:"attempt,omitempty"`
}

// payload is the note as a push in a language, its name and subject cut if need be.
func (n Note) payload(lang, base string) ([]byte, error) {
	n.From, n.Subject = clean.Line(n.From, maxFrom, maxFrom), clean.Line(n.Subject, maxSubject, maxSubject)
	for {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(pushMessage{declarative, n.options(words.In(lang), base), true}); err != nil {
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

// options are what a browser shows of the note.
func (n Note) options(in words.Tongue, base string) options {
	name := n.From
	if n.ByLink {
		name = in.Say("people.byLink", "name", name)
	}
	shown := options{Lang: in.Lang, Body: n.Subject, Navigate: base + n.URL, Tag: n.Room, Icon: "/icon-192.png",
		Badge: "/badge-96.png", Renotify: true, Vibrate: []int{150}, Timestamp: n.At.UnixMilli(),
		Data: notificationData{n.Kind, n.Room, n.Attempt}}
	rung := "ring-" + n.Attempt // a message that comes meanwhile leaves it its buttons
	switch n.Kind {
	case Ring:
		shown.Title, shown.Tag = in.Say("ring.title", "name", name), rung
		shown.RequireInteraction, shown.Vibrate = true, []int{300, 150, 300, 150, 300}
		shown.Actions = []action{{"answer", in.Say("ring.answer")}, {"decline", in.Say("ring.decline")}}
	case End: // in the place of the ring, without a sound
		shown.Title, shown.Tag = in.Say(endWords(n.Why), "name", name), rung
		shown.Renotify, shown.Silent, shown.Vibrate = false, true, nil
	case Alarm: // likewise, where no end comes
		shown.Title, shown.Tag = in.Say("push.alarm", "name", name), rung
	case Test:
		shown.Title, shown.Body, shown.Tag = in.Say("push.test"), in.Say("push.testWhat"), Test
		shown.Vibrate = []int{300, 150, 300, 150, 300}
	default:
		shown.Title = in.Say("push.message", "name", name)
	}
	return shown
}

// endWords is the key of how a ring ended.
func endWords(why string) string {
	switch why {
	case frame.EndAnswered, frame.EndElsewhere:
		return "toast.elsewhere"
	case frame.EndDeclined:
		return "toast.declined"
	case frame.EndCancelled:
		return "toast.cancelled"
	}
	return "push.alarm"
}
