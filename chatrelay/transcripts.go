// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/transcript"
)

// TranscriptStore has who wants transcripts. Package transcript sends them.
type TranscriptStore interface {
	SetTranscriptPreference(ctx context.Context, home, roomID string, w chat.TranscriptPreference) error
	TranscriptPreferences(ctx context.Context, roomID string) ([]chat.TranscriptPreference, error)
}

// prefer notes whether the person wants transcripts, and tells all their tabs.
func (s *session) prefer(ctx context.Context, f *frame.Frame) error {
	var me chat.Participant
	s.room.do(func() { me = s.room.info.Participant(s.me) })
	if me.Addr == "" {
		s.refuse(f.ID, frame.ErrForbidden, "there is no address for a transcript")
		return nil
	}
	if !s.turn() {
		s.tooOften(f.ID, turnWait)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	err := s.r.opt.Rooms.SetTranscriptPreference(ctx, s.r.home(), s.room.id,
		chat.TranscriptPreference{Participant: s.me, On: f.On, Lang: f.Lang, Zone: knownZone(f.Zone)})
	if err != nil {
		s.r.log.Warn("noting who wants transcripts", "room", s.room.id, "err", err)
		s.refuse(f.ID, frame.ErrStore, "this could not be kept, send it again")
		return nil
	}
	h := s.room
	h.do(func() {
		h.transcripts[s.me] = f.On
		b := frame.Encode(&frame.Frame{T: frame.TTranscript, On: f.On})
		for other := range h.sessions {
			if other.me == s.me {
				other.out.Put(b)
			}
		}
	})
	return nil
}

// knownZone is a time zone, or nothing if there is none of that name.
func knownZone(name string) string {
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		return ""
	}
	return name
}

// usualTranscript notes what a member wants of all rooms, who has said nothing
// in this one. It returns whether they get transcripts.
func (s *session) usualTranscript(ctx context.Context, me chat.Participant, on bool) bool {
	if me.Login == "" || me.Guest || s.r.opt.UsualTranscript == nil {
		return on
	}
	said := false
	s.room.do(func() { _, said = s.room.transcripts[s.me] })
	if said {
		return on
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	w, ok := s.r.opt.UsualTranscript(ctx, me.Login)
	if !ok || !w.On {
		return on
	}
	w.Participant, w.Usual = s.me, true
	if err := s.r.opt.Rooms.SetTranscriptPreference(ctx, s.r.home(), s.room.id, w); err != nil {
		s.r.log.Warn("noting who wants transcripts", "room", s.room.id, "err", err)
		return on
	}
	s.room.do(func() { s.room.transcripts[s.me] = true })
	return true
}

// wantTranscripts are the participants of a room who have said whether they
// want transcripts, and what they said.
func (r *Relay) wantTranscripts(ctx context.Context, roomID string) (map[int64]bool, error) {
	list, err := r.opt.Rooms.TranscriptPreferences(ctx, roomID)
	all := make(map[int64]bool, len(list))
	for _, w := range list {
		all[w.Participant] = w.On
	}
	return all, err
}

// startTranscripts makes the reply addresses and starts the sender.
func (r *Relay) startTranscripts() error {
	r.answers = transcript.Answers{Info: r.opt.Rooms.Info}
	if r.opt.Replies != "" {
		key, err := r.Secret("reply addresses")
		if err != nil {
			return err
		}
		if r.answers.Sealer, err = transcript.NewSealer(r.opt.Replies, key); err != nil {
			return err
		}
	}
	r.transcripts = transcript.StartSender(transcript.SenderOptions{Store: r.opt.Rooms,
		Relay: r.home(), Mailer: r.opt.Mailer,
		WebBase: r.opt.WebBase, Sealer: r.answers.Sealer, LeftFor: r.opt.LeftFor, Silence: r.opt.Silence,
		Occupied: r.occupied, Usual: r.opt.UsualTranscript, Log: r.log,
		Callee: func(info chat.Info, of chat.Participant) int64 { return r.calleeOf(info, of).ID }})
	return nil
}

// occupied says whether somebody is in a room, here or perhaps at another
// relay, which then sends the transcripts.
func (r *Relay) occupied(ctx context.Context, roomID string) bool {
	if h := r.use(roomID, nil); h != nil {
		busy := false
		h.do(func() { busy = len(h.sessions) > 0 })
		h.leave()
		if busy {
			return true
		}
	}
	if !r.cluster.Shared() {
		return false
	}
	home, err := r.cluster.Home(ctx, roomID)
	return err != nil || home != "" && home != r.opt.Host
}

// ReplyAddress returns what a reply address stands for; transcript.Answers has
// the errors.
func (r *Relay) ReplyAddress(ctx context.Context, addr string) (transcript.Address, error) {
	return r.answers.Address(ctx, addr)
}

// Reply posts what is new in an answer by mail into its room, as the
// participant whose reply address it is. The same mail again changes nothing;
// one that a machine sent is dropped without an error. Errors are those of
// transcript.Answers and of the store.
func (r *Relay) Reply(ctx context.Context, addr string, mail io.Reader) error {
	err := r.reply(ctx, addr, mail)
	switch {
	case errors.Is(err, transcript.ErrAuto):
		repliesTotal.WithLabelValues("automatic").Inc()
		return nil
	case err == nil:
		repliesTotal.WithLabelValues("said").Inc()
	case transcript.Refusal(err) != "":
		repliesTotal.WithLabelValues("refused").Inc()
	default:
		repliesTotal.WithLabelValues("failed").Inc()
	}
	return err
}

func (r *Relay) reply(ctx context.Context, addr string, mail io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	a, err := r.answers.Read(ctx, addr, mail)
	if err != nil {
		return err
	}
	if refused, err := r.Refuses(ctx, a.Room.ID, a.From.ID, r.calleeOf(a.Room, a.From).Login); err != nil || refused {
		return err // who was blocked does not learn of it
	}
	if _, err := r.opt.Rooms.Post(ctx, "", a.Room.ID, a.Message); err != nil {
		return fmt.Errorf("keeping an answer by mail: %w", err)
	}
	r.announce(a.Room.ID)
	r.said(a.Room.ID, a.Message, a.From.Person)
	return nil
}
