// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/guard/work"
)

// load is what a limit counts for one client: while more than half of it is used up, the
// browser does some work before what it sends is taken.
type load struct {
	of  *limit.Buckets
	key string // a prefix or an account; empty: not counted
}

// prefixLoad is the load of a client's prefix. This machine has none, as WaitOf.
func (s *Server) prefixLoad(r *http.Request, of *limit.Buckets) load {
	ip := s.clientIP(r)
	if ip.IsLoopback() {
		return load{of, ""}
	}
	return load{of, limit.Prefix(ip).String()}
}

// effort is the bits of work that the loads ask for, and how long until they ask for none.
func effort(loads []load) (bits int, until time.Duration) {
	for _, l := range loads {
		if l.key == "" {
			continue
		}
		left, burst, half := l.of.Left(l.key)
		bits, until = max(bits, work.Bits(left, burst)), max(until, half)
	}
	return bits, until
}

// tasked puts the work that a form needs, if any, into its page. what is what the form does.
func (s *Server) tasked(r *http.Request, p page, what string, loads ...load) page {
	bits, until := effort(loads)
	p.Work, p.Minutes = s.work.Task(s.worker(r, what), bits), minutes(until)
	return p
}

// minutes rounds a time up.
func minutes(d time.Duration) int { return max(1, int(math.Ceil(d.Minutes()))) }

// worker is whose work counts for what.
func (s *Server) worker(r *http.Request, what string) string {
	if m := visitor(r).Member; m != nil {
		return what + " " + m.ID
	}
	return what + " " + limit.Prefix(s.clientIP(r)).String()
}

// worked says whether a form came with the work that the loads ask for. Otherwise the
// form has words about it, and Retry-After says when it goes without.
func (s *Server) worked(w http.ResponseWriter, r *http.Request, f *form, what string, loads ...load) bool {
	bits, until := effort(loads)
	if bits == 0 || s.work.Done(s.worker(r, what), f.Get("work")) {
		return true
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(until.Seconds()))))
	f.Fail("work", tongue(r).Say("mall.work.again", "n", minutes(until)))
	return false
}

// workFirst answers for a form of one button, such as "Chat now", whose work is missing:
// a page with the button and the work.
func (s *Server) workFirst(w http.ResponseWriter, r *http.Request, f *form, what string, loads ...load) {
	f.Values.Del("work")
	s.page(w, r, http.StatusTooManyRequests, s.tasked(r, page{Title: tongue(r).Say("mall.work"), Template: "work-first",
		Data: struct {
			Path   string
			Values url.Values
			Form   *form
		}{r.URL.RequestURI(), f.Values, f}}, what, loads...))
}
