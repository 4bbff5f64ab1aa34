// SPDX-License-Identifier: GPL-3.0-or-later

// Package mta stamps submitted mail: it gives every recipient a copy with the
// CHmail-* fields and their own link into the sender's chat.
//
// Target stands before another delivery target. Each RCPT starts a delivery
// of its own there, so that an unknown recipient is refused at once. Body asks
// presence for the port and the rooms for the links, and plans where the link
// goes (package stamp). Commit then delivers the copies, the first one alone and
// as many of the others at a time as the next target can take: where a store holds a
// transaction from Body to Commit (storage.imapsql on SQLite does), two at once would
// wait for each other for ever. So the buffer given to Body must live until Commit
// returns, as SMTP endpoints keep it.
package mta

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/mta/stamp"
	"github.com/chmail/chmail/presence"
)

// Limits and timeouts.
const (
	presenceTimeout = 50 * time.Millisecond // all that presence may delay a mail by
	rdnsTimeout     = 5 * time.Millisecond  // of it, for a reverse name that is still being looked up
	roomsTimeout    = 2 * time.Second       // for the rooms
	roomsBriefly    = 25 * time.Millisecond // the same, when they have just been silent for roomsTimeout
	roomsPause      = 5 * time.Second       // until a mail waits for roomsTimeout again
	maxRecipients   = 1000                  // a message; more are answered 452
	maxReferences   = 100                   // message IDs handed to the rooms; the newest are kept
	maxWaiting      = 64                    // calls into a hanging presence; more count as failed at once
	logEvery        = time.Minute
)

// OnceID begins the ID of a message that a mailbox takes once (chat.Letter.Once): publicity,
// which waits rather than to leave without its link. No ID that maddy makes begins so.
const OnceID = "once-"

// retryPauses are waited before each new try of a copy, once another copy of
// the message is out and the whole cannot be taken back.
var retryPauses = []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, time.Second}

var (
	messagesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_mta_messages_total",
		Help: "Submitted messages by outcome: stamped, header (no part could hold the link), unwanted," +
			" unstamped (rooms failed), deferred.",
	}, []string{"outcome"})
	presenceFailures = promauto.NewCounter(prometheus.CounterOpts{
		Name: "chmail_mta_presence_failures_total",
		Help: "Submitted messages that left without CHmail-Port because presence failed or took too long.",
	})
	copiesTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_mta_copies_total",
		Help: "Copies handed on, one a recipient, by outcome: delivered, retried, failed.",
	}, []string{"outcome"})
)

// Presence is what mta needs of presence.Directory.
type Presence interface {
	Renew(ctx context.Context, a presence.Address) error
	Grant(ctx context.Context, login string) (presence.Grant, error)
	Devices(ctx context.Context, login string) ([]presence.Device, error)
}

// Rooms finds or opens the room of a mail. chat.ErrUnwanted: the sender wants no links.
type Rooms interface {
	OpenFromMail(ctx context.Context, m chat.Mail) (chat.Opened, error)
}

// Target is a delivery target that stamps what it hands on.
type Target struct {
	Next     module.DeliveryTarget
	Presence Presence // nil: no CHmail-Port, no address kept
	Rooms    Rooms
	Host     string // CHmail-Host of a mail without a granted port
	Link     string // base of the links, without a slash at its end
	Require  bool   // defer a message whose room cannot be opened
	AtOnce   int    // copies of a message that are delivered at a time; 0: one
	Log      *slog.Logger
	Wording  Wording
	// Aliases says whether an address is another one of a login; may be nil.
	Aliases func(ctx context.Context, login, addr string) (bool, error)
	// Expand is whose mail an address is: the members of an alias, else itself; may be nil.
	Expand func(ctx context.Context, addr string) []string

	waiting  atomic.Int64 // calls into presence
	lastLog  atomic.Int64 // Unix nanoseconds
	failures atomic.Int64 // of presence since then
	silent   atomic.Int64 // when the rooms were silent for roomsTimeout, Unix nanoseconds; 0: they answer
}

// Start implements module.DeliveryTarget. What was not submitted by a login
// passes through untouched.
func (t *Target) Start(ctx context.Context, meta *module.MsgMetadata, mailFrom string) (module.Delivery, error) {
	if meta.Conn == nil || meta.Conn.AuthUser == "" {
		return t.Next.Start(ctx, meta, mailFrom)
	}
	return &delivery{t: t, meta: meta, from: mailFrom}, nil
}

// delivery is one submitted message. maddy calls its methods one at a time.
type delivery struct {
	t      *Target
	meta   *module.MsgMetadata // the caller's: checks may still set its flags
	from   string
	copies []*outgoing
	begun  atomic.Int64 // copies started, for their IDs

	header textproto.Header
	body   buffer.Buffer
	plan   *stamp.Plan       // nil: the body stays as it is
	stamp  stamp.Stamp       // without a URL
	tokens map[string]string // nil: not stamped
	room   string            // of the links
}

