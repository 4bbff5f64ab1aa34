// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/internal/safely"
)

const (
	firstLook = 10 * time.Minute // after the start, when the DNS of this machine is up
	eachLook  = 24 * time.Hour
	reminding = 7 * 24 * time.Hour
)

// daily looks every day at what changes without anybody changing it, certificates and the
// DNS, and mails the postmaster what is wrong: when that is something else than the day
// before, and every week while it stays.
type daily struct {
	find func(context.Context) config.Problems
	send func(ctx context.Context, subject, text string) error
	log  *slog.Logger

	told string
	when time.Time
}

// run ends with ctx.
func (d *daily) run(ctx context.Context) {
	next := time.NewTimer(firstLook)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			d.look(ctx)
			next.Reset(eachLook)
		}
	}
}

func (d *daily) look(ctx context.Context) {
	defer safely.Recover(d.log, "daily check")
	var text strings.Builder
	for _, p := range d.find(ctx) {
		d.log.Warn("the daily check found a problem", "problem", p.String())
		if !p.Passing {
			fmt.Fprintln(&text, p)
		}
	}
	if ctx.Err() != nil { // what was asked had no time to answer
		return
	}
	if text.String() == d.told && (d.told == "" || time.Since(d.when) < reminding) {
		return
	}
	subject, words := "CHmail: something should be looked at", text.String()
	if words == "" {
		subject, words = "CHmail: all is well again", "The daily check finds nothing any more.\n"
	}
	if err := d.send(ctx, subject, words+"\n`chmaild check` says it at any time.\n"); err != nil {
		d.log.Error("mailing the postmaster of the daily check", "err", err)
		return // again tomorrow
	}
	d.told, d.when = text.String(), time.Now()
}

// mailPostmaster sends a mail to the postmaster of the first domain.
func mailPostmaster(m *pipelineMailer, f *config.File) func(context.Context, string, string) error {
	return func(ctx context.Context, subject, text string) error {
		domains := f.MailDomains()
		if len(domains) == 0 {
			return errors.New("the configuration has no local_domains")
		}
		return m.Send(ctx, chat.ServerMail{
			To: chat.Person{Name: "Postmaster", Addr: "postmaster@" + domains[0]}, Subject: subject, Text: text})
	}
}

// lookDaily begins the daily checks, where a relay can mail what they find.
func (p *parts) lookDaily(ctx context.Context, f *config.File) {
	for _, m := range p.mods {
		relay, ok := m.Instance.(*Relay)
		if !ok || relay.mailer == nil {
			continue
		}
		d := &daily{
			find: func(ctx context.Context) config.Problems {
				found := append(f.Inspect(time.Now()), f.DNS(ctx, net.DefaultResolver)...)
				found.Sort()
				return found
			},
			send: mailPostmaster(relay.mailer, f), log: relay.log(),
		}
		go d.run(ctx)
		return
	}
}
