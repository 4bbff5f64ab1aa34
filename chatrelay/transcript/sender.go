// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/words"
)

// Times of sending.
const (
	DefaultLeftFor = 2 * time.Minute
	lookMost       = 10 * time.Second    // between looks at the rooms that everybody has left
	quietEvery     = time.Minute         // between looks for rooms that have been quiet
	sendTimeout    = time.Minute         // writing and sending the transcripts of one room
	queryTimeout   = 10 * time.Second    // looking for rooms
	replyLife      = 90 * 24 * time.Hour // a transcript can be answered for so long
	readPage       = 100                 // messages read at a time
	maxQuote       = 200                 // characters of a message that another one answers
	maxLeft        = 20000               // rooms remembered that everybody has left; others wait for the silence
)

// Store is what a Sender uses of the rooms' database.
type Store interface {
	// QuietRooms returns rooms with a transcript to be sent in which nothing was
	// said since before.
	QuietRooms(ctx context.Context, before time.Time) ([]string, error)
	// TakeTranscripts reserves the transcripts of a room, up to the offset last:
	// of several relays one gets each. A reservation ends after ten minutes.
	TakeTranscripts(ctx context.Context, relay, roomID string) (list []chat.TranscriptPreference, last int64, err error)
	// SentTranscript notes that a participant has got what there is up to offset.
	SentTranscript(ctx context.Context, participant, offset int64) error
	Info(ctx context.Context, roomID string) (chat.Info, error)
	Messages(ctx context.Context, roomID string, after int64, limit int) ([]chat.Message, error)
	NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
}

// Mailer sends a mail; nil means that the mail was accepted.
type Mailer interface {
	Send(ctx context.Context, m chat.ServerMail) error
}

// SenderOptions are what StartSender needs.
type SenderOptions struct {
	Store   Store
	Mailer  Mailer
	Relay   string        // this relay host; empty: no other uses the store
	WebBase string        // origin of the pages, with which links begin
	Sealer  *Sealer       // nil: transcripts cannot be answered
	LeftFor time.Duration // everybody has left for so long: the conversation is over; 0: DefaultLeftFor
	Silence time.Duration // or nothing was said for so long; 0: chat.Silence
	// Occupied says whether somebody is in a room, here or perhaps at another
	// relay.
	Occupied func(ctx context.Context, roomID string) bool
	// Callee is whom a participant reaches by a link into the room.
	Callee func(info chat.Info, of chat.Participant) int64
	// Usual is what a login wants of all rooms; may be nil.
	Usual func(ctx context.Context, login string) (w chat.TranscriptPreference, known bool)
	Log   *slog.Logger // nil: nothing is logged
}

// Sender mails transcripts: when everybody has left a room, or nothing was said
// in it for long.
type Sender struct {
	opt   SenderOptions
	ctx   context.Context
	stop  context.CancelFunc
	owned sync.WaitGroup

	mu   sync.Mutex
	left map[string]time.Time // rooms that everybody has left, and when
}

