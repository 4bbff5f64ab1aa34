// SPDX-License-Identifier: GPL-3.0-or-later

// Package publicity mails shops' campaigns to members who agreed, each with a link
// of their own that rings the shop, and reads what comes back.
//
// A member gets a campaign once. Its rows are in the database: a mail gets its
// Message-ID, which campaign and member alone decide, in the transaction that marks
// it as being handed over; then it is submitted; then the row becomes queued. When
// the process ends in between, the next one submits the same mail again under the
// same Message-ID, which the mail system takes once (Options.Submit). So nobody is
// left out and nobody gets it twice.
//
// Of several hosts one sends a campaign: it has a lease in the database, which another
// takes over when it was not renewed. What was cut off with the first is handed over
// again by the second.
//
// A restored backup knows less than was sent. Each batch has a mark in the database
// and, before a mail of the batch goes, in a file of the host (mark.go); campaigns are
// paused when the file has a mark that the database lacks.
package publicity

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/mall/store"
)

// Limits and pauses.
const (
	batch       = 100              // mails that are taken at a time
	atOnce      = 8                // of them are submitted at a time
	chooseBatch = 1000             // members who are chosen in one transaction
	campaigns   = 100              // that are sent side by side
	tick        = time.Second      // between looks for campaigns that are due
	submitLimit = 30 * time.Second // for one mail
	maxTries    = 8
	firstRetry  = time.Minute // doubled with each try
	lastRetry   = 4 * time.Hour
	rest        = 10 * time.Second // after a mail that the queue did not take
	lease       = 2 * time.Minute  // of a host that sends a campaign
	batchLimit  = time.Minute      // for the mails of a batch: well within the lease
	perStaff    = 30               // mails an hour for each of the staff who is there, with ByStaff
	enough      = 20               // mails until the share of failures says something
	tooMany     = 10               // of a hundred that failed stop a campaign
	softFor     = 7 * 24 * time.Hour
)

// Options of New.
type Options struct {
	Store *store.Store
	// Submit hands a mail to the mail system, as if its login had submitted it. It is
	// in the queue or in the mailbox when Submit returns nil. Letters have Once set.
	// A *chat.RefusedError is final, other errors are not.
	Submit func(ctx context.Context, l chat.Letter) error
	// Person is who a member is, out of their sealed fields.
	Person func(ctx context.Context, h store.Handing) (chat.Person, error)
	// Room is the room that a mail from an address opened, or empty; nil: talks are not
	// counted.
	Room func(ctx context.Context, from, messageID string) (string, error)
	Here func(ctx context.Context, shop string) int // how many of a shop's staff can be rung now

	Secret []byte // seals the links that unsubscribe, makes Message-IDs
	Base   string // of the mall's pages, without a slash at the end
	Domain string // of Message-IDs and bounces
	Mall   string // its name, for the footer
	Money  func(lang, currency string, amount int64) string
	Mark   string // path of the file of the last mark: MarkFile
	Now    func() time.Time
	Log    *slog.Logger
}

// Publicity sends campaigns.
type Publicity struct {
	opt   Options
	links seal.Key
	ids   seal.Key
	wake  chan struct{}
	mark  *mark            // of Run
	paces map[string]*pace // by campaign; Run's own
	batch int              // mails that are taken at a time
}

// pace says how many mails may go now.
type pace struct {
	had  float64 // mails that may go
	at   time.Time
	rest time.Time // until when none goes
	seen bool      // what was cut off was handed over again
}

// New returns a Publicity; Run sends.
func New(o Options) (*Publicity, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Publicity{opt: o, wake: make(chan struct{}, 1), paces: make(map[string]*pace), batch: batch}
	var err error
	if p.links, err = seal.Derive(o.Secret, "publicity links"); err == nil {
		p.ids, err = seal.Derive(o.Secret, "publicity mails")
	}
	if err != nil {
		return nil, fmt.Errorf("preparing publicity: %w", err)
	}
	return p, nil
}

