// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/transcript"
	"github.com/chmail/chmail/clean"
)

// wish notes whether the person wants transcripts, and tells all their tabs.
func (s *session) wish(ctx context.Context, f *frame.Frame) error {
	var me chat.Participant
	s.room.do(func() { me = person(s.room.info, s.me) })
	if me.Addr == "" {
		s.refuse(f.ID, frame.ErrForbidden, "there is no address for a transcript")
		return nil
	}
	if !s.turn() {
		s.tooOften(f.ID, turnWait)
		return nil
	}
	if _, err := time.LoadLocation(f.Zone); err != nil || f.Zone == "Local" {
		f.Zone = ""
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	err := s.r.opt.Rooms.SetWish(ctx, s.room.id, chat.TranscriptWish{Participant: s.me, On: f.On, Lang: f.Lang, Zone: f.Zone})
	if err != nil {
		s.r.log.Warn("noting a wish for transcripts", "room", s.room.id, "err", err)
		s.refuse(f.ID, frame.ErrStore, "the wish could not be kept, send it again")
		return nil
	}
	h := s.room
	h.do(func() {
		h.transcripts[s.me] = f.On
		b := frame.Encode(&frame.Frame{T: frame.TTranscript, On: f.On})
		for other := range h.sessions {
			if other.me == s.me {
				other.out.put(b)
			}
		}
	})
	return nil
}

// usualWish notes what a member wants of all rooms, who has said nothing in
// this one. It returns whether they get transcripts.
func (s *session) usualWish(ctx context.Context, me chat.Participant, on bool) bool {
	if me.Login == "" || me.Guest || s.r.opt.Transcript == nil {
		return on
	}
	said := false
	s.room.do(func() { _, said = s.room.transcripts[s.me] })
	if said {
		return on
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w, ok := s.r.opt.Transcript(ctx, me.Login)
	if !ok || !w.On {
		return on
	}
	w.Participant, w.Usual = s.me, true
	if err := s.r.opt.Rooms.SetWish(ctx, s.room.id, w); err != nil {
		s.r.log.Warn("noting a wish for transcripts", "room", s.room.id, "err", err)
		return on
	}
	s.room.do(func() { s.room.transcripts[s.me] = true })
	return true
}

// wishes are those of a room's participants who have said whether they want
// transcripts.
func (r *Relay) wishes(ctx context.Context, roomID string) (map[int64]bool, error) {
	list, err := r.opt.Rooms.Wishes(ctx, roomID)
	all := make(map[int64]bool, len(list))
	for _, w := range list {
		all[w.Participant] = w.On
	}
	return all, err
}

// left notes that everybody has left a room.
func (t *talks) left(roomID string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.empty) < maxRooms {
		t.empty[roomID] = time.Now()
	}
}

// over are the rooms that everybody left before then; they are forgotten.
func (t *talks) over(then time.Time) (list []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, since := range t.empty {
		if since.Before(then) {
			delete(t.empty, id)
			list = append(list, id)
		}
	}
	return list
}

// ended sends the transcripts of a room that everybody has left, unless
// somebody has come back, here or at another relay.
func (r *Relay) ended(roomID string) {
	defer r.recovered("a transcript")
	if h := r.use(roomID, nil); h != nil {
		busy := false
		h.do(func() { busy = len(h.sessions) > 0 })
		h.leave()
		if busy {
			return
		}
	}
	if r.cluster.Shared() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		defer cancel()
		if home, err := r.cluster.Home(ctx, roomID); err != nil || home != "" && home != r.opt.Host {
			return // its home sees to it, or the silence does
		}
	}
	r.transcribe(roomID)
}

// quietRooms sends the transcripts of rooms in which nothing was said for so
// long, also of those that were live when a relay ended.
func (r *Relay) quietRooms() {
	defer r.recovered("looking for transcripts to send")
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	list, err := r.opt.Rooms.QuietRooms(ctx, time.Now().Add(-r.opt.Silence))
	if err != nil && r.ctx.Err() == nil {
		r.log.Warn("looking for transcripts to send", "err", err)
	}
	for _, id := range list {
		if r.ctx.Err() == nil {
			r.transcribe(id)
		}
	}
}

// transcribe mails the newest stretch of talk to who wants it. What has been
// sent is marked in the store, one by one.
func (r *Relay) transcribe(roomID string) {
	ctx, cancel := context.WithTimeout(r.ctx, transcriptFor)
	defer cancel()
	list, last, err := r.opt.Rooms.TakeTranscripts(ctx, roomID)
	var info chat.Info
	if err == nil && len(list) > 0 {
		info, err = r.opt.Rooms.Info(ctx, roomID)
	}
	if err != nil {
		if r.ctx.Err() == nil {
			r.log.Warn("writing transcripts", "room", roomID, "err", err)
		}
		return
	}
	for _, w := range list {
		result := "sent"
		sent, err := r.transcript(ctx, info, w, last)
		if err == nil {
			err = r.opt.Rooms.SentTranscript(ctx, w.Participant, last)
		}
		switch {
		case err != nil:
			result = "failed"
			if r.ctx.Err() == nil {
				r.log.Warn("sending a transcript, will try again", "room", roomID, "err", err)
			}
		case !sent:
			result = "empty"
		}
		transcriptsTotal.WithLabelValues(result).Inc()
	}
}

