// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// All names every mail, where an ID or a domain names some.
const All = "all"

// Action is what a command does with mails.
type Action string

// The actions. Drop forgets a mail and tells nobody.
const (
	Retry   Action = "retry"
	Hold    Action = "hold"
	Release Action = "release"
	Drop    Action = "drop"
)

// List lists the mails that wait, or those for a domain, the oldest first.
func (q *Queue) List(domain string) []Mail {
	list := []Mail{}
	for _, e := range q.entries() {
		e.mu.Lock()
		if e.there() && (domain == "" || slices.Contains(e.mail.domains(), strings.ToLower(domain))) {
			list = append(list, e.mail.clone())
		}
		e.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Mail) int {
		return cmp.Or(a.Arrived.Compare(b.Arrived), strings.Compare(a.ID, b.ID))
	})
	return list
}

// there says whether the mail was taken and is not done. e.mu is held.
func (e *entry) there() bool { return !e.gone && !e.mail.Arrived.IsZero() }

// Show returns a mail and its header.
func (q *Queue) Show(id string) (Mail, string, error) {
	if e := q.entry(id); e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.there() {
			return e.mail.clone(), string(q.header(id)), nil
		}
	}
	return Mail{}, "", fmt.Errorf("%w: %s", ErrNoMail, id)
}

func (q *Queue) entry(id string) *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mails[id]
}

func (q *Queue) entries() []*entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Collect(maps.Values(q.mails))
}

// Do does something with the mail of an ID, or those for a domain, or All, and says with
// how many.
func (q *Queue) Do(what Action, which string) (n int, err error) {
	list, domain := []*entry{q.entry(which)}, ""
	if list[0] == nil {
		list = q.entries()
		if which != All {
			domain = strings.ToLower(which)
		}
	}
	for _, e := range list {
		did, err := q.do(what, e, domain)
		if err != nil {
			return n, err
		}
		if did {
			n++
		}
	}
	if n == 0 && which != All {
		return 0, fmt.Errorf("%w for which %s is possible: %s", ErrNoMail, what, which)
	}
	return n, nil
}

// do does it, of a mail to several domains to the recipients in one (empty: to all).
func (q *Queue) do(what Action, e *entry, domain string) (bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := &e.mail
	if !e.there() || domain != "" && !slices.Contains(m.domains(), domain) {
		return false, nil
	}
	was := m.clone()
	undo := func(err error) (bool, error) { *m = was; return false, err }
	switch what {
	case Retry:
		if m.Held {
			return false, nil
		}
		for i := range m.Recipients {
			if domain == "" || domainOf(m.Recipients[i].To) == domain {
				m.Recipients[i].Next = time.Now()
			}
		}
		if err := q.spool.put(m); err != nil {
			return undo(err)
		}
		q.mu.Lock()
		for name, j := range e.jobs {
			if !j.busy && (domain == "" || name == domain) {
				j.to.dead = time.Time{}
				q.schedule(e, name, time.Now())
			}
		}
		q.mu.Unlock()
	case Hold:
		m.Held = true
		if err := q.spool.put(m); err != nil {
			return undo(err)
		}
		q.mu.Lock()
		q.unschedule(e, "")
		q.mu.Unlock()
	case Release:
		if !m.Held {
			return false, nil
		}
		m.Held = false
		for i := range m.Recipients {
			m.Recipients[i].Next = time.Now()
		}
		if err := q.spool.put(m); err != nil {
			return undo(err)
		}
		q.begin(e)
	case Drop:
		m.Recipients = slices.DeleteFunc(slices.Clone(m.Recipients), func(r Recipient) bool {
			return domain == "" || domainOf(r.To) == domain
		})
		if len(m.Recipients) == 0 {
			q.done(e)
			break
		}
		if err := q.spool.put(m); err != nil {
			return undo(err)
		}
		q.mu.Lock()
		q.unschedule(e, domain)
		q.mu.Unlock()
	default:
		return false, fmt.Errorf("queue: %q is nothing that can be done with a mail", what)
	}
	q.Log.Info("an administrator's command", "command", string(what), "msg_id", m.ID, "domain", domain)
	return true, nil
}