// Wake makes Run look for campaigns at once.
func (p *Publicity) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run sends campaigns until ctx ends.
func (p *Publicity) Run(ctx context.Context) (err error) {
	if p.mark, err = openMark(p.opt.Mark); err != nil {
		return fmt.Errorf("starting publicity: %w", err)
	}
	defer p.mark.close()
	forgot := time.Time{}
	for ctx.Err() == nil {
		more := false
		func() {
			defer safely.Recover(p.opt.Log, "sending campaigns")
			more = p.round(ctx)
			if now := p.opt.Now(); now.Sub(forgot) > time.Hour {
				forgot = now
				err := errors.Join(p.opt.Store.ForgetSuppressions(ctx, now), p.opt.Store.ForgetMarks(ctx, now))
				if err != nil {
					p.opt.Log.Error("forgetting what is too old", "err", err)
				}
			}
		}()
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-time.After(tick):
		}
	}
	return nil
}

// compareMarks pauses all campaigns if the database is older than what was sent, or if
// this host cannot know. Otherwise the host notes what the others have sent.
func (p *Publicity) compareMarks(ctx context.Context) error {
	newest, has, err := p.opt.Store.SentMarks(ctx, p.mark.last)
	switch {
	case err != nil:
		return err
	case p.mark.new && newest != "", p.mark.last != "" && !has:
	case p.mark.new || newest > p.mark.last:
		return p.mark.write(newest)
	default:
		return nil
	}
	fresh := store.NewID()
	n, err := p.opt.Store.PauseRestored(ctx, fresh)
	if err != nil {
		return err
	}
	if n > 0 {
		p.opt.Log.Warn("the mall's database may be older than the mails that were sent: it or this host is new here."+
			" Campaigns are paused until their shops have looked at them", "campaigns", n)
	}
	return p.mark.write(fresh)
}

// round gives each campaign that is due a turn. more: at least one could go on at once.
func (p *Publicity) round(ctx context.Context) (more bool) {
	err := p.compareMarks(ctx)
	var due []store.Campaign
	if err == nil {
		due, err = p.opt.Store.DueCampaigns(ctx, p.mark.host, p.opt.Now(), campaigns)
	}
	if err != nil {
		if ctx.Err() == nil {
			p.opt.Log.Error("looking for campaigns", "err", err)
		}
		return false
	}
	p.forget(due)
	for _, c := range due {
		again, err := p.turn(ctx, c, p.opt.Now())                              // each may take a minute: the night may have begun
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrState) { // ErrState: it was paused meanwhile
			p.opt.Log.Error("sending a campaign", "campaign", c.ID, "err", err)
		}
		more = more || again && err == nil
	}
	return more
}

// forget drops the paces of campaigns that are not sent from here any more.
func (p *Publicity) forget(due []store.Campaign) {
	left := make(map[string]*pace, len(due))
	for _, c := range due {
		if q := p.paces[c.ID]; q != nil {
			left[c.ID] = q
		}
	}
	p.paces = left
}

