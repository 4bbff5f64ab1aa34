// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/chatrelay/notify"
)

// SettingsStore has what logins have set, blocked and muted.
type SettingsStore interface {
	Settings(ctx context.Context, logins ...string) (map[string]chat.Settings, error)
	ChangeSettings(ctx context.Context, login string, change func(*chat.Settings) error) (chat.Settings, error)
	Block(ctx context.Context, login, roomID string, participant int64) error
	UnblockParticipant(ctx context.Context, login, roomID string, participant int64) error
	Unblock(ctx context.Context, login, who string) error
	Blocks(ctx context.Context, login string) ([]chat.Block, error)
	BlockedBy(ctx context.Context, p chat.Participant, logins ...string) ([]string, error)
	Mute(ctx context.Context, login, roomID string, on bool) error
	Muted(ctx context.Context, login, roomID string) (bool, error)
	SetGroups(ctx context.Context, source string, groups map[string][]string) error
}

// Desk is what a login has set, and what follows from it.
type Desk struct {
	Login string `json:"login"`
	chat.Settings
	Status   frame.Status `json:"status"`
	Usually  int          `json:"usually,omitempty"` // back within so many minutes, computed
	Browsers []Browser    `json:"browsers"`          // that take notifications
	Blocked  []chat.Block `json:"blocked"`
	Groups   []string     `json:"groups"` // whose rings it gets
	// GroupCanned are the replies that the members of those groups share.
	GroupCanned map[string][]chat.Canned `json:"group_canned"`
	// Called is how others know the login: by its settings, or by its newest mail.
	Called string `json:"called,omitempty"`
}

// Browser is one that takes notifications.
type Browser struct {
	ID    string     `json:"id"` // notify.BrowserID
	Name  string     `json:"name"`
	Added time.Time  `json:"added"`
	Shown *time.Time `json:"shown,omitempty"` // when it last showed one; nil: never
}

// Settings are a login's.
func (r *Relay) Settings(ctx context.Context, login string) (Desk, error) {
	logins := r.groupsOf(login)
	all, err := r.opt.Rooms.Settings(ctx, logins...)
	if err != nil {
		return Desk{}, err
	}
	d := Desk{Login: login, Settings: all[login], Status: r.Status(ctx, login), Usually: r.usually(ctx, login),
		Groups: logins[1:], GroupCanned: map[string][]chat.Canned{}}
	if d.Called, err = r.opt.Rooms.NameOf(ctx, login); err != nil {
		return Desk{}, err
	}
	for _, group := range d.Groups {
		d.GroupCanned[group] = all[group].Canned
	}
	browsers, err := r.opt.Rooms.Subscriptions(ctx, login)
	if err != nil {
		return Desk{}, err
	}
	d.Browsers = make([]Browser, len(browsers))
	for i, b := range browsers {
		d.Browsers[i] = Browser{ID: notify.BrowserID(b.Endpoint), Name: b.Name, Added: b.Added}
		if !b.Shown.IsZero() {
			d.Browsers[i].Shown = &b.Shown
		}
	}
	if d.Blocked, err = r.opt.Rooms.Blocks(ctx, login); err != nil {
		return Desk{}, err
	}
	if d.Blocked == nil {
		d.Blocked = []chat.Block{}
	}
	return d, nil
}

// ChangeSettings changes a login's settings with change, and tells the pages that
// show the login's availability at once. *chat.SettingError: a value is not possible.
func (r *Relay) ChangeSettings(ctx context.Context, login string, change func(*chat.Settings) error) (Desk, error) {
	if _, err := r.opt.Rooms.ChangeSettings(ctx, login, change); err != nil {
		return Desk{}, err
	}
	r.settingsChanged(login)
	return r.Settings(ctx, login)
}

// ChangeGroupReplies sets the replies that the members of a group share, for a member.
// chat.ErrUnknown: the login is none; *chat.SettingError.
func (r *Relay) ChangeGroupReplies(ctx context.Context, login, group string, replies []chat.Canned) error {
	if group = strings.ToLower(group); !slices.Contains(r.groupsOf(login)[1:], group) {
		return chat.ErrUnknown
	}
	_, err := r.opt.Rooms.ChangeSettings(ctx, group, func(s *chat.Settings) error {
		s.Canned = replies
		return nil
	})
	if err != nil {
		return err
	}
	for _, member := range r.members(group) {
		r.settingsChanged(member)
	}
	return nil
}