// linkName is what the log calls a link; empty: there is none.
func linkName(token string) string {
	if token == "" {
		return ""
	}
	return chat.LinkName(token)
}

// outgoing is one recipient's copy.
type outgoing struct {
	rcpt    string
	written string // the address that the client gave: of which rcpt is a member, or rcpt itself
	opts    smtp.RcptOptions
	meta    *module.MsgMetadata
	next    module.Delivery // nil when committed or aborted
	out     bool            // it is delivered
}

// AddRcpt implements module.Delivery. Every member of an alias is a recipient.
func (d *delivery) AddRcpt(ctx context.Context, rcpt string, opts smtp.RcptOptions) error {
	members := []string{rcpt}
	if d.t.Expand != nil {
		members = d.t.Expand(ctx, rcpt)
	}
	before := len(d.copies)
	for _, m := range members {
		if err := d.add(ctx, &outgoing{rcpt: m, written: rcpt, opts: opts}); err != nil {
			for _, c := range d.copies[before:] { // none rather than some
				d.abort(ctx, c.next)
			}
			d.copies = d.copies[:before]
			return err
		}
	}
	return nil
}

func (d *delivery) add(ctx context.Context, c *outgoing) error {
	if slices.ContainsFunc(d.copies, func(other *outgoing) bool { return other.rcpt == c.rcpt }) {
		return nil
	}
	if len(d.copies) == maxRecipients {
		return &exterrors.SMTPError{
			Code: 452, EnhancedCode: exterrors.EnhancedCode{4, 5, 3},
			Message: "Too many recipients, send the rest in another transaction", TargetName: targetName,
		}
	}
	if err := d.start(ctx, c); err != nil {
		return err
	}
	d.copies = append(d.copies, c)
	return nil
}

// start begins a copy's delivery at the next target.
func (d *delivery) start(ctx context.Context, c *outgoing) error {
	c.meta = d.meta.DeepCopy()
	c.meta.ID = d.meta.ID + "-" + strconv.FormatInt(d.begun.Add(1), 10)
	c.meta.OriginalRcpts = maps.Clone(d.meta.OriginalRcpts) // DeepCopy shares it
	next, err := d.t.Next.Start(ctx, c.meta, d.from)
	if err != nil {
		return err
	}
	if err := next.AddRcpt(ctx, c.rcpt, c.opts); err != nil {
		d.abort(ctx, next)
		return err
	}
	c.next = next
	return nil
}

// Body finds port, room and links and plans the stamp; nothing is handed on yet. Older
// stamps are taken out of what is quoted also where no new one comes.
func (d *delivery) Body(ctx context.Context, header textproto.Header, body buffer.Buffer) error {
	d.header, d.body = stamp.Clean(header), body
	outcome, opened, err := d.ask(ctx, header)
	var granted presence.Grant
	if outcome != "unwanted" { // it renews the sender's address, also while the rooms are silent
		granted = d.t.grant(ctx, d.meta.Conn)
	}
	if err != nil {
		return err
	}
	plan, err := stamp.Scan(header, body.Open, d.t.Link)
	if err != nil {
		return temporary("Internal error, try again later", err)
	}
	if outcome == "stamped" {
		if plan.Reason() != "" {
			outcome = "header"
			d.t.Log.Debug("no link in the text", "msg_id", d.meta.ID, "reason", plan.Reason())
		}
		login := d.meta.Conn.AuthUser
		d.tokens, d.room = opened.Invites, opened.Room
		d.stamp = stamp.Stamp{Login: login, Host: cmp.Or(granted.Host, d.t.Host), Port: granted.Port,
			SenderName: opened.Sender.Name, Lang: opened.Lang,
			Text: cmp.Or(opened.StampText, d.t.Wording.of(login, plan.Language(opened.Lang)))}
	}
	if d.tokens != nil || plan.Cuts() {
		d.plan = plan
	}
	messagesTotal.WithLabelValues(outcome).Inc()
	return nil
}

