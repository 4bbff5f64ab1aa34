// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
)

// DefaultUnreadAfter is how long words may be unread before they are mailed.
const DefaultUnreadAfter = 5 * time.Minute

// UnreadStore is what a Postman uses of the rooms' database.
type UnreadStore interface {
	// Unread returns some who have not read words that are older than wait, those after a participant ID.
	Unread(ctx context.Context, wait time.Duration, after int64) ([]chat.Unread, error)
	// TakeUnread reserves the mail of their words, after one offset up to another: of several relays one gets it, once.
	TakeUnread(ctx context.Context, relay string, u chat.Unread) (after, last int64, taken bool, err error)
	// SentUnread notes that they have got the words up to offset, by a mail or otherwise.
	SentUnread(ctx context.Context, participant, offset int64, mailed bool) error
	TranscriptPreferences(ctx context.Context, roomID string) ([]chat.TranscriptPreference, error)
	Language(ctx context.Context, p chat.Person) (string, error)
	Info(ctx context.Context, roomID string) (chat.Info, error)
	Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
}

// PostmanOptions are what StartPostman needs.
type PostmanOptions struct {
	Store   UnreadStore
	Mailer  Mailer
	Relay   string        // this relay host; empty: no other uses the store
	WebBase string        // origin of the pages, with which links begin
	Sealer  *Sealer       // nil: the mails cannot be answered
	After   time.Duration // words may be unread for so long
	// To are the addresses at which a participant gets unread words now: none while they are here, several of a group.
	To func(ctx context.Context, info chat.Info, of chat.Participant) []string
	// Hears says whether what one participant says is for the other: neither has blocked the other.
	Hears func(ctx context.Context, speaker, reader chat.Participant) (bool, error)
	// Callee is whom a participant reaches by a link into the room.
	Callee func(info chat.Info, of chat.Participant) int64
	Log    *slog.Logger // nil: nothing is logged
}

// Postman mails people what was said in their rooms since they left: one mail for all that is unread.
type Postman struct {
	opt   PostmanOptions
	ctx   context.Context
	stop  context.CancelFunc
	owned sync.WaitGroup
}

// StartPostman returns a postman who runs until Close.
func StartPostman(opt PostmanOptions) *Postman {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	p := &Postman{opt: opt}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.owned.Go(p.run)
	return p
}

// Close ends what is under way and returns when the postman's goroutine has ended. What was not sent is sent by who
// looks next.
func (p *Postman) Close() {
	if p != nil {
		p.stop()
		p.owned.Wait()
	}
}

func (p *Postman) run() {
	look := time.NewTicker(max(min(quietEvery, p.opt.After/4), time.Millisecond))
	defer look.Stop()
	for {
		select {
		case <-look.C:
			p.round()
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *Postman) round() {
	defer safely.Recover(p.opt.Log, "unread words")
	for after := int64(0); ; {
		ctx, cancel := context.WithTimeout(p.ctx, queryTimeout)
		list, err := p.opt.Store.Unread(ctx, p.opt.After, after)
		cancel()
		p.warn("looking for unread words", "", err)
		if len(list) == 0 {
			return
		}
		for _, u := range list {
			after = u.Participant
			p.one(u)
		}
	}
}

// one mails one participant.
func (p *Postman) one(u chat.Unread) {
	defer safely.Recover(p.opt.Log, "unread words") // the others go on
	ctx, cancel := context.WithTimeout(p.ctx, sendTimeout)
	defer cancel()
	if err := p.send(ctx, u); err != nil {
		unreadTotal.WithLabelValues("failed").Inc()
		p.warn("mailing unread words, will try again", u.Room, err)
	}
}

func (p *Postman) warn(doing, roomID string, err error) {
	if err != nil && p.ctx.Err() == nil {
		p.opt.Log.Warn(doing, "room", roomID, "err", err)
	}
}

func (p *Postman) send(ctx context.Context, u chat.Unread) error {
	info, err := p.opt.Store.Info(ctx, u.Room)
	if err != nil {
		return err
	}
	reader := info.Participant(u.Participant)
	to := p.opt.To(ctx, info, reader)
	if len(to) == 0 {
		return nil // they are here
	}
	after, last, taken, err := p.opt.Store.TakeUnread(ctx, p.opt.Relay, u)
	if err != nil || !taken {
		return err
	}
	t, err := p.read(ctx, info, reader, after, last)
	if err != nil {
		return err
	}
	var failed error
	sent := 0
	for _, addr := range to {
		if t.Unread == 0 {
			break
		}
		m, err := letters{p.opt.Store, p.opt.WebBase, p.opt.Sealer, p.opt.Callee}.write(ctx, info, reader, addr, t)
		if err == nil {
			err = p.opt.Mailer.Send(ctx, m)
		}
		if err != nil {
			failed = err
			continue
		}
		sent++
		unreadTotal.WithLabelValues("sent").Inc()
	}
	if failed != nil && sent == 0 {
		return failed
	}
	if failed != nil { // the others of a group have theirs, and get no second one
		p.warn("mailing unread words", u.Room, failed)
	}
	return p.opt.Store.SentUnread(ctx, u.Participant, last, t.Unread > 0)
}

// read is the mail of what others said, after one offset up to another.
func (p *Postman) read(
	ctx context.Context, info chat.Info, reader chat.Participant, after, last int64,
) (t Transcript, err error) {
	t = Transcript{Subject: info.Subject}
	wishes, err := p.opt.Store.TranscriptPreferences(ctx, info.ID)
	if err != nil {
		return t, err
	}
	if i := slices.IndexFunc(wishes, func(w chat.TranscriptPreference) bool { return w.Participant == reader.ID }); i >= 0 {
		t.Lang, t.Zone = wishes[i].Lang, zone(wishes[i].Zone)
	}
	if t.Lang == "" {
		if t.Lang, err = p.opt.Store.Language(ctx, reader.Person); err != nil {
			return t, err
		}
	}
	names, heard := namesOf(info), map[int64]bool{}
	t.Earlier = int(max(0, last-maxLines-after))
	for after = max(after, last-maxLines); after < last; {
		page, err := p.opt.Store.Messages(ctx, info.ID, after, readPage)
		if err != nil || len(page) == 0 {
			return t, err
		}
		for _, m := range page {
			if after = m.Offset; after > last {
				break
			}
			said := (m.Kind == chat.KindText || m.Kind == chat.KindFile) && !m.Deleted
			if !said || m.From == reader.ID || m.From == 0 {
				continue
			}
			hears, known := heard[m.From]
			if !known {
				if hears, err = p.opt.Hears(ctx, info.Participant(m.From), reader); err != nil {
					return t, err
				}
				heard[m.From] = hears
			}
			if l, ok := t.lineOf(m, names); ok && hears {
				t.Lines = append(t.Lines, l)
				t.Unread++
			}
		}
	}
	for _, l := range t.Lines {
		if !slices.Contains(t.People, l.Name) {
			t.People = append(t.People, l.Name)
		}
	}
	return t, nil
}