// Block makes a login block a participant of a room, or ends that.
// chat.ErrUnknown, chat.ErrFull.
func (r *Relay) Block(ctx context.Context, login, roomID string, participant int64, on bool) error {
	do := r.opt.Rooms.Block
	if !on {
		do = r.opt.Rooms.UnblockParticipant
	}
	if _, err := r.opt.Rooms.Member(ctx, login, roomID); err != nil {
		return err
	}
	if err := do(ctx, login, roomID, participant); err != nil {
		return err
	}
	r.settingsChanged(login)
	return nil
}

// Unblock ends a block by what it is called, as in Desk.Blocked.
func (r *Relay) Unblock(ctx context.Context, login, who string) error {
	if err := r.opt.Rooms.Unblock(ctx, login, who); err != nil {
		return err
	}
	r.settingsChanged(login)
	return nil
}

// Mute makes a room's rings silent for a login, or sound again.
// chat.ErrUnknown: the login is not in it.
func (r *Relay) Mute(ctx context.Context, login, roomID string, on bool) error {
	if err := r.opt.Rooms.Mute(ctx, login, roomID, on); err != nil {
		return err
	}
	r.settingsChanged(login)
	return nil
}

// settingsChanged makes every relay use the new settings of a login.
func (r *Relay) settingsChanged(login string) {
	r.publish("", note{T: noteSettings, Login: login})
	r.heedSettings(login)
}

// heedSettings makes it count at this one.
func (r *Relay) heedSettings(login string) {
	r.devices.tell(login, &frame.Frame{T: frame.TSettings})
	r.statusHere(login)
	r.mu.Lock()
	var of []*session
	for s := range r.watchers[login] {
		of = append(of, s)
	}
	r.mu.Unlock()
	for _, s := range of {
		s.screen()
	}
	for _, h := range r.watched(login) {
		h.do(h.screenAgain)
		h.leave()
	}
	r.recheck(login, changed)
}

// screen finds out whether the callee has blocked the session's participant. The
// messages of a blocked participant are acknowledged and not stored.
func (s *session) screen() {
	ctx, cancel := context.WithTimeout(s.r.ctx, callTimeout)
	defer cancel()
	var me chat.Participant
	if !s.room.do(func() { me = s.room.info.Participant(s.me) }) {
		return // the room is over
	}
	blockers, err := s.r.opt.Rooms.BlockedBy(ctx, me, s.callee.Login)
	if err != nil {
		s.r.log.Warn("looking for blocks", "room", s.room.id, "err", err)
		return
	}
	s.refused.Store(len(blockers) > 0)
	if len(blockers) > 0 {
		s.room.post(s.room.lookAtPart)
	}
}

// Refuses says whether a login has blocked a participant of a room.
func (r *Relay) Refuses(ctx context.Context, roomID string, participant int64, login string) (bool, error) {
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return false, err
	}
	p := info.Participant(participant)
	if login == "" || p.ID == 0 {
		return false, nil
	}
	blockers, err := r.opt.Rooms.BlockedBy(ctx, p, login)
	return len(blockers) > 0, err
}

// screenAgain ends the rings of a caller whom the callee has just blocked. The
// caller is not told.
func (h *liveRoom) screenAgain() {
	c := h.call
	if c == nil || !c.open() || c.silent {
		return
	}
	declined := c.refused
	h.screen(c)
	for login := range declined {
		c.refused[login] = true
	}
	for login := range c.rung {
		if c.silent || c.refused[login] && !declined[login] {
			h.endRing(c, login, frame.EndCancelled)
			delete(c.rung, login)
		}
	}
}

// quietly answers a frame of a blocked participant as if the relay had acted on
// it. It returns false for a frame that everybody may send.
func (s *session) quietly(f *frame.Frame) (done bool, err error) {
	switch f.T {
	case frame.TSay, frame.TEdit, frame.TDelete:
		if f.T != frame.TDelete {
			text, err := s.words(f)
			if text == "" {
				return true, err
			}
		}
		if !s.turn() {
			s.tooOften(f.ID, turnWait)
			return true, nil
		}
		now := time.Now().UTC()
		s.out.Put(frame.Ack(f.ID, s.newest(), now))
		return true, nil
	case frame.TTyping, frame.TSeen:
		return true, nil
	}
	return false, nil
}
