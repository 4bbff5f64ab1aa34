// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"slices"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/transcript"
)

// UnreadStore has who was in a room, and wants no mail of what is said there since. Package transcript sends them.
type UnreadStore interface {
	transcript.UnreadStore
	CameIn(ctx context.Context, participant, offset int64, proven bool) (ever bool, err error)
	StopUnread(ctx context.Context, token string, stop bool) error
}

// startPostman starts mailing people what they have not read since they left.
func (r *Relay) startPostman() error {
	if r.opt.UnreadAfter < 0 {
		return nil
	}
	r.postman = transcript.StartPostman(transcript.PostmanOptions{Store: r.opt.Rooms, Mailer: r.opt.Mailer,
		Relay: r.home(), WebBase: r.opt.WebBase, Sealer: r.answers.Sealer, After: r.opt.UnreadAfter,
		To: r.unreadTo, Hears: r.hears, Log: r.log,
		Callee: func(info chat.Info, of chat.Participant) int64 { return r.calleeOf(info, of).ID }})
	return nil
}

// unreadTo are the addresses at which a participant of a room gets unread words now. There is none for a person who
// sees them: in the room, or at the desk. A group's go to every member until one has joined the room.
func (r *Relay) unreadTo(ctx context.Context, info chat.Info, of chat.Participant) (to []string) {
	members := r.groups.members(of.Login)
	joined := func(p chat.Participant) bool { return !p.Guest && slices.Contains(members, p.Login) }
	switch {
	case len(members) > 0 && slices.ContainsFunc(info.Participants, joined):
		return nil
	case len(members) > 0:
		for _, m := range members {
			if strings.Contains(m, "@") && r.wantsUnread(ctx, m) {
				to = append(to, m)
			}
		}
		return to
	case r.sees(info.ID, of.ID) || of.Login != "" && !r.wantsUnread(ctx, of.Login):
		return nil
	}
	if on, away := r.connected(of.Login); on && !away {
		return nil
	}
	return []string{of.Addr}
}

// wantsUnread says whether a login wants such mails.
func (r *Relay) wantsUnread(ctx context.Context, login string) bool {
	of, err := r.opt.Rooms.Settings(ctx, login)
	if err != nil {
		r.log.Warn("reading who wants unread words", "login", login, "err", err)
	}
	return err == nil && of[login].Unread
}

// sees says whether a participant is in a room of this relay, and not away from it.
func (r *Relay) sees(roomID string, participant int64) (sees bool) {
	h := r.use(roomID, nil)
	if h == nil {
		return false
	}
	defer h.leave()
	h.do(func() {
		for s := range h.sessions {
			sees = sees || s.me == participant && !s.away && h.reads(s)
		}
	})
	return sees
}

// reads says whether what a session sees counts as read by its person. Once they have been in the room and have proven
// who they are, what a browser by link sees does not: it may be somebody else's, and would hide words from them.
func (h *liveRoom) reads(s *session) bool { return s.access.Proven || !h.proven[s.me] }

// hears says whether what one participant says is for another: neither has blocked the other.
func (r *Relay) hears(ctx context.Context, speaker, reader chat.Participant) (bool, error) {
	for _, pair := range [][2]chat.Participant{{speaker, reader}, {reader, speaker}} {
		if pair[1].Login == "" {
			continue
		}
		blockers, err := r.opt.Rooms.BlockedBy(ctx, pair[0], r.members(pair[1].Login)...)
		if err != nil || len(blockers) > 0 {
			return false, err
		}
	}
	return true, nil
}

// StopUnread ends the mails of unread words to the recipient of a link, or lets them go on. chat.ErrUnknown.
func (r *Relay) StopUnread(ctx context.Context, token string, stop bool) error {
	return r.opt.Rooms.StopUnread(ctx, token, stop)
}
