// SPDX-License-Identifier: GPL-3.0-or-later

// Package order has the states of an order and who may do what with it, as a table,
// which docs/mall.md shows.
package order

import (
	"errors"
	"fmt"
)

// State is one of an order.
type State string

// The states.
const (
	Offered   State = "offered"   // by the shop, in a talk
	Accepted  State = "accepted"  // by the member; its goods are set aside
	Paid      State = "paid"      //
	Sent      State = "sent"      //
	Done      State = "done"      // the member has the goods
	Cancelled State = "cancelled" // its goods are for sale again
	Returned  State = "returned"  // the goods came back to the shop
)

// Act is what somebody does with an order.
type Act string

// The acts.
const (
	Accept  Act = "accept"
	Pay     Act = "pay"
	Send    Act = "send"
	Receive Act = "receive"
	Cancel  Act = "cancel"
	Return  Act = "return"
)

// Role is who does it.
type Role string

// The roles.
const (
	Member  Role = "member"
	Shop    Role = "shop"
	Payment Role = "payment" // a payment provider's notice
)

// Step is a line of the table.
type Step struct {
	From State
	Act  Act
	By   []Role
	To   State
	// Stock is what happens to the goods: -1 they are set aside, 1 they are for sale
	// again, 0 neither.
	Stock int
}

// Table has every step that there is.
var Table = []Step{
	{Offered, Accept, []Role{Member}, Accepted, -1},
	{Offered, Cancel, []Role{Member, Shop}, Cancelled, 0},
	{Accepted, Pay, []Role{Shop, Payment}, Paid, 0},
	{Accepted, Cancel, []Role{Member, Shop}, Cancelled, 1},
	{Paid, Send, []Role{Shop}, Sent, 0},
	{Paid, Cancel, []Role{Shop}, Cancelled, 1},
	{Sent, Receive, []Role{Member, Shop}, Done, 0},
	{Sent, Return, []Role{Shop}, Returned, 0},
	{Done, Return, []Role{Shop}, Returned, 0},
}

// ErrStep: the order is in no state for that, or whoever wants it may not do it.
var ErrStep = errors.New("that cannot be done with the order")

// Next returns the step that an act takes from a state. ErrStep.
func Next(from State, act Act, by Role) (Step, error) {
	for _, s := range Table {
		if s.From == from && s.Act == act && s.may(by) {
			return s, nil
		}
	}
	return Step{}, fmt.Errorf("%w: %s by the %s while it is %s", ErrStep, act, by, from)
}

// Acts are those that somebody may do in a state.
func Acts(from State, by Role) (list []Act) {
	for _, s := range Table {
		if s.From == from && s.may(by) {
			list = append(list, s.Act)
		}
	}
	return list
}

func (s Step) may(by Role) bool {
	for _, r := range s.By {
		if r == by {
			return true
		}
	}
	return false
}
