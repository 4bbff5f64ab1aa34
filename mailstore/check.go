// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/cockroachdb/pebble/v2"
)

// maxProblems is how many problems a check lists; it counts them all.
const maxProblems = 1000

// Problem is one thing that Check found.
type Problem struct {
	Login   string `json:"login,omitempty"`
	Mailbox string `json:"mailbox,omitempty"`
	UID     uint32 `json:"uid,omitempty"`
	What    string `json:"what"`
}

func (p Problem) String() string {
	where := ""
	if p.Login != "" {
		where = p.Login
		if p.Mailbox != "" {
			where += " " + p.Mailbox
		}
		if p.UID != 0 {
			where += fmt.Sprintf(" UID %d", p.UID)
		}
		where += ": "
	}
	return where + p.What
}

// Report is the result of Check.
type Report struct {
	Accounts  int       `json:"accounts"`
	Mailboxes int       `json:"mailboxes"`
	Messages  int       `json:"messages"`
	Octets    int64     `json:"octets"` // with CRLF line ends
	Problems  []Problem `json:"problems"`
	// Found is how many problems there are; Problems lists the first of them.
	Found int `json:"found"`
}

// Progress is told how many of how many messages were looked at.
type Progress func(done, all int)

type checker struct {
	s        *Store
	ctx      context.Context
	view     *pebble.Snapshot
	report   *Report
	progress Progress
	all      int
	shares   map[uint64]int    // messages of each shared body
	checked  map[uint64]string // shared bodies that were read; what was wrong
	files    map[uint64]bool   // named by a message
	owned    map[uint64]bool   // mailboxes of accounts
}

// Check reads every message as the store is now and compares it with its
// checksum, and all counts with what they count. It runs beside everything
// else. The error is only about checking itself; damage is in the report.
func (s *Store) Check(ctx context.Context, progress Progress) (*Report, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() // a store that closes waits for no check
	letGo := s.holdFiles()                   // bodies of the view stay
	defer letGo()
	view := s.db.NewSnapshot()
	defer view.Close()
	c := &checker{
		s: s, ctx: ctx, view: view, report: &Report{Problems: []Problem{}}, progress: progress,
		shares: make(map[uint64]int), checked: make(map[uint64]string), files: make(map[uint64]bool),
		owned: make(map[uint64]bool),
	}
	err := c.run()
	return c.report, err
}

func (c *checker) problem(p Problem) {
	if c.report.Found++; len(c.report.Problems) < maxProblems {
		c.report.Problems = append(c.report.Problems, p)
	}
}

type checkedAccount struct {
	login string
	boxes map[string]*mailbox
}

func (c *checker) run() error {
	var accounts []checkedAccount
	err := c.s.eachOf(c.view, keyAccount, func(key, value []byte) error {
		login := string(key[1:])
		id, _, err := decodeAccount(value)
		var boxes map[string]*mailbox
		if err == nil {
			boxes, err = c.s.loadMailboxes(c.view, id)
		}
		if err != nil {
			c.problem(Problem{Login: login, What: "the account cannot be read: " + err.Error()})
			return nil
		}
		accounts = append(accounts, checkedAccount{login, boxes})
		c.report.Accounts++
		for _, box := range boxes {
			c.all += int(box.count)
			c.owned[box.id] = true
		}
		return nil
	})
	if err != nil {
		c.problem(Problem{What: "the list of accounts cannot be read: " + err.Error()})
	}
	for _, a := range accounts {
		for _, box := range a.boxes {
			if err := c.mailbox(a.login, box); err != nil {
				return err
			}
		}
	}
	c.trash()
	c.sharing()
	c.bodies()
	return nil
}