// ask finds the room and the links, and says what becomes of the message: "stamped",
// or why not.
func (d *delivery) ask(ctx context.Context, header textproto.Header) (string, chat.Opened, error) {
	if ok, reason := stamp.Wanted(header, d.from); !ok {
		d.t.Log.Debug("not stamped", "msg_id", d.meta.ID, "reason", reason)
		return "unwanted", chat.Opened{}, nil
	}
	login := d.meta.Conn.AuthUser
	mail := mailOf(header, login, d.copies)
	if from := mail.Sender.Addr; d.t.Aliases != nil && from != strings.ToLower(login) {
		var err error
		if mail.Alias, err = d.t.Aliases(ctx, login, from); err != nil {
			d.t.Log.Error("asking whose address it is", "err", err, "msg_id", d.meta.ID, "addr", from)
		}
	}
	opened, err := d.open(ctx, mail)
	switch {
	case err == nil:
		return "stamped", opened, nil
	case errors.Is(err, chat.ErrUnwanted):
		return "unwanted", opened, nil
	}
	d.t.Log.Error("opening the room of a mail", "err", err, "msg_id", d.meta.ID, "login", login)
	if d.t.Require || strings.HasPrefix(d.meta.ID, OnceID) {
		messagesTotal.WithLabelValues("deferred").Inc()
		return "deferred", opened, temporary("Chat is not available, try again later", err)
	}
	return "unstamped", opened, nil
}

// open asks the rooms for a link for every recipient.
func (d *delivery) open(ctx context.Context, mail chat.Mail) (chat.Opened, error) {
	var opened chat.Opened
	err := d.t.ask(ctx, func(ctx context.Context) (err error) {
		opened, err = d.t.Rooms.OpenFromMail(ctx, mail)
		return err
	})
	if err != nil {
		return opened, err
	}
	for _, c := range d.copies {
		if opened.Invites[c.rcpt] == "" {
			return opened, errors.New("mta: a recipient got no invite")
		}
	}
	return opened, nil
}

// Commit delivers the first copy, then the others, AtOnce of them at a time. While
// none is out, a failure stops the message as a whole, with the next target's own
// answer. After that a copy is tried again a few times; if it still fails, no other
// is begun and the client is told to send the message again: some recipients may
// then get it twice, but none gets nothing.
func (d *delivery) Commit(ctx context.Context) error {
	var working sync.WaitGroup
	var failed atomic.Pointer[error]
	slots := make(chan struct{}, max(1, d.t.AtOnce))
	for i, c := range d.copies {
		if i == 0 {
			if err := d.deliver(ctx, c); err != nil {
				copiesTotal.WithLabelValues("failed").Inc()
				_ = d.Abort(ctx) // each failure to abort is logged there
				return unspecified(err)
			}
			c.out = true
			copiesTotal.WithLabelValues("delivered").Inc()
			continue
		}
		slots <- struct{}{}
		working.Go(func() {
			err := errors.New("mta: delivering a copy panicked") // unless it comes back
			defer func() {
				if !c.out {
					failed.CompareAndSwap(nil, &err)
				}
				<-slots
			}()
			defer safely.Recover(d.t.Log, "delivering a copy")
			if failed.Load() == nil {
				err = d.persist(ctx, c)
				c.out = err == nil
			}
		})
	}
	working.Wait()
	err := failed.Load()
	if err == nil {
		return nil
	}
	var delivered, undelivered []string
	for _, c := range d.copies {
		if c.out {
			delivered = append(delivered, c.rcpt)
		} else {
			undelivered = append(undelivered, c.rcpt)
		}
	}
	_ = d.Abort(ctx)
	d.t.Log.Error("a message went to some of its recipients only", "err", *err,
		"msg_id", d.meta.ID, "delivered", delivered, "undelivered", undelivered)
	return temporary("Not delivered to every recipient, try again later", *err)
}

// persist delivers a copy, and tries it again a few times.
func (d *delivery) persist(ctx context.Context, c *outgoing) error {
	err := d.deliver(ctx, c)
	for _, pause := range retryPauses {
		if err == nil || !exterrors.IsTemporaryOrUnspec(err) || !wait(ctx, pause) {
			break
		}
		copiesTotal.WithLabelValues("retried").Inc()
		if err = d.start(ctx, c); err == nil {
			err = d.deliver(ctx, c)
		}
	}
	if err != nil {
		copiesTotal.WithLabelValues("failed").Inc()
		return err
	}
	copiesTotal.WithLabelValues("delivered").Inc()
	return nil
}

// deliver hands one copy on, whole.
func (d *delivery) deliver(ctx context.Context, c *outgoing) error {
	c.meta.Quarantine, c.meta.TLSRequireOverride = d.meta.Quarantine, d.meta.TLSRequireOverride
	next := c.next
	c.next = nil
	header, body, err := d.header.Copy(), d.body, error(nil)
	if d.plan != nil {
		s := d.stamp
		if d.tokens != nil {
			s.URL = d.t.Link + "/c/" + d.tokens[c.rcpt]
			header = stamp.Header(d.header, s)
		}
		body, err = stampedBody(d.body, d.plan.Copy(s))
	}
	if err == nil {
		err = next.Body(ctx, header, body)
	}
	if err == nil {
		if err = next.Commit(ctx); err == nil {
			d.t.Log.Info("handed on", "msg_id", c.meta.ID, "message_id", header.Get("Message-Id"), "login",
				d.meta.Conn.AuthUser, "rcpt", c.rcpt, "room", d.room, "link", linkName(d.tokens[c.rcpt]))
			return nil
		}
	}
	d.abort(ctx, next)
	return err
}

