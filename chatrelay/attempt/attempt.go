// SPDX-License-Identifier: GPL-3.0-or-later

// Package attempt is one try to reach somebody, as a pure state machine.
//
// An event and the state before it give the state after it and the effects
// that the caller carries out: rings, notes, the alarm. There is no clock,
// no transport and no store here. The machine is a table, Rules, which
// docs/attempt.md shows.
//
//	ringing → answered | declined | cancelled | unanswered → alarmed
//	busy → ringing
//
// A callee may be out of reach, because their computer is off or they do not want
// to be disturbed. Then the attempt begins unanswered, and its alarm is raised at
// once. It rings after all when the callee can be reached while the caller still
// waits. Nobody is told that the callee has blocked the caller: the machine runs as
// for any other callee, and the relay rings no device.
package attempt

import "slices"

// The states of an attempt.
const (
	Ringing    = "ringing"
	Answered   = "answered"
	Declined   = "declined"
	Cancelled  = "cancelled"
	Unanswered = "unanswered" // nobody took it; the alarm is being raised
	Alarmed    = "alarmed"    // the alarm has been raised
	Busy       = "busy"       // the callee is in other chats; it rings when one of them ends
)

// Gone is Attempt.Why where the caller has not cancelled, but was gone.
const Gone = "gone"

// Kind is what happened.
type Kind int

// The kinds of Event.
const (
	Start       Kind = iota // the caller asks; Why says why the callee cannot be rung, empty: they can
	Tick                    // an interval is over
	Answer                  // a device took the ring, or the callee entered the room
	Decline                 // a device refused it, with Words
	Cancel                  // the caller gave up
	CallerGone              // the caller left, and did not come back in time
	Reachable               // the callee can be rung now: signed on, wants to be disturbed again, has ended a chat
	Unreachable             // they cannot any more: Why
	AlarmSent               // the alarm has reached the callee's mailbox or browser; Again: it was an earlier one
)

// Event is something that happened to an attempt.
type Event struct {
	Kind  Kind
	Why   string // Busy, or another word of the caller's
	On    bool   // with Start, Reachable and Unreachable: a device of the callee is connected
	Words string
	Again bool
}

// Do is what an Effect asks for.
type Do int

// The kinds of Effect.
const (
	RingFirst Do = iota // ring every device, for the first time, and wait an interval
	RingNext            // ring again, for the next time
	RingSame            // ring those who have come, and wait an interval anew
	StopRings           // tell every device that it is over: Why
	Alarm               // raise the alarm
	Note                // append the note Why to the conversation
)

// Effect is what must be done after a transition, in order.
type Effect struct {
	Do  Do
	Why string // the new state, after which end codes of frames and notes are named
}

// If is a condition of a Rule.
type If int

// The conditions.
const (
	Always    If = iota
	CanRing      // Start: the callee can be rung
	IsBusy       // Start, Unreachable: the callee is in as many chats as they want
	RingsLeft    // Tick: it has not rung as often as it shall
	Newly        // AlarmSent: it is not an earlier one
)

// Rule is a line of the table. The first that fits counts.
type Rule struct {
	From []string // states; "" is before the start
	On   Kind
	If   If
	To   string // empty: the same
	Do   []Do
}

// Rules are the machine. An event without a rule changes nothing.
var Rules = []Rule{
	{From: []string{""}, On: Start, If: CanRing, To: Ringing, Do: []Do{RingFirst}},
	{From: []string{""}, On: Start, If: IsBusy, To: Busy},
	{From: []string{""}, On: Start, To: Unanswered, Do: []Do{Alarm}},

	{From: []string{Ringing}, On: Tick, If: RingsLeft, Do: []Do{RingNext}},
	{From: []string{Ringing}, On: Tick, To: Unanswered, Do: []Do{StopRings, Note, Alarm}},
	{From: []string{Ringing}, On: Answer, To: Answered, Do: []Do{StopRings, Note}},
	{From: []string{Ringing}, On: Decline, To: Declined, Do: []Do{StopRings, Note}},
	{From: []string{Ringing}, On: Cancel, To: Cancelled, Do: []Do{StopRings, Note}},
	{From: []string{Ringing}, On: CallerGone, To: Cancelled, Do: []Do{StopRings, Note}},
	{From: []string{Ringing}, On: Reachable, Do: []Do{RingSame}},
	{From: []string{Ringing}, On: Unreachable, If: IsBusy}, // in another chat since: it rings on there
	{From: []string{Ringing}, On: Unreachable, To: Unanswered, Do: []Do{StopRings, Note, Alarm}},

	{From: []string{Busy}, On: Reachable, To: Ringing, Do: []Do{RingFirst}},
	{From: []string{Busy}, On: Answer, To: Answered, Do: []Do{StopRings, Note}},
	{From: []string{Busy}, On: Cancel, To: Cancelled, Do: []Do{Note}},
	{From: []string{Busy}, On: CallerGone, To: Unanswered, Do: []Do{Note, Alarm}},
	{From: []string{Busy}, On: Unreachable, If: IsBusy},
	{From: []string{Busy}, On: Unreachable, To: Unanswered, Do: []Do{Note, Alarm}},

	{From: []string{Unanswered}, On: AlarmSent, If: Newly, To: Alarmed, Do: []Do{Note}},
	{From: []string{Unanswered}, On: AlarmSent, To: Alarmed},
	{From: []string{Unanswered, Alarmed}, On: Reachable, To: Ringing, Do: []Do{RingFirst}},
	{From: []string{Unanswered, Alarmed}, On: Answer, To: Answered, Do: []Do{StopRings, Note}},
	{From: []string{Unanswered, Alarmed}, On: Unreachable},
}

// Attempt is the state of one try. The zero value with Of set has not begun.
type Attempt struct {
	State string // empty before Start
	Ring  int    // rings made since it began to ring
	Of    int    // rings there will be
	On    bool   // a device of the callee is connected
	Why   string // why it does not ring; Gone
	Words string // with a decline
}

// Next returns the attempt after e and what must be done.
func (a Attempt) Next(e Event) (Attempt, []Effect) {
	i := slices.IndexFunc(Rules, func(r Rule) bool {
		return r.On == e.Kind && slices.Contains(r.From, a.State) && a.fits(r.If, e)
	})
	if i < 0 {
		return a, nil
	}
	r := Rules[i]
	if r.To != "" {
		a.State = r.To
	}
	switch e.Kind {
	case Start, Reachable, Unreachable:
		if a.On = e.On; a.State == Ringing {
			a.Why = ""
		} else if r.To != "" {
			a.Why = e.Why
		}
	case Decline:
		a.Words = e.Words
	case CallerGone:
		if a.State == Cancelled {
			a.Why = Gone
		}
	}
	var effects []Effect
	for _, do := range r.Do {
		switch do {
		case RingFirst:
			a.Ring = 1
		case RingNext:
			a.Ring++
		}
		effects = append(effects, Effect{do, a.State})
	}
	return a, effects
}

func (a Attempt) fits(c If, e Event) bool {
	switch c {
	case CanRing:
		return e.Why == ""
	case IsBusy:
		return e.Why == Busy
	case RingsLeft:
		return a.Ring < a.Of
	case Newly:
		return !e.Again
	}
	return true
}