// StartSender returns a sender that runs until Close.
func StartSender(opt SenderOptions) *Sender {
	if opt.LeftFor == 0 {
		opt.LeftFor = DefaultLeftFor
	}
	if opt.Silence == 0 {
		opt.Silence = chat.Silence
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{opt: opt, left: map[string]time.Time{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.owned.Go(s.run)
	return s
}

// Close ends what is under way and returns when the sender's goroutine has
// ended. What was not sent is sent by whoever looks for quiet rooms next.
func (s *Sender) Close() {
	if s != nil {
		s.stop()
		s.owned.Wait()
	}
}

// Left notes that everybody has left a room. It never waits.
func (s *Sender) Left(roomID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) < maxLeft {
		s.left[roomID] = time.Now()
	}
}

func (s *Sender) run() {
	look := time.NewTicker(max(min(lookMost, s.opt.LeftFor/2), time.Millisecond))
	defer look.Stop()
	var looked time.Time
	for {
		select {
		case <-look.C:
			for _, id := range s.leftBefore(time.Now().Add(-s.opt.LeftFor)) {
				s.sendLeft(id)
			}
			if time.Since(looked) >= min(quietEvery, s.opt.Silence/2) {
				looked = time.Now()
				s.sendQuiet()
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// leftBefore are the rooms that everybody left before then; they are forgotten.
func (s *Sender) leftBefore(then time.Time) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, since := range s.left {
		if since.Before(then) {
			delete(s.left, id)
			list = append(list, id)
		}
	}
	return list
}

// sendLeft sends the transcripts of a room that everybody has left, unless
// somebody has come back.
func (s *Sender) sendLeft(roomID string) {
	defer safely.Recover(s.opt.Log, "transcript")
	ctx, cancel := context.WithTimeout(s.ctx, queryTimeout)
	occupied := s.opt.Occupied(ctx, roomID)
	cancel()
	if !occupied {
		s.sendRoom(roomID)
	}
}

// sendQuiet sends the transcripts of rooms in which nothing was said for so
// long, also of those that were live when a relay ended.
func (s *Sender) sendQuiet() {
	defer safely.Recover(s.opt.Log, "transcript")
	ctx, cancel := context.WithTimeout(s.ctx, queryTimeout)
	list, err := s.opt.Store.QuietRooms(ctx, time.Now().Add(-s.opt.Silence))
	cancel()
	s.warn("looking for transcripts to send", "", err)
	for _, id := range list {
		s.sendRoom(id)
	}
}

// sendRoom mails what is new in a room to everybody who wants it. What has been
// sent is noted in the store, one by one.
func (s *Sender) sendRoom(roomID string) {
	defer safely.Recover(s.opt.Log, "transcript") // the other rooms go on
	ctx, cancel := context.WithTimeout(s.ctx, sendTimeout)
	defer cancel()
	list, last, err := s.opt.Store.TakeTranscripts(ctx, s.opt.Relay, roomID)
	var info chat.Info
	if err == nil && len(list) > 0 {
		info, err = s.opt.Store.Info(ctx, roomID)
	}
	if err != nil {
		s.warn("writing transcripts", roomID, err)
		return
	}
	for _, w := range list {
		result := "sent"
		sent, err := s.send(ctx, info, w, last)
		if err == nil {
			err = s.opt.Store.SentTranscript(ctx, w.Participant, last)
		}
		switch {
		case err != nil:
			result = "failed"
			s.warn("sending a transcript, will try again", roomID, err)
		case !sent:
			result = "empty"
		}
		transcriptsTotal.WithLabelValues(result).Inc()
	}
}

func (s *Sender) warn(doing, roomID string, err error) {
	if err != nil && s.ctx.Err() == nil {
		s.opt.Log.Warn(doing, "room", roomID, "err", err)
	}
}

// send mails one person what was said after their last transcript, up to the
// offset last; false: that was nothing.
func (s *Sender) send(ctx context.Context, info chat.Info, w chat.TranscriptPreference, last int64) (bool, error) {
	to := info.Participant(w.Participant)
	if w.Usual && s.opt.Usual != nil {
		if usual, known := s.opt.Usual(ctx, to.Login); !known || !usual.On {
			return false, nil // the person has switched transcripts off meanwhile
		}
	}
	if !strings.Contains(to.Addr, "@") {
		return false, nil
	}
	t := Transcript{Subject: info.Subject, Lang: w.Lang, Zone: zone(w.Zone)}
	names := namesOf(info)
	for _, p := range chat.Listed(info.Participants, to.ID) {
		t.People = append(t.People, names[p.ID])
	}
	said, err := s.read(ctx, &t, info.ID, to.ID, names, max(w.Sent, last-maxLines), last)
	if err != nil || said == 0 {
		return false, err
	}
	t.Earlier = int(max(0, last-maxLines-w.Sent))
	m, err := letters{s.opt.Store, s.opt.WebBase, s.opt.Sealer, s.opt.Callee}.write(ctx, info, to, to.Addr, t)
	if err != nil {
		return false, err
	}
	return true, s.opt.Mailer.Send(ctx, m)
}

// letters write mails of what was said, with a link of the reader's own.
type letters struct {
	store interface {
		NewInvite(ctx context.Context, roomID string, recipient, callee int64, subject string) (string, error)
	}
	webBase string
	sealer  *Sealer
	callee  func(info chat.Info, of chat.Participant) int64
}

// write makes a mail to an address that stands for a participant.
func (l letters) write(
	ctx context.Context, info chat.Info, as chat.Participant, addr string, t Transcript,
) (m chat.ServerMail, err error) {
	callee := l.callee(info, as)
	if callee == 0 {
		callee = info.Owner
	}
	token, err := l.store.NewInvite(ctx, info.ID, as.ID, callee, info.Subject)
	if err != nil {
		return m, err
	}
	t.Link = l.webBase + "/c/" + token
	for i := range t.Lines {
		for k := range t.Lines[i].Files {
			t.Lines[i].Files[k].URL = t.Link // where it can be opened, once they have come in
		}
	}
	m.To = as.Person
	if m.To.Addr = addr; addr != as.Addr {
		m.To.Name = ""
	}
	if t.Unread > 0 {
		t.Stop = t.Link + "/stop"
		m.Stop = t.Stop
	}
	if m.Subject, m.Text, m.HTML, err = t.Compose(); err != nil {
		return m, err
	}
	if l.sealer != nil {
		m.ReplyTo, err = l.sealer.Seal(Address{Room: info.ID, Participant: as.ID, Expires: time.Now().Add(replyLife)})
	}
	return m, err
}

// read adds the lines after one offset, up to another, and counts the messages
// of people among them. What the reader answered by mail does not count: a
// transcript of nothing else would tell the reader nothing, and a machine that
// answers it would get another one for ever.
func (s *Sender) read(ctx context.Context, t *Transcript, roomID string, reader int64, names map[int64]string,
	after, last int64) (said int, err error) {
	for after < last {
		page, err := s.opt.Store.Messages(ctx, roomID, after, readPage)
		if err != nil || len(page) == 0 {
			return said, err
		}
		for _, m := range page {
			if after = m.Offset; after > last {
				break
			}
			answered := m.From == reader && m.Via == chat.ViaMail
			if (m.Kind == chat.KindText || m.Kind == chat.KindFile) && !m.Deleted && !answered {
				said++
			}
			l, ok := t.lineOf(m, names)
			if ok && l.Name != "" && m.Ref != 0 && !m.Deleted {
				if l.Quote, err = s.quote(ctx, *t, roomID, m.Ref, names); err != nil {
					return said, err
				}
			}
			if ok {
				t.Lines = append(t.Lines, l)
			}
		}
	}
	return said, nil
}

// quote is a message that another one answers, in one line.
func (s *Sender) quote(
	ctx context.Context, t Transcript, roomID string, ref int64, names map[int64]string,
) (string, error) {
	list, err := s.opt.Store.Messages(ctx, roomID, ref-1, 1)
	if err != nil || len(list) == 0 || list[0].Offset != ref {
		return "", err
	}
	l, ok := t.lineOf(list[0], names)
	switch {
	case !ok:
		return "", nil
	case l.Deleted:
		l.Text = words.In(t.Lang).Say("transcript.deleted")
	case l.Text == "" && len(l.Files) > 0:
		l.Text = l.Files[0].Name
	}
	line := clean.Line(l.Name+": "+l.Text, maxQuote, 4*maxQuote)
	if utf8.RuneCountInString(line) == maxQuote {
		line += "…"
	}
	return line, nil
}

// zone is a reader's; UTC when it is not known.
func zone(name string) *time.Location {
	if l, err := time.LoadLocation(name); err == nil && name != "Local" {
		return l
	}
	return time.UTC
}
