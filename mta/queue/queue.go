// SPDX-License-Identifier: GPL-3.0-or-later

// Package queue keeps outgoing mail on the disk until the servers of its recipients have
// taken it.
//
// Each mail is a file and a note beside it (spool.go). A mail's recipients in one domain
// are one job. A job that is due joins its domain's line; lanes, a few a domain, work the
// lines off. After each try the note is written anew, so that a process that is killed
// tries again only what it was in the middle of. A report to the sender has an ID that is
// made of the mail's, so that a mailbox takes it once.
package queue

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/safely"
)

// The defaults of Options.
const (
	DefaultLife         = 5 * 24 * time.Hour // RFC 5321 section 4.5.4.1: at least 4 to 5 days
	DefaultDelayNotice  = 4 * time.Hour
	DefaultParallel     = 64
	DefaultConcurrency  = 4
	DefaultRate         = 600
	DefaultMaxMails     = 100_000
	DefaultHardBounces  = 3
	DefaultSuppressDays = 90
)

const (
	firstPause  = 5 * time.Minute // what greylisting servers ask for
	longestWait = 2 * time.Hour
	laneMails   = 100              // that a lane sends before others have their turn
	sendTime    = 30 * time.Minute // for one mail
	noticeTime  = time.Minute
	lastWords   = 4 * time.Second // for the mails on their way when the server ends
	maxDomains  = 10_000          // remembered without a mail waiting
)

// Errors of Add and of the commands.
var (
	ErrFull     = errors.New("queue: it holds as many mails as it may")
	ErrTaken    = errors.New("queue: this mail is in the queue already")
	ErrNoMail   = errors.New("queue: there is no such mail in the queue")
	ErrNoNotice = errors.New("queue: the report cannot be delivered")
)

// Lane sends mails to one domain, one after the other, over one connection as long as
// that lasts.
type Lane interface {
	// Send returns one answer for each of the recipients.
	Send(ctx context.Context, m *Mail, to []Recipient, content *os.File) []Answer
	Close()
}

// Notice is a mail to the sender of another.
type Notice struct {
	ID      string // of this notice alone
	To      string
	Content []byte // header and body
	UTF8    bool
}

// Options make a Queue.
type Options struct {
	Folder string
	Host   string // of this server, for reports
	Domain string // reports come from MAILER-DAEMON@ it
	// Lane opens a lane to a domain; nil: nothing is sent (a command looks at the files).
	Lane func(domain string) Lane
	// Notify delivers a report; ErrNoNotice: it never can be. nil: none are sent.
	Notify func(context.Context, Notice) error
	// Delivered is told of each address that has a mail; may be nil.
	Delivered func(address string)

	Life, DelayNotice     time.Duration
	Parallel, Concurrency int // connections, in all and to one domain
	Rate                  int // mails a minute to one domain
	// Limits are those of particular domains.
	Limits       map[string]Limit
	MaxMails     int
	HardBounces  int // in a row, after which an address is suppressed; 0: never
	SuppressDays int

	Log *slog.Logger
}

// Limit is what one domain may be sent.
type Limit struct{ Concurrency, Rate int }

// Queue is a queue of outgoing mail.
type Queue struct {
	Options
	spool      spool
	suppressed *suppressed

	ctx    context.Context // until Close
	cancel context.CancelFunc
	last   context.Context // until lastWords after Close
	cut    context.CancelFunc
	lanes  sync.WaitGroup
	wake   chan struct{} // the first job may have changed

	mu      sync.Mutex
	mails   map[string]*entry
	later   jobs // that are not due
	domains map[string]*domain
	waiting []*domain // have due jobs, but all lanes are taken
	active  int       // lanes
}

// entry is a mail in the queue. Its mutex is held while the note is changed and written;
// Queue.mu may be taken under it, never the other way round.
type entry struct {
	mu   sync.Mutex
	mail Mail
	gone bool
	// By domain; of the Queue's mutex.
	jobs   map[string]*job
	trying map[string]bool // a lane has it
}

