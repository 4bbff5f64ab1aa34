// SPDX-License-Identifier: GPL-3.0-or-later

package attempt

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/frame"
)

// show writes effects as a person reads them.
func show(effects []Effect) string {
	var words []string
	for _, e := range effects {
		switch e.Do {
		case Ring:
			words = append(words, fmt.Sprintf("ring %d", e.N))
		case StopRings:
			words = append(words, "stop "+e.Why)
		case Alarm:
			words = append(words, "alarm")
		case Note:
			words = append(words, "note "+e.Why)
		}
	}
	return strings.Join(words, ", ")
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	on, tick := Event{Kind: Start, On: true}, Event{Kind: Tick}
	const alarm = "stop unanswered, note unanswered, alarm"
	tests := map[string]struct {
		events []Event
		want   []string // effects of each event
		state  string
		ring   int
	}{
		"answered at once":         {[]Event{on, {Kind: DeviceAnswered}}, []string{"ring 1", "stop answered, note answered"}, frame.Answered, 1},
		"answered at the third":    {[]Event{on, tick, tick, {Kind: DeviceAnswered}}, []string{"ring 1", "ring 2", "ring 3", "stop answered, note answered"}, frame.Answered, 3},
		"three rings, then alarm":  {[]Event{on, tick, tick, tick, {Kind: AlarmSent}}, []string{"ring 1", "ring 2", "ring 3", alarm, "note alarmed"}, frame.Alarmed, 3},
		"declined":                 {[]Event{on, {Kind: DeviceDeclined, Words: "later"}, tick}, []string{"ring 1", "stop declined, note declined", ""}, frame.Declined, 1},
		"cancelled":                {[]Event{on, {Kind: Cancel}, {Kind: DeviceAnswered}}, []string{"ring 1", "stop cancelled, note cancelled", ""}, frame.Cancelled, 1},
		"caller gone":              {[]Event{on, {Kind: CallerGone}}, []string{"ring 1", "stop cancelled, note cancelled"}, frame.Cancelled, 1},
		"off":                      {[]Event{{Kind: Start}, {Kind: AlarmSent}, {Kind: AlarmSent}}, []string{"alarm", "note alarmed", ""}, frame.Alarmed, 0},
		"off, then signs on":       {[]Event{{Kind: Start}, {Kind: AlarmSent}, {Kind: DeviceConnected}, {Kind: DeviceAnswered}}, []string{"alarm", "note alarmed", "ring 1", "stop answered, note answered"}, frame.Answered, 1},
		"signs on before the mail": {[]Event{{Kind: Start}, {Kind: DeviceConnected}, {Kind: AlarmSent}}, []string{"alarm", "ring 1", ""}, frame.Ringing, 1},
		"another device":           {[]Event{on, tick, {Kind: DeviceConnected}, tick}, []string{"ring 1", "ring 2", "ring 2", "ring 3"}, frame.Ringing, 3},
		"signs off":                {[]Event{on, {Kind: DevicesGone}}, []string{"ring 1", alarm}, frame.Unanswered, 1},
		"comes by the alarm link":  {[]Event{on, tick, tick, tick, {Kind: AlarmSent}, {Kind: DeviceAnswered}}, []string{"ring 1", "ring 2", "ring 3", alarm, "note alarmed", "stop answered, note answered"}, frame.Answered, 3},
		"alarm fails":              {[]Event{on, tick, tick, tick, {Kind: Cancel}, {Kind: DevicesGone}}, []string{"ring 1", "ring 2", "ring 3", alarm, "", ""}, frame.Unanswered, 3},
		"nothing before the start": {[]Event{tick, {Kind: DeviceAnswered}, {Kind: AlarmSent}}, []string{"", "", ""}, "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Attempt{Of: 3}
			for i, e := range test.events {
				var effects []Effect
				if a, effects = a.Next(e); show(effects) != test.want[i] {
					t.Errorf("event %d: effects %q, want %q", i, show(effects), test.want[i])
				}
			}
			if a.State != test.state || a.Ring != test.ring {
				t.Errorf("state %s after %d rings, want %s after %d", a.State, a.Ring, test.state, test.ring)
			}
		})
	}
}