// Abort takes back every copy that is not out yet.
func (d *delivery) Abort(ctx context.Context) error {
	var first error
	for _, c := range d.copies {
		if c.next == nil {
			continue
		}
		if err := d.abort(ctx, c.next); err != nil && first == nil {
			first = err
		}
		c.next = nil
	}
	return first
}

func (d *delivery) abort(ctx context.Context, next module.Delivery) error {
	err := next.Abort(context.WithoutCancel(ctx))
	if err != nil {
		d.t.Log.Error("aborting a copy", "err", err, "msg_id", d.meta.ID)
	}
	return err
}

// grant renews both databases and returns the login's granted port, or none if
// they cannot say within presenceTimeout.
func (t *Target) grant(ctx context.Context, conn *module.ConnState) (none presence.Grant) {
	if t.Presence == nil {
		return none
	}
	ctx, cancel := context.WithTimeout(ctx, presenceTimeout)
	defer cancel()
	if t.waiting.Add(1) > maxWaiting {
		t.waiting.Add(-1)
		t.presenceFailed(presence.ErrUnavailable)
		return none
	}
	type answer struct {
		grant presence.Grant
		err   error
	}
	// The session may be over before a slow answer comes.
	seen := module.ConnState{AuthUser: conn.AuthUser, Hostname: conn.Hostname,
		RemoteAddr: conn.RemoteAddr, RDNSName: conn.RDNSName}
	// A goroutine, because the bound must hold for a store that does not obey
	// its context as well; waiting bounds how many there are.
	answers := make(chan answer, 1)
	go func() {
		defer t.waiting.Add(-1)
		grant, err := t.Presence.Grant(ctx, seen.AuthUser)
		if err == nil {
			grant.Host = t.hostOf(ctx, grant)
		}
		if seen.RemoteAddr != nil { // else the login did not write it now: publicity
			renewErr := t.Presence.Renew(ctx, addressOf(ctx, &seen))
			if err == nil && renewErr != nil {
				t.presenceFailed(renewErr) // the port is good all the same
			}
		}
		answers <- answer{grant, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil {
			return a.grant
		}
		t.presenceFailed(a.err)
	case <-ctx.Done():
		t.presenceFailed(ctx.Err())
	}
	return none
}

// hostOf is the host of a granted port: the login's own computer where others reach that at this port, else the relay.
func (t *Target) hostOf(ctx context.Context, g presence.Grant) string {
	devices, err := t.Presence.Devices(ctx, g.Login)
	if err != nil {
		return g.Host // the link leads to the relay in any case
	}
	for _, d := range devices {
		if d.Direct.IsValid() && int(d.Direct.Port()) == g.Port {
			return d.Direct.Addr().String()
		}
	}
	return g.Host
}

// presenceFailed counts a failure and logs at most once in logEvery.
func (t *Target) presenceFailed(err error) {
	presenceFailures.Inc()
	n := t.failures.Add(1)
	last, now := t.lastLog.Load(), time.Now().UnixNano()
	if now-last >= int64(logEvery) && t.lastLog.CompareAndSwap(last, now) {
		t.failures.Add(-n)
		t.Log.Error("renewing presence", "err", err, "failures", n)
	}
}

// addressOf is the first database's entry: the reverse name if it is known
// already, else what the client called itself.
func addressOf(ctx context.Context, conn *module.ConnState) presence.Address {
	a := presence.Address{Login: conn.AuthUser, Host: conn.Hostname, Source: presence.Submission, Seen: time.Now()}
	if tcp, ok := conn.RemoteAddr.(*net.TCPAddr); ok {
		a.IP = tcp.AddrPort().Addr().Unmap().WithZone("")
	} else if conn.RemoteAddr != nil {
		if ap, err := netip.ParseAddrPort(conn.RemoteAddr.String()); err == nil {
			a.IP = ap.Addr().Unmap().WithZone("")
		}
	}
	if conn.RDNSName != nil {
		ctx, cancel := context.WithTimeout(ctx, rdnsTimeout)
		defer cancel()
		if v, err := conn.RDNSName.GetContext(ctx); err == nil {
			if name, ok := v.(string); ok && name != "" {
				a.Host = name
			}
		}
	}
	return a
}

// wait pauses and reports whether the context still runs.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-time.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