// turn sends a batch of one campaign.
func (p *Publicity) turn(ctx context.Context, c store.Campaign, now time.Time) (more bool, err error) {
	q := p.paces[c.ID]
	if q == nil {
		q = &pace{had: 1, at: now}
		p.paces[c.ID] = q
	}
	if err := p.opt.Store.LeaseCampaign(ctx, c.Shop, c.ID, p.mark.host, now, now.Add(lease)); err != nil {
		return false, err
	}
	if !c.Chosen {
		for more := true; more; {
			if more, err = p.opt.Store.ChooseMembers(ctx, c.Shop, c.ID, now, chooseBatch); err != nil {
				return false, err
			}
		}
		now = p.opt.Now() // it may have taken long
		if err := p.opt.Store.LeaseCampaign(ctx, c.Shop, c.ID, p.mark.host, now, now.Add(lease)); err != nil {
			return false, err
		}
	}
	if !c.Night && AtNight(now) || now.Before(q.rest) {
		return false, nil
	}
	if !q.seen { // what another process was handing over
		cut, err := p.opt.Store.HandingMails(ctx, c.Shop, c.ID, now, p.batch)
		if err != nil {
			return false, err
		}
		if len(cut) > 0 {
			r, err := p.render(ctx, c)
			if err != nil {
				return false, err
			}
			q.seen = len(cut) < p.batch
			return true, p.handOver(ctx, r, q, cut)
		}
		q.seen = true
	}
	n := p.allowed(ctx, c, q, now)
	if n == 0 {
		return false, nil
	}
	r, err := p.render(ctx, c)
	if err != nil {
		return false, err
	}
	mark := store.NewID()
	id := func(member string) string { return p.mailID(c.ID, member) }
	taken, err := p.opt.Store.TakeMails(ctx, c.Shop, c.ID, now, n, id, mark)
	if err != nil {
		return false, err
	}
	if len(taken) == 0 {
		return false, p.opt.Store.FinishCampaign(ctx, c.Shop, c.ID)
	}
	if err := p.mark.write(mark); err != nil {
		q.seen = false
		return false, err
	}
	q.had -= float64(len(taken))
	return true, p.handOver(ctx, r, q, taken)
}

// allowed says how many mails of a campaign may go now.
func (p *Publicity) allowed(ctx context.Context, c store.Campaign, q *pace, now time.Time) int {
	perHour := float64(c.PerHour)
	if c.ByStaff {
		here := float64(p.opt.Here(ctx, c.Shop) * perStaff)
		if perHour == 0 || here < perHour {
			perHour = here
		}
		if here == 0 {
			return 0
		}
	}
	if perHour == 0 {
		return p.batch
	}
	q.refill(perHour/3600, max(1, perHour/60), now)
	return min(p.batch, int(q.had))
}

// refill adds what a second allows for the time since the last look.
func (q *pace) refill(perSecond, most float64, now time.Time) {
	q.had = min(most, q.had+perSecond*max(0, now.Sub(q.at).Seconds()))
	q.at = now
}

// handOver submits a batch and stores what became of it.
func (p *Publicity) handOver(ctx context.Context, r *renderer, q *pace, all []store.Handing) error {
	done := make([]store.HandedMail, len(all))
	slots := make(chan struct{}, atOnce)
	limited, cancel := context.WithTimeout(ctx, batchLimit)
	defer cancel()
	var working sync.WaitGroup
	for i, h := range all {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			defer safely.Recover(p.opt.Log, "handing over a mail")
			done[i] = p.one(limited, r, h)
		})
	}
	working.Wait()
	stored := done[:0]
	for _, d := range done {
		if d.Member == "" { // cut off: its state stays, and it is handed over again, later
			q.seen, q.rest = false, p.opt.Now().Add(rest)
			continue
		}
		if d.State == store.MailWaiting {
			q.rest = p.opt.Now().Add(rest)
		}
		stored = append(stored, d)
	}
	// What is in the queue is stored also while the server ends.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), submitLimit)
	defer cancel()
	if err := p.opt.Store.SaveHanded(ctx, r.campaign.Shop, r.campaign.ID, stored); err != nil {
		q.seen = false
		return err
	}
	return p.stopIfFailing(ctx, r.campaign.Shop, r.campaign.ID)
}

// one submits one mail.
func (p *Publicity) one(ctx context.Context, r *renderer, h store.Handing) store.HandedMail {
	if ctx.Err() != nil {
		return store.HandedMail{}
	}
	handed := store.HandedMail{Member: h.Member, State: store.MailQueued, At: p.opt.Now()}
	if !h.Agreed {
		// They took their consent back while the mail was cut off: it may be there.
		handed.State, handed.Reason = store.MailLeftOut, "no longer agreed"
		return handed
	}
	who, err := p.opt.Person(ctx, h)
	if err != nil {
		return p.failed(ctx, h, handed, fmt.Errorf("reading who they are: %w", err))
	}
	l := r.letter(r.mail(h.Member), who)
	l.MessageID, l.ReturnPath, l.Once = h.Mail, p.returnPath(h.Mail), true
	limited, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	if err := p.opt.Submit(limited, l); err != nil {
		return p.failed(ctx, h, handed, err)
	}
	if p.opt.Room != nil {
		if handed.Room, err = p.opt.Room(limited, r.shop.Addr, h.Mail); err != nil {
			p.opt.Log.Warn("looking for the room of a campaign's mail", "mail", h.Mail, "err", err)
		}
	}
	return handed
}

