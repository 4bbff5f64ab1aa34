// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"slices"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Who has been in a room, or is rung by its links, gets what they have not read, each word once.
func TestUnread(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		mail := hello("unread@x")
		mail.Recipients = append(mail.Recipients, chat.Person{Addr: "carol@there.test"})
		o := must(s.OpenFromMail(ctx, mail))(t)
		info := must(s.Info(ctx, o.Room))(t)
		owner := info.Owner
		var kim, lee int64 // lee never comes
		for _, p := range info.Participants {
			switch {
			case p.ID == owner:
			case kim == 0:
				kim = p.ID
			default:
				lee = p.ID
			}
		}
		if kim == 0 || lee == 0 {
			t.Fatalf("people %+v", info.Participants)
		}
		who := func(wait time.Duration) (list []int64) {
			t.Helper()
			for _, u := range must(s.Unread(ctx, wait, 0))(t) {
				if u.Room != o.Room {
					t.Errorf("room %s", u.Room)
				}
				list = append(list, u.Participant)
			}
			return list
		}
		want := func(what string, got []int64, want ...int64) {
			t.Helper()
			if slices.Sort(want); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		say := func(from int64, text string) chat.Message {
			t.Helper()
			return must(s.Append(ctx, "", o.Room, chat.Message{From: from, Kind: chat.KindText, Text: text}))(t)
		}
		for _, step := range []struct{ proven, ever bool }{{false, false}, {true, true}, {false, true}} {
			if ever := must(s.CameIn(ctx, kim, info.Next-1, step.proven))(t); ever != step.ever {
				t.Errorf("in, proven %t: %t", step.proven, ever)
			}
		}
		want("before anything was said", who(0))
		first := say(kim, "do you ship to Busan?")
		time.Sleep(5 * time.Millisecond)
		want("the owner has never been there", who(0), owner)
		want("not yet", who(time.Minute))
		want("after them", []int64{int64(len(must(s.Unread(ctx, 0, owner))(t)))}, 0)
		answer := say(owner, "yes, tomorrow")
		time.Sleep(5 * time.Millisecond)
		want("both", who(0), owner, kim)

		after, last, taken, err := s.TakeUnread(ctx, "", chat.Unread{Room: o.Room, Participant: kim})
		if err != nil || !taken || after >= answer.Offset || last != answer.Offset {
			t.Fatalf("taken %t, %d to %d, %v", taken, after, last, err)
		}
		if _, _, again, err := s.TakeUnread(ctx, "", chat.Unread{Room: o.Room, Participant: kim}); again || err != nil {
			t.Errorf("another relay takes it too, %v", err)
		}
		want("while it is being sent", who(0), owner)
		if err := s.SentUnread(ctx, kim, last, true); err != nil {
			t.Fatal(err)
		}
		want("sent", who(0), owner)
		say(owner, "one more thing")
		time.Sleep(60 * time.Millisecond)
		want("the first mail is unread still", who(20*time.Millisecond), owner)
		time.Sleep(unreadPause * 20 * time.Millisecond)
		want("after a longer wait", who(20*time.Millisecond), owner, kim)
		for _, token := range o.Invites {
			if i := must(s.Invite(ctx, token))(t); i.Recipient.ID == kim {
				is(t, s.StopUnread(ctx, token, true), nil)
			}
		}
		want("who wants none", who(0), owner)
		is(t, s.StopUnread(ctx, "AAAAAAAAAAAAAAAAAAAAAA", true), chat.ErrUnknown)

		if err := s.Seen(ctx, "", o.Room, owner, first.Offset); err != nil {
			t.Fatal(err)
		}
		want("read meanwhile", who(0))
		if _, _, taken, err := s.TakeUnread(ctx, "", chat.Unread{Room: o.Room, Participant: owner}); taken || err != nil {
			t.Errorf("words are mailed that were read, %v", err)
		}
		late := say(kim, "gone in a moment")
		time.Sleep(5 * time.Millisecond)
		want("new words", who(0), owner)
		must(s.Change(ctx, "", o.Room, chat.Message{ID: "x", From: kim, Kind: chat.KindDelete, Ref: late.Offset}, 0))(t)
		want("they were deleted", who(0))
	})
}
