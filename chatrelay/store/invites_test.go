// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// age moves times stored in a column back.
func age(t *testing.T, s *Store, table, column string, by time.Duration) {
	t.Helper()
	_, err := s.write.Exec("UPDATE "+table+" SET "+column+" = "+column+" - $1", by.Microseconds())
	ok(t, err)
}

func TestClaims(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		token := o.Invites[bob.Addr]
		_, err := s.Claim(ctx, "no such token", secret(16), false)
		is(t, err, chat.ErrUnknown)
		_, err = s.Claim(ctx, token, "short", false)
		is(t, err, chat.ErrUnknown)

		// Of browsers that press at once, one gets the invite.
		var mu sync.Mutex
		var won []string
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				claim := secret(16)
				i, err := s.Claim(ctx, token, claim, false)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, claim)
				} else if !errors.Is(err, chat.ErrClaimed) || i.Subject != "Hello" {
					t.Errorf("%+v, %v", i, err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d browsers claimed", len(won))
		}
		if i := must(s.Claim(ctx, token, won[0], false))(t); !i.Claimed {
			t.Fatal("not claimed")
		}
		who, i, err := s.Participant(ctx, token, won[0])
		if err != nil || who.Addr != "bob@there.test" || i.Room != o.Room || !i.Claimed {
			t.Fatalf("%+v, %+v, %v", who, i, err)
		}
		_, _, err = s.Participant(ctx, token, secret(16))
		is(t, err, chat.ErrUnknown)

		// A guest is somebody else, is the same one next time, and cannot become the recipient.
		visitor := secret(16)
		_, guest, err := s.ClaimAsGuest(ctx, token, visitor, "  Gus ")
		if err != nil || !guest.Guest || guest.Name != "Gus" || guest.ID == who.ID {
			t.Fatalf("guest %+v, %v", guest, err)
		}
		if _, again, err := s.ClaimAsGuest(ctx, token, visitor, "Other"); err != nil || again != guest {
			t.Fatalf("guest again %+v, %v", again, err)
		}
		if p, _, err := s.Participant(ctx, token, visitor); err != nil || p.Participant != guest {
			t.Fatalf("%+v, %v", p, err)
		}
		_, err = s.Claim(ctx, token, visitor, false)
		is(t, err, chat.ErrClaimed)
		if _, p, err := s.ClaimAsGuest(ctx, token, won[0], "Gus"); err != nil || p.ID != who.ID {
			t.Fatalf("the recipient became %+v, %v", p, err)
		}
		for err = nil; err == nil; {
			_, _, err = s.ClaimAsGuest(ctx, token, secret(16), "crowd")
		}
		is(t, err, chat.ErrFull)
	})
}

func TestCodes(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		token := must(s.OpenFromMail(ctx, hello("1@x")))(t).Invites[bob.Addr]
		must(s.Claim(ctx, token, secret(16), false))(t)
		phone := secret(16)
		_, err := s.ClaimWithCode(ctx, token, phone, "")
		is(t, err, chat.ErrCode)
		code, to, err := s.NewCode(ctx, token)
		if err != nil || len(code) != 6 || to.Addr != "bob@there.test" {
			t.Fatalf("%q, %+v, %v", code, to, err)
		}
		_, err = s.ClaimWithCode(ctx, token, phone, code+"0")
		is(t, err, chat.ErrCode)
		must(s.ClaimWithCode(ctx, token, phone, code))(t)
		if p, _, err := s.Participant(ctx, token, phone); err != nil || p.ID != to.ID {
			t.Fatalf("%+v, %v", p, err)
		}
		must(s.Claim(ctx, token, phone, false))(t)
		_, err = s.ClaimWithCode(ctx, token, secret(16), code)
		is(t, err, chat.ErrCode) // used

		code, _, err = s.NewCode(ctx, token)
		ok(t, err)
		for range codeTries {
			_, err = s.ClaimWithCode(ctx, token, secret(16), "wrong")
			is(t, err, chat.ErrCode)
		}
		_, err = s.ClaimWithCode(ctx, token, secret(16), code)
		is(t, err, chat.ErrCode) // tried too often

		code, _, err = s.NewCode(ctx, token)
		ok(t, err)
		_, _, err = s.NewCode(ctx, token)
		is(t, err, chat.ErrFull)
		age(t, s, "codes", "made", codeTTL+time.Second)
		_, err = s.ClaimWithCode(ctx, token, secret(16), code)
		is(t, err, chat.ErrCode) // too old
		age(t, s, "codes", "made", time.Hour)
		_, _, err = s.NewCode(ctx, token)
		ok(t, err)
	})
}

func TestInviteEnds(t *testing.T) {
	engines(t, func(t *testing.T, dsn string) {
		s := open(t, dsn)
		o := must(s.OpenFromMail(ctx, hello("1@x")))(t)
		people := must(s.Info(ctx, o.Room))(t).Participants
		claim := secret(16)
		token := o.Invites[bob.Addr]
		must(s.Claim(ctx, token, claim, false))(t)
		refused := func(token string, want error) {
			t.Helper()
			i, err := s.Invite(ctx, token)
			is(t, err, want)
			if i.Callee.Addr != alice.Addr {
				t.Fatalf("whose link it was is lost: %+v", i)
			}
			_, err = s.Claim(ctx, token, claim, false)
			is(t, err, want)
			_, _, err = s.Participant(ctx, token, claim)
			is(t, err, want)
			_, _, err = s.ClaimAsGuest(ctx, token, claim, "g")
			is(t, err, want)
			_, _, err = s.NewCode(ctx, token)
			is(t, err, want)
			_, err = s.ClaimWithCode(ctx, token, claim, "000000")
			is(t, err, want)
		}
		ok(t, s.Revoke(ctx, token))
		refused(token, chat.ErrRevoked)
		is(t, s.Revoke(ctx, "nothing"), chat.ErrUnknown)

		fresh := must(s.NewInvite(ctx, o.Room, people[1].ID, people[0].ID, "Alarm"))(t)
		back := must(s.NewInvite(ctx, o.Room, people[0].ID, people[1].ID, "Alarm"))(t)
		_, err := s.NewInvite(ctx, "nowhere", people[1].ID, people[0].ID, "")
		is(t, err, chat.ErrUnknown)
		_, err = s.RevokeRoom(ctx, "eve@here.test", o.Room, 0)
		is(t, err, chat.ErrUnknown)
		if n := must(s.RevokeRoom(ctx, alice.Login, o.Room, 0))(t); n != 1 {
			t.Fatalf("%d links were taken back", n)
		}
		refused(fresh, chat.ErrRevoked)
		must(s.Invite(ctx, back))(t) // it rings Bob: not Alice's to take back

		late := must(s.NewInvite(ctx, o.Room, people[1].ID, people[0].ID, "Late"))(t)
		must(s.Claim(ctx, late, claim, false))(t)
		age(t, s, "invites", "expires", s.opts.InviteTTL)
		refused(late, chat.ErrExpired)
		ok(t, s.Sweep(ctx))
		refused(late, chat.ErrExpired)
		age(t, s, "invites", "expires", inviteRest)
		ok(t, s.Sweep(ctx))
		_, err = s.Invite(ctx, late)
		is(t, err, chat.ErrUnknown)
		var claims int
		ok(t, s.read.QueryRow("SELECT COUNT(*) FROM claims").Scan(&claims))
		if claims != 0 {
			t.Fatalf("%d claims outlived their invites", claims)
		}
	})
}
