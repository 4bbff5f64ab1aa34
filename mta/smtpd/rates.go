// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-message/textproto"
	forksmtp "github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/time/rate"

	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/safely"
)

// rates bound what a client or a login does over its connections.
type rates struct {
	transactions *limit.Buckets // by client prefix
	unknown      *limit.Buckets // recipients that are not here, by client prefix
	mails        *limit.Buckets // by login
	recipients   *limit.Buckets // by login
	alarms       *limit.Buckets // by login
}

// Unknown recipients of a client prefix: so many at once, and then so many a minute.
const unknownBurst, unknownPerMinute = 200, 20

func newRates(o Options) rates {
	buckets := func(n int, every time.Duration) *limit.Buckets {
		return limit.NewBuckets(limit.Rate{Every: rate.Limit(float64(n) / every.Seconds()), Burst: n}, maxPrefixes)
	}
	return rates{
		transactions: buckets(o.Transactions, time.Minute),
		unknown: limit.NewBuckets(limit.Rate{Every: rate.Limit(unknownPerMinute / 60.0), Burst: unknownBurst},
			maxPrefixes),
		mails:      buckets(o.SentMails, time.Hour),
		recipients: buckets(o.SentRecipients, time.Hour),
		alarms:     buckets(1, time.Hour),
	}
}

func prefixKey(ip netip.Addr) string { return limit.Prefix(ip).String() }

// inWords is a wait as a person reads it.
func inWords(d time.Duration) string {
	if d < time.Minute {
		return strconv.Itoa(int((d+time.Second-1)/time.Second)) + " s"
	}
	return strconv.Itoa(int((d+time.Minute-1)/time.Minute)) + " min"
}

// tooMuch answers a login that has sent all it may, and tells the postmaster.
func (s *Server) tooMuch(login, what string, bound int, wait time.Duration) error {
	s.opts.Log.Info("a login has sent all that it may for now", "login", login, "bound", what, "an hour", bound)
	if s.rates.alarms.Wait(login) == 0 {
		s.running.Go(func() {
			defer safely.Recover(s.opts.Log, "smtp alarm")
			if err := s.tellPostmaster(login, what, bound); err != nil {
				s.opts.Log.Error("telling the postmaster of a login that sends too much", "err", err, "login", login)
			}
		})
	}
	return refusal(452, 4, 7, 1, fmt.Sprintf("You may send %d %s an hour, which is reached: try again in %s",
		bound, what, inWords(wait)))
}

// tellPostmaster mails the postmaster of a login's domain, who may not know yet that
// somebody has the password.
func (s *Server) tellPostmaster(login, what string, bound int) error {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	_, domain, ok := strings.Cut(login, "@")
	if !ok {
		domain = s.opts.Hostname
	}
	id, err := module.GenerateMsgID()
	if err != nil {
		return err
	}
	to := "postmaster@" + domain
	meta := &module.MsgMetadata{ID: id, Conn: &module.ConnState{}} // the pipeline wants to know of one
	d, err := s.opts.Target.Start(ctx, meta, "")
	if err != nil {
		return err
	}
	var header textproto.Header
	for _, f := range [][2]string{
		{"Content-Type", "text/plain; charset=utf-8"}, {"MIME-Version", "1.0"}, {"Auto-Submitted", "auto-generated"},
		{"Message-Id", "<" + id + "." + strconv.FormatInt(time.Now().UnixNano(), 36) + "@" + s.opts.Hostname + ">"},
		{"Date", time.Now().Format(time.RFC1123Z)},
		{"Subject", oneLine(login) + " has sent as many " + what + " as it may"},
		{"To", to}, {"From", "Mail server <" + to + ">"},
	} {
		header.Add(f[0], f[1]) // each goes on top
	}
	var body bytes.Buffer
	fmt.Fprintf(&body, "%s has sent %d %s within an hour, which is the most a login may.\r\n"+
		"Further ones are refused until the hour is over. If nobody meant to send so much,\r\n"+
		"somebody else may know the password: set another one with\r\n\r\n    chmaild user passwd %s\r\n",
		oneLine(login), bound, what, oneLine(login))
	if err = d.AddRcpt(ctx, to, forksmtp.RcptOptions{}); err == nil {
		if err = d.Body(ctx, header, buffer.MemoryBuffer{Slice: body.Bytes()}); err == nil {
			err = d.Commit(ctx)
		}
	}
	if err != nil {
		_ = d.Abort(ctx) // the first error says it
	}
	return err
}

// oneLine keeps a text from ending its line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, s)
}
