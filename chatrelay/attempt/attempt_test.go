// SPDX-License-Identifier: GPL-3.0-or-later

package attempt

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/frame"
)

var update = flag.Bool("update", false, "write the table into docs/attempt.md")

// show writes effects as a person reads them.
func show(a Attempt, effects []Effect) string {
	var words []string
	for _, e := range effects {
		switch e.Do {
		case RingFirst, RingNext, RingSame:
			words = append(words, fmt.Sprintf("ring %d", a.Ring))
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
	off, busy := Event{Kind: Start, Why: frame.Off}, Event{Kind: Start, Why: Busy, On: true}
	signsOn, signsOff := Event{Kind: Reachable, On: true}, Event{Kind: Unreachable, Why: frame.Off}
	const alarm = "stop unanswered, note unanswered, alarm"
	tests := map[string]struct {
		events []Event
		want   []string // effects of each event
		state  string
		ring   int
		why    string
	}{
		"answered at once": {[]Event{on, {Kind: Answer}},
			[]string{"ring 1", "stop answered, note answered"}, Answered, 1, ""},
		"answered at the third": {[]Event{on, tick, tick, {Kind: Answer}}, []string{"ring 1", "ring 2", "ring 3",
			"stop answered, note answered"}, Answered, 3, ""},
		"three rings, then alarm": {[]Event{on, tick, tick, tick, {Kind: AlarmSent}},
			[]string{"ring 1", "ring 2", "ring 3", alarm, "note alarmed"}, Alarmed, 3, ""},
		"declined": {[]Event{on, {Kind: Decline, Words: "later"}, tick},
			[]string{"ring 1", "stop declined, note declined", ""}, Declined, 1, ""},
		"cancelled": {[]Event{on, {Kind: Cancel}, {Kind: Answer}},
			[]string{"ring 1", "stop cancelled, note cancelled", ""}, Cancelled, 1, ""},
		"caller gone": {[]Event{on, {Kind: CallerGone}},
			[]string{"ring 1", "stop cancelled, note cancelled"}, Cancelled, 1, Gone},
		"off": {[]Event{off, {Kind: AlarmSent}, {Kind: AlarmSent}},
			[]string{"alarm", "note alarmed", ""}, Alarmed, 0, frame.Off},
		"off, alarmed before": {[]Event{off, {Kind: AlarmSent, Again: true}},
			[]string{"alarm", ""}, Alarmed, 0, frame.Off},
		"off, then signs on": {[]Event{off, {Kind: AlarmSent}, signsOn, {Kind: Answer}},
			[]string{"alarm", "note alarmed", "ring 1", "stop answered, note answered"}, Answered, 1, ""},
		"signs on before the mail": {[]Event{off, signsOn, {Kind: AlarmSent}},
			[]string{"alarm", "ring 1", ""}, Ringing, 1, ""},
		"another device": {[]Event{on, tick, signsOn, tick},
			[]string{"ring 1", "ring 2", "ring 2", "ring 3"}, Ringing, 3, ""},
		"signs off": {[]Event{on, signsOff}, []string{"ring 1", alarm}, Unanswered, 1, frame.Off},
		"signs off after the ring": {[]Event{on, tick, tick, tick, signsOff},
			[]string{"ring 1", "ring 2", "ring 3", alarm, ""}, Unanswered, 3, ""},
		"comes by the alarm link": {[]Event{on, tick, tick, tick, {Kind: AlarmSent}, {Kind: Answer}},
			[]string{"ring 1", "ring 2", "ring 3", alarm, "note alarmed", "stop answered, note answered"},
			Answered, 3, ""},
		"alarm fails": {[]Event{on, tick, tick, tick, {Kind: Cancel}, signsOff},
			[]string{"ring 1", "ring 2", "ring 3", alarm, "", ""}, Unanswered, 3, ""},
		"nothing before the start": {[]Event{tick, {Kind: Answer}, {Kind: AlarmSent}},
			[]string{"", "", ""}, "", 0, ""},
		"do not disturb": {[]Event{{Kind: Start, Why: frame.DND, On: true}, {Kind: AlarmSent}},
			[]string{"alarm", "note alarmed"}, Alarmed, 0, frame.DND},
		"do not disturb ends": {[]Event{{Kind: Start, Why: frame.Quiet, On: true}, {Kind: AlarmSent}, signsOn},
			[]string{"alarm", "note alarmed", "ring 1"}, Ringing, 1, ""},
		"disturbed enough": {[]Event{on, {Kind: Unreachable, Why: frame.DND, On: true}},
			[]string{"ring 1", alarm}, Unanswered, 1, frame.DND},
		"busy": {[]Event{busy, tick, signsOn, {Kind: Answer}},
			[]string{"", "", "ring 1", "stop answered, note answered"}, Answered, 1, ""},
		"busy, gives up": {[]Event{busy, {Kind: Cancel}},
			[]string{"", "note cancelled"}, Cancelled, 0, Busy},
		"busy, goes away": {[]Event{busy, {Kind: CallerGone}},
			[]string{"", "note unanswered, alarm"}, Unanswered, 0, Busy},
		"busy, then off": {[]Event{busy, signsOff}, []string{"", "note unanswered, alarm"},
			Unanswered, 0, frame.Off},
		"answers another meanwhile": {[]Event{on, {Kind: Unreachable, Why: Busy, On: true}, tick},
			[]string{"ring 1", "", "ring 2"}, Ringing, 2, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := Attempt{Of: 3}
			for i, e := range test.events {
				var effects []Effect
				if a, effects = a.Next(e); show(a, effects) != test.want[i] {
					t.Errorf("event %d: effects %q, want %q", i, show(a, effects), test.want[i])
				}
			}
			if a.State != test.state || a.Ring != test.ring || a.Why != test.why {
				t.Errorf("state %s after %d rings, why %q; want %s after %d, why %q", a.State, a.Ring, a.Why,
					test.state, test.ring, test.why)
			}
		})
	}
}

// The words of the table in docs/attempt.md.
var (
	happens = map[Kind]string{
		Start: "Chat now", Tick: "an interval is over", Answer: "a device answers, or the callee enters the room",
		Decline: "a device declines", Cancel: "the caller cancels",
		CallerGone:  "the caller is gone for 4 s, or does not come in within 8 s",
		Reachable:   "the callee can be rung now: a device signed on, do not disturb or a chat is over",
		Unreachable: "the callee cannot be rung now: the last device is gone, or do not disturb",
		AlarmSent:   "the alarm is in the mailbox or at the browser",
	}
	provided = map[If]string{CanRing: ", the callee can be rung", IsBusy: ", only because of their other chats",
		RingsLeft: ", not for the last time", Newly: ", the first within 10 min"}
	done = map[Do]string{RingFirst: "every device rings",
		RingNext: "every device rings again", RingSame: "it rings too",
		StopRings: "rings stop", Alarm: "the alarm is raised", Note: "a note"}
)

func table() string {
	var b strings.Builder
	b.WriteString("| state | event | next state | what is done |\n|---|---|---|---|\n")
	for _, r := range Rules {
		from, to := strings.Join(r.From, ", "), r.To
		if from == "" {
			from = "–"
		}
		if to == "" {
			to = from
		}
		var do []string
		for _, d := range r.Do {
			do = append(do, done[d])
		}
		fmt.Fprintf(&b, "| %s | %s%s | %s | %s |\n", from, happens[r.On], provided[r.If], to, strings.Join(do, ", "))
	}
	return b.String()
}

// The table of docs/attempt.md is the one that runs.
func TestTableInDocs(t *testing.T) {
	t.Parallel()
	const path = "../../docs/attempt.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	place := regexp.MustCompile(`(?m)^\| state \|.*\n(\|.*\n)+`)
	if *update {
		b = place.ReplaceAll(b, []byte(table()))
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(place.Find(b)); got != table() {
		t.Errorf("docs/attempt.md differs from the machine; go test ./chatrelay/attempt -run"+
			" Docs -update writes it.\n%s", table())
	}
}
