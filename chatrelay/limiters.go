// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/reputation"
)

// limiters keep one person, one network or the callers of one callee from using
// up the relay. Each has buckets of its own, so that a person who reaches a limit
// slows nobody else down. Messages above a limit are read later, which slows
// their writer down and loses nothing; attempts above a limit are refused.
type limiters struct {
	sayMe, sayFrom              *limit.Buckets // messages of a participant, of an address prefix
	callMe, callFrom, callWhoso *limit.Buckets // attempts of a participant, of an address prefix, at a login
}

func newLimiters() limiters {
	of := func(every, burst int) *limit.Buckets {
		return limit.NewBuckets(limit.Rate{Every: rate.Limit(every), Burst: burst}, maxTracked)
	}
	return limiters{sayMe: of(sayRate, sayBurst), sayFrom: of(200, 1000),
		callMe: of(1, 30), callFrom: of(2, 60), callWhoso: of(20, 200)}
}

// maySay says how long the session's next message must wait for the limiters.
func (s *session) maySay() time.Duration {
	wait := s.r.limiters.sayMe.Wait(strconv.FormatInt(s.me, 10))
	if from := limit.Remote(s.conn.RemoteIP()); from.IsValid() {
		wait = max(wait, s.r.limiters.sayFrom.Wait(from.String()))
	}
	return wait
}

// mayCall says how long until a participant at an address may make an attempt
// at a login.
func (f *limiters) mayCall(me int64, at netip.Addr, callee string) time.Duration {
	wait := f.callMe.Wait(strconv.FormatInt(me, 10))
	if from := limit.Remote(at); wait == 0 && from.IsValid() {
		wait = f.callFrom.Wait(from.String())
	}
	if wait == 0 {
		wait = f.callWhoso.Wait(callee)
	}
	return wait
}

// turn waits until the limiters allow the session's message. It returns false
// when the connection has ended, or when the wait would be longer than turnWait
// because others of the same network send too much.
func (s *session) turn() bool {
	for end := time.Now().Add(turnWait); ; {
		wait := s.maySay()
		if wait == 0 {
			return true
		}
		if time.Now().Add(wait).After(end) {
			return false
		}
		select {
		case <-time.After(wait):
		case <-s.out.Done():
			return false
		}
	}
}

// tooOften refuses something; nothing is lost by asking again later.
func (s *session) tooOften(id string, wait time.Duration) {
	carrier.Counted.Dropped("limited")
	s.r.opt.Reputation.Fault(s.conn.RemoteIP(), reputation.Flood)
	s.out.Put(frame.Encode(&frame.Frame{T: frame.TError, Code: frame.ErrTooFast, ID: id,
		Text: "that is too often, try again in a moment", Wait: int((wait + time.Second - 1) / time.Second)}))
}