// job is a mail's recipients in one domain. It is of the Queue's mutex.
type job struct {
	entry *entry
	to    *domain
	at    time.Time
	index int // in the heap; -1: it is due, or held
	busy  bool
	// admitted: the rate of its domain has let it pass, at this time.
	admitted bool
}

type domain struct {
	name    string
	line    []*job // due
	active  int    // lanes
	pending bool   // in Queue.waiting
	next    time.Time
	dead    time.Time // until then no server of it is asked
	answer  Answer    // why
}

type jobs []*job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].at.Before(j[b].at) }
func (j jobs) Swap(a, b int) {
	j[a], j[b] = j[b], j[a]
	j[a].index, j[b].index = a, b
}
func (j *jobs) Push(x any) { x.(*job).index = len(*j); *j = append(*j, x.(*job)) }
func (j *jobs) Pop() any {
	last := (*j)[len(*j)-1]
	*j = (*j)[:len(*j)-1]
	last.index = -1
	return last
}

// Open reads the folder and begins to send.
func Open(o Options) (*Queue, error) {
	o.Life, o.DelayNotice = cmp.Or(o.Life, DefaultLife), cmp.Or(o.DelayNotice, DefaultDelayNotice)
	o.Parallel, o.Concurrency = cmp.Or(o.Parallel, DefaultParallel), cmp.Or(o.Concurrency, DefaultConcurrency)
	o.Rate, o.MaxMails = cmp.Or(o.Rate, DefaultRate), cmp.Or(o.MaxMails, DefaultMaxMails)
	o.SuppressDays = cmp.Or(o.SuppressDays, DefaultSuppressDays)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{Options: o, spool: spool{o.Folder}, wake: make(chan struct{}, 1),
		mails: map[string]*entry{}, domains: map[string]*domain{}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.last, q.cut = context.WithCancel(context.Background())
	err := q.spool.read(func(m *Mail) { q.begin(&entry{mail: *m}) },
		func(name string, err error) {
			q.Log.Error("a file of the queue cannot be read", "file", name, "err", err)
		})
	if err != nil {
		return nil, err
	}
	if q.suppressed, err = openSuppressed(o); err != nil {
		return nil, err
	}
	if n := len(q.mails); n > 0 {
		q.Log.Info("mails wait in the queue", "mails", n)
	}
	if o.Lane != nil {
		q.lanes.Go(q.run)
	}
	return q, nil
}

// Close begins no other try, gives those that run a short time, and leaves the mails
// where they are.
func (q *Queue) Close() error {
	q.cancel()
	timer := time.AfterFunc(lastWords, q.cut)
	q.lanes.Wait()
	timer.Stop()
	q.cut()
	return nil
}

// Add is the first step of taking a mail: it writes its content. Mail.ID is made another
// where a mail with this one waits already, unless once is true: then the mail is
// ErrTaken. Commit or Abort ends it.
func (q *Queue) Add(m Mail, content io.Reader, once bool) (*Adding, error) {
	e := &entry{mail: m}
	q.mu.Lock()
	if len(q.mails) >= q.MaxMails {
		q.mu.Unlock()
		return nil, ErrFull
	}
	for n := 2; q.mails[e.mail.ID] != nil; n++ {
		if once {
			q.mu.Unlock()
			return nil, ErrTaken
		}
		e.mail.ID = fmt.Sprintf("%s.%d", m.ID, n)
	}
	q.mails[e.mail.ID] = e // no jobs yet
	q.mu.Unlock()
	size, err := q.spool.write(e.mail.ID, content)
	if err != nil {
		q.forget(e)
		return nil, err
	}
	e.mu.Lock()
	e.mail.Size = size
	e.mu.Unlock()
	return &Adding{q, e}, nil
}

// Adding is a mail that is being taken.
type Adding struct {
	q *Queue
	e *entry
}

// Commit takes the mail: when it returns nil, the mail is on the disk and will be tried.
func (a *Adding) Commit() error {
	a.e.mu.Lock()
	defer a.e.mu.Unlock()
	m := &a.e.mail
	m.Arrived = time.Now()
	for i := range m.Recipients {
		m.Recipients[i].Next = m.Arrived
	}
	if err := a.q.spool.put(m); err != nil {
		a.Abort()
		return fmt.Errorf("queueing a mail: %w", err)
	}
	a.q.Log.Info("queued", "msg_id", m.ID, "message_id", m.MessageID, "login", m.Login, "from", m.From,
		"recipients", len(m.Recipients), "size", m.Size)
	a.q.begin(a.e)
	return nil
}

// Abort forgets the mail.
func (a *Adding) Abort() {
	if err := a.q.spool.remove(a.e.mail.ID); err != nil {
		a.q.Log.Error("removing a mail that was not taken", "msg_id", a.e.mail.ID, "err", err)
	}
	a.q.forget(a.e)
}

func (q *Queue) forget(e *entry) {
	q.mu.Lock()
	delete(q.mails, e.mail.ID)
	q.mu.Unlock()
}

// begin makes the jobs of a mail.
func (q *Queue) begin(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mails[e.mail.ID] = e
	e.jobs = map[string]*job{}
	if e.trying == nil { // else a lane may have it: it was held and is released
		e.trying = map[string]bool{}
	}
	if e.mail.Held {
		return
	}
	for _, name := range e.mail.domains() {
		q.schedule(e, name, e.mail.next(name))
	}
}

// next is when a domain is tried.
func (m *Mail) next(domain string) (first time.Time) {
	for _, r := range m.to(domain) {
		if first.IsZero() || r.Next.Before(first) {
			first = r.Next
		}
	}
	return first
}

// schedule says when a job is due. q.mu is held.
func (q *Queue) schedule(e *entry, name string, at time.Time) {
	j := e.jobs[name]
	if j == nil {
		d := q.domains[name]
		if d == nil {
			if len(q.domains) > maxDomains {
				q.tidy()
			}
			d = &domain{name: name}
			q.domains[name] = d
		}
		j = &job{entry: e, to: d, index: -1}
		e.jobs[name] = j
	} else if j.index < 0 && !j.busy {
		return // it is in line
	}
	j.at = at
	if j.index >= 0 {
		heap.Fix(&q.later, j.index)
	} else {
		j.busy = false
		heap.Push(&q.later, j)
	}
	if j.index == 0 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// tidy forgets domains without mail. q.mu is held.
func (q *Queue) tidy() {
	used := make(map[*domain]bool)
	for _, e := range q.mails {
		for _, j := range e.jobs {
			used[j.to] = true
		}
	}
	for name, d := range q.domains {
		if !used[d] && d.active == 0 {
			delete(q.domains, name)
		}
	}
}

// run moves jobs that are due into the lines of their domains.
func (q *Queue) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		q.mu.Lock()
		now := time.Now()
		for len(q.later) > 0 && !q.later[0].at.After(now) {
			j := heap.Pop(&q.later).(*job)
			j.to.line = append(j.to.line, j)
			q.open(j.to)
		}
		wait := time.Hour
		if len(q.later) > 0 {
			wait = time.Until(q.later[0].at)
		}
		q.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-q.ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

func (q *Queue) limit(name string) Limit {
	l := q.Limits[name]
	return Limit{cmp.Or(l.Concurrency, q.Concurrency), cmp.Or(l.Rate, q.Rate)}
}

// open opens a lane to a domain with a line, if there may be another. q.mu is held.
func (q *Queue) open(d *domain) {
	if len(d.line) == 0 || d.active >= q.limit(d.name).Concurrency || q.ctx.Err() != nil {
		return
	}
	if q.active >= q.Parallel {
		if !d.pending {
			d.pending = true
			q.waiting = append(q.waiting, d)
		}
		return
	}
	q.active++
	d.active++
	q.lanes.Go(func() { q.lane(d) })
}

// lane works off a domain's line.
func (q *Queue) lane(d *domain) {
	lane := q.Lane(d.name)
	defer lane.Close()
	for n := 0; ; n++ {
		j := q.pick(d, n < laneMails)
		if j == nil {
			return
		}
		func() {
			at := time.Now().Add(longestWait) // if it panics
			defer func() {
				q.mu.Lock()
				defer q.mu.Unlock()
				delete(j.entry.trying, d.name)
				switch {
				case j.entry.jobs[d.name] != j:
				case at.IsZero():
					delete(j.entry.jobs, d.name)
				default:
					q.schedule(j.entry, d.name, at)
				}
			}()
			defer safely.Recover(q.Log, "sending a mail")
			at = q.try(lane, j)
		}()
	}
}

// pick takes the first job of a domain's line; nil: the lane is over.
func (q *Queue) pick(d *domain, more bool) *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for more && q.ctx.Err() == nil && len(d.line) > 0 {
		j := d.line[0]
		d.line = d.line[1:]
		j.busy = true
		if j.entry.jobs[d.name] != j { // held or dropped meanwhile
			continue
		}
		now := time.Now()
		if j.entry.trying[d.name] { // it was held and released while a lane had it
			q.schedule(j.entry, d.name, now.Add(10*time.Second))
			continue
		}
		if !j.admitted {
			at := d.next
			d.next = later(at, now).Add(time.Minute / time.Duration(q.limit(d.name).Rate))
			if at.After(now) {
				q.schedule(j.entry, d.name, at)
				j.admitted = true
				continue
			}
		}
		j.admitted = false
		j.entry.trying[d.name] = true
		return j
	}
	q.active--
	d.active--
	for len(q.waiting) > 0 && q.active < q.Parallel { // before this domain has another lane
		first := q.waiting[0]
		q.waiting = q.waiting[1:]
		first.pending = false
		q.open(first)
	}
	q.open(d)
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause is how long the queue waits after so many tries.
func pause(tries int) time.Duration {
	return min(firstPause<<min(max(tries-1, 0), 10), longestWait)
}

// try tries a mail at a domain once, and says when to try again; zero: there is nothing
// left to do.
func (q *Queue) try(lane Lane, j *job) (next time.Time) {
	e, name := j.entry, j.to.name
	e.mu.Lock()
	if e.gone || e.mail.Held {
		e.mu.Unlock()
		return next
	}
	m := e.mail.clone()
	e.mu.Unlock()
	var to []Recipient
	for _, r := range m.to(name) {
		if !r.Failed {
			to = append(to, *r)
		}
	}
	answers := q.send(lane, j.to, &m, to)
	if q.last.Err() != nil && !slices.ContainsFunc(answers, Answer.OK) {
		return next // the server ends; the next one tries again
	}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return next
	}
	byAddress := make(map[string]Answer)
	for i, r := range to {
		byAddress[r.To] = answers[i]
	}
	var delivered []Recipient
	now := time.Now()
	rest := e.mail.Recipients[:0:0]
	for _, r := range e.mail.Recipients {
		a, tried := byAddress[r.To]
		if !tried {
			rest = append(rest, r)
			continue
		}
		if q.settle(&e.mail, &r, a, now) {
			delivered = append(delivered, r)
		} else {
			rest = append(rest, r)
		}
	}
	e.mail.Recipients = rest
	if len(delivered) > 0 && len(rest) > 0 {
		q.store(e) // before any report: what was delivered is not tried again
	}
	q.report(e, name, delivered, now)
	if len(e.mail.Recipients) == 0 {
		q.done(e)
		return next
	}
	q.store(e)
	return e.mail.next(name)
}

// send asks the domain's server, unless it could not be reached just now.
func (q *Queue) send(lane Lane, d *domain, m *Mail, to []Recipient) []Answer {
	if len(to) == 0 {
		return nil
	}
	all := func(a Answer) []Answer { return slices.Repeat([]Answer{a}, len(to)) }
	q.mu.Lock()
	dead, why := time.Now().Before(d.dead), d.answer
	q.mu.Unlock()
	if dead {
		return all(why)
	}
	content, err := os.Open(q.spool.path(m.ID, mailExt))
	if err != nil {
		return all(Answer{Code: 451, Enhanced: [3]int{4, 3, 0}, Text: "the mail cannot be read: " + err.Error()})
	}
	defer content.Close()
	ctx, cancel := context.WithTimeout(q.last, sendTime)
	defer cancel()
	answers := lane.Send(ctx, m, to, content)
	if answers[0].Unreached && !answers[0].Permanent() && q.last.Err() == nil {
		q.mu.Lock()
		d.dead, d.answer = time.Now().Add(firstPause/2), answers[0]
		q.mu.Unlock()
	}
	return answers
}

// settle notes an answer, and says whether the recipient has the mail.
func (q *Queue) settle(m *Mail, r *Recipient, a Answer, now time.Time) bool {
	r.Tries++
	r.Last, r.Answer = now, &a
	log := q.Log.With("msg_id", m.ID, "message_id", m.MessageID, "rcpt", r.To, "try", r.Tries,
		"server", a.Server, "ip", a.Address, "tls", a.TLS, "answer", a.String())
	if a.OK() {
		log.Info("delivered", "after", now.Sub(m.Arrived).Round(time.Second).String())
		q.suppressed.succeeded(r.To)
		if q.Delivered != nil {
			q.Delivered(r.To)
		}
		return true
	}
	over := m.Arrived.Add(q.Life)
	if a.Permanent() || !now.Before(over) {
		r.Failed, r.Next = true, now
		log.Info("failed for good")
		if a.Permanent() && a.Recipient {
			q.suppressed.failed(r.To, a, now)
		}
		return false
	}
	r.Next = now.Add(pause(r.Tries))
	if notice := m.Arrived.Add(q.DelayNotice); !r.Told && now.Before(notice) && r.Next.After(notice) {
		r.Next = notice
	}
	if r.Next.After(over) {
		r.Next = over
	}
	log.Info("deferred", "next", r.Next.UTC().Format(time.RFC3339))
	return false
}

// report tells the sender what is to be told of a domain's recipients, and takes those
// out of the mail that nothing more is to be done for. e.mu is held.
func (q *Queue) report(e *entry, name string, delivered []Recipient, now time.Time) {
	m := &e.mail
	var failed, delayed, relayed []Recipient
	for _, r := range delivered {
		if r.Answer.Relayed && r.wants("SUCCESS") {
			relayed = append(relayed, r)
		}
	}
	late := !now.Before(m.Arrived.Add(q.DelayNotice))
	for _, r := range m.to(name) {
		switch {
		case r.Failed:
			failed = append(failed, *r)
		case late && !r.Told && r.Tries > 0:
			r.Told = true
			delayed = append(delayed, *r)
		}
	}
	_ = q.notify(m, "relayed", relayed) // a courtesy, which is not worth a second try
	_ = q.notify(m, "delayed", delayed)
	if len(failed) == 0 {
		return
	}
	if err := q.notify(m, "failed", failed); err != nil && !errors.Is(err, ErrNoNotice) &&
		now.Before(m.Arrived.Add(2*q.Life)) {
		for _, r := range m.to(name) {
			if r.Failed {
				r.Next = now.Add(firstPause)
			}
		}
		return
	}
	m.Recipients = slices.DeleteFunc(m.Recipients, func(r Recipient) bool {
		return r.Failed && domainOf(r.To) == name
	})
}

// store writes a mail's note. e.mu is held.
func (q *Queue) store(e *entry) {
	if err := q.spool.put(&e.mail); err != nil {
		q.Log.Error("what became of a mail cannot be stored: some may get it twice", "msg_id", e.mail.ID, "err", err)
	}
}

// done takes a mail out. e.mu is held.
func (q *Queue) done(e *entry) {
	e.gone = true
	if err := q.spool.remove(e.mail.ID); err != nil {
		q.Log.Error("a mail that is done cannot be removed: some may get it twice", "msg_id", e.mail.ID, "err", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unschedule(e, "")
	delete(q.mails, e.mail.ID)
}

// unschedule takes a mail's jobs, or that of one domain, out of the heap; those in a line
// are no longer known. q.mu is held.
func (q *Queue) unschedule(e *entry, domain string) {
	for name, j := range e.jobs {
		if domain != "" && name != domain {
			continue
		}
		if j.index >= 0 {
			heap.Remove(&q.later, j.index)
		}
		delete(e.jobs, name)
	}
}