// failed says what becomes of a mail that was not taken.
func (p *Publicity) failed(ctx context.Context, h store.Handing, handed store.HandedMail, err error) store.HandedMail {
	var refused *chat.RefusedError
	switch {
	case errors.As(err, &refused):
		handed.State, handed.Reason = store.MailRefused, bounded(refused.Status+" "+refused.Text)
		if soft(refused.Status) {
			handed.Stop, handed.Until = true, handed.At.Add(softFor)
		}
		// Only the address is wrong for ever: all else may be this server's fault.
		handed.Stop = handed.Stop || strings.HasPrefix(refused.Status, "5.1.")
	case ctx.Err() != nil: // it may be there
		return store.HandedMail{}
	case h.Tries+1 >= maxTries:
		handed.State, handed.Reason = store.MailRefused, bounded("given up: "+err.Error())
		handed.Stop, handed.Until = true, handed.At.Add(softFor)
	default:
		p.opt.Log.Warn("a campaign's mail was not taken; it is tried again", "mail", h.Mail, "err", err)
		handed.State, handed.Reason = store.MailWaiting, bounded(err.Error())
		handed.At = handed.At.Add(min(lastRetry, firstRetry<<h.Tries))
	}
	return handed
}

// stopIfFailing stops a campaign of which too many mails failed.
func (p *Publicity) stopIfFailing(ctx context.Context, shop, campaign string) error {
	stopped, err := p.opt.Store.StopFailing(ctx, shop, campaign, enough, tooMany)
	if stopped {
		p.opt.Log.Warn("a campaign was stopped: too many of its mails failed", "campaign", campaign)
	}
	return err
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// mailID is the Message-ID of a campaign's mail to a member: an HMAC, so that nobody
// who did not have the mail can name it, since bounces are known by it.
func (p *Publicity) mailID(campaign, member string) string {
	return lowerBase32.EncodeToString(p.ids.Sum([]byte(campaign + " " + member))[:16]) + mailIDEnd + p.opt.Domain
}

const (
	mailIDEnd    = ".talk@"
	bouncePrefix = "bounce+"
)

// returnPath is the address that bounces of a mail come to (VERP).
func (p *Publicity) returnPath(mail string) string {
	local, _, _ := strings.Cut(mail, mailIDEnd)
	return bouncePrefix + local + "@" + p.opt.Domain
}

// MailOf returns the Message-ID of the mail whose bounces an address takes.
func (p *Publicity) MailOf(addr string) (string, bool) {
	local, domain, _ := strings.Cut(strings.ToLower(addr), "@")
	id, ok := strings.CutPrefix(local, bouncePrefix)
	if !ok || !strings.EqualFold(domain, p.opt.Domain) {
		return "", false
	}
	if raw, err := lowerBase32.DecodeString(id); err != nil || len(raw) != 16 {
		return "", false
	}
	return id + mailIDEnd + p.opt.Domain, true
}

// seoul is where the night rule is (Act on Promotion of Information and
// Communications Network Utilization, article 50 paragraph 3): UTC+9 without
// daylight saving.
var seoul = time.FixedZone("Asia/Seoul", 9*60*60)

// AtNight says whether it is between 21:00 and 08:00 in Korea.
func AtNight(now time.Time) bool {
	hour := now.In(seoul).Hour()
	return hour >= 21 || hour < 8
}
