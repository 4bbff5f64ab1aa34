// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"fmt"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Afterwards is what somebody asks for who has left a conversation.
type Afterwards struct {
	Transcript bool // by mail, in Lang and with the times of Zone
	Lang, Zone string
	Rating     string // chat.RatedGood or chat.RatedBad; empty: nothing is said
}

// After does what the browser asks for that came in through a link. A rating is a note
// of the room, one an hour. chat.ErrUnknown: the browser has not come in through it.
func (r *Relay) After(ctx context.Context, token, claim string, a Afterwards) error {
	me, invite, err := r.opt.Rooms.Participant(ctx, token, claim)
	if err != nil {
		return err
	}
	if a.Transcript && me.Addr != "" {
		wish := chat.TranscriptPreference{Participant: me.ID, On: true, Lang: a.Lang, Zone: knownZone(a.Zone)}
		if err := r.opt.Rooms.SetTranscriptPreference(ctx, "", invite.Room, wish); err != nil {
			return err
		}
		if h := r.use(invite.Room, nil); h != nil {
			h.do(func() { h.transcripts[me.ID] = true })
			h.leave()
		}
		r.transcripts.Left(invite.Room) // whoever has left already is mailed soon
	}
	if a.Rating != chat.RatedGood && a.Rating != chat.RatedBad {
		return nil
	}
	// Who was blocked does not learn of it.
	if refused, err := r.Refuses(ctx, invite.Room, me.ID, invite.Callee.Login); err != nil || refused {
		return err
	}
	note := chat.Message{ID: "rated " + time.Now().UTC().Format("2006-01-02 15"), From: me.ID, Kind: chat.KindNote,
		Text: chat.NoteRated + "\n" + a.Rating}
	if !me.Proven {
		note.Via = chat.ViaLink
	}
	if _, err := r.opt.Rooms.Post(ctx, "", invite.Room, note); err != nil {
		return fmt.Errorf("keeping a rating: %w", err)
	}
	r.announce(invite.Room)
	return nil
}
