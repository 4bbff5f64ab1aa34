// SPDX-License-Identifier: GPL-3.0-or-later

// Package attempt is one try to reach somebody, as a pure state machine.
//
// An event and the state before it give the state after it and the effects
// that the caller carries out: rings, notes, the alarm. There is no clock,
// no transport and no store here.
//
//	ringing → answered | declined | cancelled | unanswered → alarmed
//
// A callee whose computer is off is not rung: the attempt begins unanswered,
// and its alarm is raised at once. It rings after all when the callee signs
// on while the caller still waits.
package attempt

import "github.com/chmail/chmail/chatrelay/frame"

// Kind is what happened.
type Kind int

// The kinds of Event.
const (
	Start           Kind = iota // the caller asks; On says whether a device is connected
	Tick                        // an interval is over
	DeviceAnswered              // a device took the ring, or the callee entered the room
	DeviceDeclined              // a device refused it, with Words
	Cancel                      // the caller gave up
	CallerGone                  // the caller left, and did not come back in time
	DeviceConnected             // a device signed on while the caller waits
	DevicesGone                 // the last device signed off
	AlarmSent                   // the alarm has reached the callee's mailbox
)

// Event is something that happened to an attempt.
type Event struct {
	Kind  Kind
	On    bool
	Words string
}

// Do is what an Effect asks for.
type Do int

// The kinds of Effect.
const (
	Ring      Do = iota // ring every device, for the Nth time, and wait an interval
	StopRings           // tell every device that it is over: Why
	Alarm               // send the alarm mail
	Note                // append the note Why to the conversation
)

// Effect is what must be done after a transition, in order.
type Effect struct {
	Do  Do
	N   int
	Why string // an end code of package frame, or a note
}

// Attempt is the state of one try. The zero value with Of set has not begun.
type Attempt struct {
	State string // of package frame; empty before Start
	Ring  int    // rings made
	Of    int    // rings there will be
	On    bool   // a device of the callee is connected
	Words string // with a decline
}

// Next returns the attempt after e and what must be done. An event that means
// nothing in the present state changes nothing.
func (a Attempt) Next(e Event) (Attempt, []Effect) {
	switch a.State {
	case "":
		if e.Kind != Start {
			return a, nil
		}
		if e.On {
			return a.ring()
		}
		a.State = frame.Unanswered
		return a, []Effect{{Do: Alarm}}
	case frame.Ringing:
		return a.whileRinging(e)
	case frame.Unanswered, frame.Alarmed:
		switch e.Kind {
		case AlarmSent:
			if a.State == frame.Alarmed {
				return a, nil
			}
			a.State = frame.Alarmed
			return a, []Effect{{Do: Note, Why: frame.Alarmed}}
		case DeviceAnswered:
			return a.end(frame.Answered)
		case DeviceConnected:
			a.Ring = 0
			return a.ring()
		case DevicesGone:
			a.On = false
		}
	}
	return a, nil
}

func (a Attempt) whileRinging(e Event) (Attempt, []Effect) {
	switch e.Kind {
	case Tick:
		if a.Ring < a.Of {
			return a.ring()
		}
		return a.alarm()
	case DeviceAnswered:
		return a.end(frame.Answered)
	case DeviceDeclined:
		a.Words = e.Words
		return a.end(frame.Declined)
	case Cancel, CallerGone:
		return a.end(frame.Cancelled)
	case DeviceConnected:
		a.On = true
		return a, []Effect{{Do: Ring, N: a.Ring}}
	case DevicesGone:
		a.On = false
		return a.alarm()
	}
	return a, nil
}

func (a Attempt) ring() (Attempt, []Effect) {
	a.State, a.On = frame.Ringing, true
	a.Ring++
	return a, []Effect{{Do: Ring, N: a.Ring}}
}

func (a Attempt) alarm() (Attempt, []Effect) {
	a.State = frame.Unanswered
	return a, []Effect{{Do: StopRings, Why: frame.EndUnanswered}, {Do: Note, Why: frame.Unanswered}, {Do: Alarm}}
}

// end is an outcome; states, end codes and notes have the same names.
func (a Attempt) end(state string) (Attempt, []Effect) {
	a.State = state
	return a, []Effect{{Do: StopRings, Why: state}, {Do: Note, Why: state}}
}