func (c *checker) mailbox(login string, box *mailbox) error {
	c.report.Mailboxes++
	var sum counters
	sum.next = 1
	at := Problem{Login: login, Mailbox: box.name}
	look := func(uid uint32, m *message) bool {
		sum.take(m, 1)
		sum.next = uid + 1
		c.report.Messages++
		c.report.Octets += m.wireSize()
		if fault := c.body(m); fault != "" {
			c.problem(Problem{Login: login, Mailbox: box.name, UID: uid, What: fault})
		}
		if c.progress != nil {
			c.progress(c.report.Messages, c.all)
		}
		return c.ctx.Err() == nil
	}
	damaged := false
	err := c.s.scan(c.view, box.id, 0, math.MaxUint32, look, func(uid uint32, err error) {
		damaged = true
		c.problem(Problem{Login: login, Mailbox: box.name, UID: uid, What: "the index cannot be read: " + err.Error()})
	})
	if err != nil {
		damaged = true
		at.What = "a part of the index cannot be read: " + err.Error()
		c.problem(at)
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if damaged {
		return nil
	}
	if sum.count != box.count || sum.unseen != box.unseen || sum.octets != box.counters.octets {
		at.What = fmt.Sprintf("it counts %d messages, %d unseen, %d octets; there are %d, %d, %d",
			box.count, box.unseen, box.counters.octets, sum.count, sum.unseen, sum.octets)
		c.problem(at)
	}
	if sum.next > box.next {
		at.What = fmt.Sprintf("UIDNEXT is %d, and there is UID %d", box.next, sum.next-1)
		c.problem(at)
	}
	return nil
}

// body reads one body and says what is wrong with it.
func (c *checker) body(m *message) string {
	if m.file() {
		c.files[m.body] = true
	}
	if m.shared() {
		if c.shares[m.body]++; c.shares[m.body] > 1 {
			return c.checked[m.body]
		}
	}
	fault := c.read(m)
	if m.shared() {
		c.checked[m.body] = fault
	}
	return fault
}

func (c *checker) read(m *message) string {
	var octets int64
	var crc uint32
	if m.file() {
		f, err := c.s.fs.Open(c.s.bodyPath(m.body))
		if err != nil {
			return "its file cannot be read: " + err.Error()
		}
		defer f.Close()
		sum := crc32.New(castagnoli)
		if octets, err = io.Copy(sum, f); err != nil {
			return "its file cannot be read: " + err.Error()
		}
		crc = sum.Sum32()
	} else {
		for n := range chunks(m.octets) {
			found, err := c.s.get(c.view, chunkKey(m.body, n), func(v []byte) error {
				octets += int64(len(v))
				crc = crc32.Update(crc, castagnoli, v)
				return nil
			})
			if err != nil {
				return "its body cannot be read: " + err.Error()
			}
			if !found {
				return "a part of its body is missing"
			}
		}
	}
	switch {
	case octets != m.octets:
		return fmt.Sprintf("its body has %d octets instead of %d", octets, m.octets)
	case crc != m.crc:
		return "its body is damaged: the checksum differs"
	}
	return ""
}

// trash counts what removed mailboxes still hold of shared bodies and files.
func (c *checker) trash() {
	err := c.s.eachOf(c.view, keyTrash, func(key, _ []byte) error {
		box := idOf(key)
		c.owned[box] = true
		err := c.s.scan(c.view, box, 0, math.MaxUint32, func(_ uint32, m *message) bool {
			if m.shared() {
				c.shares[m.body]++
			}
			if m.file() {
				c.files[m.body] = true
			}
			return true
		}, nil)
		if err != nil {
			c.problem(Problem{What: "a removed mailbox cannot be read: " + err.Error()})
		}
		return nil
	})
	if err != nil {
		c.problem(Problem{What: "removed mailboxes cannot be read: " + err.Error()})
	}
}

// sharing compares how often bodies are shared with their counts.
func (c *checker) sharing() {
	err := c.s.eachOf(c.view, keyShares, func(key, value []byte) error {
		r := record{b: value}
		want, have := int(r.uvarint()), c.shares[idOf(key)]
		if want != have {
			c.problem(Problem{What: fmt.Sprintf("body %x counts %d messages and has %d", idOf(key), want, have)})
		}
		delete(c.shares, idOf(key))
		return nil
	})
	if err != nil {
		c.problem(Problem{What: "counts of shared bodies cannot be read: " + err.Error()})
	}
	for body := range c.shares {
		c.problem(Problem{What: fmt.Sprintf("shared body %x is not counted", body)})
	}
}

// bodies looks for messages and files that no mailbox has.
func (c *checker) bodies() {
	err := c.s.eachOf(c.view, keyFile, func(key, _ []byte) error {
		if !c.files[idOf(key)] {
			c.problem(Problem{What: fmt.Sprintf("file of body %x has no message", idOf(key))})
		}
		return nil
	})
	if err != nil {
		c.problem(Problem{What: "the list of files cannot be read: " + err.Error()})
	}
	// One seek a mailbox finds messages whose mailbox is gone.
	for from, more := []byte{keyMessage}, true; more; {
		more = false
		err := c.s.each(c.view, from, []byte{keyMessage + 1}, func(key, _ []byte) (enough bool, err error) {
			box := idOf(key)
			if !c.owned[box] {
				c.problem(Problem{What: fmt.Sprintf("messages of mailbox %d belong to no account", box)})
			}
			from, more = idKey(keyMessage, box+1), true
			return true, nil
		})
		if err != nil {
			c.problem(Problem{What: "the index of messages cannot be read: " + err.Error()})
			return
		}
	}
}