// transcript mails one person what was said after their last one, up to the
// offset last; false: that was nothing.
func (r *Relay) transcript(ctx context.Context, info chat.Info, w chat.TranscriptWish, last int64) (bool, error) {
	to := person(info, w.Participant)
	if w.Usual && r.opt.Transcript != nil {
		if usual, ok := r.opt.Transcript(ctx, to.Login); !ok || !usual.On {
			return false, nil // they have changed their mind
		}
	}
	if !strings.Contains(to.Addr, "@") {
		return false, nil
	}
	t := transcript.Transcript{Subject: info.Subject, Lang: w.Lang, Zone: zone(w.Zone)}
	names := namesOf(info)
	for _, p := range chat.Listed(info.Participants, to.ID) {
		t.People = append(t.People, names[p.ID])
	}
	said := 0
	for after := max(w.Sent, last-maxLines); after < last; {
		page, err := r.opt.Rooms.Messages(ctx, info.ID, after, historyPage)
		if err != nil {
			return false, err
		}
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			if after = m.Offset; after > last {
				break
			}
			if (m.Kind == chat.KindText || m.Kind == chat.KindFile) && !m.Deleted {
				said++
			}
			if l, ok := scriptLine(m, names, w.Lang); ok {
				t.Lines = append(t.Lines, l)
			}
		}
	}
	if said == 0 {
		return false, nil
	}
	t.Earlier = int(max(0, last-maxLines-w.Sent))
	callee := r.calleeOf(info, to).ID
	if callee == 0 {
		callee = info.Owner
	}
	token, err := r.opt.Rooms.NewInvite(ctx, info.ID, to.ID, callee, info.Subject)
	if err != nil {
		return false, err
	}
	t.Link = r.opt.WebBase + "/c/" + token
	for i := range t.Lines {
		for k := range t.Lines[i].Files {
			t.Lines[i].Files[k].URL = t.Link // where it can be opened, once they have come in
		}
	}
	m := Mail{To: to.Person}
	if m.Subject, m.Text, m.HTML, err = t.Compose(); err != nil {
		return false, err
	}
	if r.talks.sealer != nil {
		m.ReplyTo, err = r.talks.sealer.Seal(transcript.Address{Room: info.ID, Participant: to.ID, Expires: time.Now().Add(replyLife)})
		if err != nil {
			return false, err
		}
	}
	return true, r.opt.Mailer.Send(ctx, m)
}

// zone is a reader's; UTC when it is not known.
func zone(name string) *time.Location {
	if l, err := time.LoadLocation(name); err == nil && name != "Local" {
		return l
	}
	return time.UTC
}

// namesOf are what a room's people are called. Who share a name get their
// addresses beside it.
func namesOf(info chat.Info) map[int64]string {
	count := map[string]int{}
	for _, p := range info.Participants {
		count[clean.Name(called(p.Person))]++
	}
	names := make(map[int64]string, len(info.Participants))
	for _, p := range info.Participants {
		name := clean.Name(called(p.Person))
		if count[name] > 1 && p.Addr != "" && p.Addr != name {
			name += " <" + p.Addr + ">"
		}
		if p.Guest {
			name += " (guest)"
		}
		names[p.ID] = name
	}
	return names
}

// scriptLine is a message as a transcript has it; false: it has none.
func scriptLine(m chat.Message, names map[int64]string, lang string) (l transcript.Line, ok bool) {
	l = transcript.Line{At: m.At, Text: m.Text, Edited: !m.Edited.IsZero(), Deleted: m.Deleted}
	switch m.Kind {
	case chat.KindText, chat.KindFile:
		if l.Name = names[m.From]; l.Name == "" {
			l.Name = "?"
		}
		if m.File != nil {
			l.Files = []transcript.File{{Name: m.File.Name, Size: m.File.Size}}
		}
		return l, true
	case chat.KindMail:
		l.Text = fmt.Sprintf(noteWords[lang == "ko"]["mail"], names[m.From], m.Text)
		return l, true
	case chat.KindNote:
		key, words, _ := strings.Cut(m.Text, "\n")
		format, known := noteWords[lang == "ko"][key]
		if !known || key == "mail" {
			return l, false
		}
		l.Text = fmt.Sprintf(format, names[m.From])
		if words != "" {
			l.Text += ": " + strings.Join(strings.Fields(words), " ")
		}
		return l, true
	}
	return l, false
}

// noteWords are the words of notes, in Korean or English, as the pages have them.
var noteWords = map[bool]map[string]string{
	false: {"answered": "%s answered", "declined": "%s could not talk", "cancelled": "%s cancelled the call",
		"unanswered": "%s did not answer", "alarmed": "%s was alerted", "mail": "%s wrote a mail: %s"},
	true: {"answered": "%s님이 받았습니다", "declined": "%s님이 대화할 수 없었습니다", "cancelled": "%s님이 호출을 취소했습니다",
		"unanswered": "%s님이 받지 않았습니다", "alarmed": "%s님에게 알림을 보냈습니다", "mail": "%s님이 메일을 보냈습니다: %s"},
}
