// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"
)

func headerOf(t *testing.T, text string) textproto.Header {
	t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"
	h, err := textproto.ReadHeader(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSRS(t *testing.T) {
	t.Parallel()
	open(t, func(t *testing.T, s *Store) {
		ctx, now := t.Context(), time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		for from, begins := range map[string]string{
			"Kim@far.example":                        "SRS0=",
			"SRS0=HHHHHH=TT=a.example=kim@b.example": "SRS1=",
			"SRS0+HHHHHH=TT=a.example=kim@b.example": "SRS1=",
		} {
			sender, err := s.Forwarder(ctx, from, "mall.example", now)
			if err != nil || !strings.HasPrefix(sender, begins) || !strings.HasSuffix(sender, "@mall.example") {
				t.Fatalf("%s: %s, %v", from, sender, err)
			}
			for _, at := range []string{sender, strings.ToLower(sender)} {
				to, ok, err := s.Bounce(at, "", now.Add(5*24*time.Hour))
				if !ok || err != nil || !strings.EqualFold(to, from) {
					t.Errorf("%s comes back to %q, %v, %v", at, to, ok, err)
				}
			}
			if _, _, err := s.Bounce(sender, "spam@far.example", now); !errors.Is(err, ErrSRS) {
				t.Errorf("a mail to %s: %v", sender, err)
			}
			if _, _, err := s.Bounce(sender[:6]+"A"+sender[7:], "", now); !errors.Is(err, ErrSRS) && sender[6] != 'A' {
				t.Errorf("another hash: %v", err)
			}
		}
		first, _ := s.Forwarder(ctx, "kim@far.example", "mall.example", now)
		if _, _, err := s.Bounce(first, "", now.Add(30*24*time.Hour)); !errors.Is(err, ErrSRS) {
			t.Errorf("after a month: %v", err)
		}
		second, err := s.Forwarder(ctx, "SRS1=XXXXXX=a.example==HH=TT=o.example=kim@b.example", "mall.example", now)
		to, _, backErr := s.Bounce(second, "", now)
		if err != nil || backErr != nil || to != "SRS0=HH=TT=o.example=kim@a.example" {
			t.Errorf("of a second forwarder: %s, %s, %v, %v", second, to, err, backErr)
		}
		for _, stays := range []string{"", "kim@mall.example"} {
			if got, err := s.Forwarder(ctx, stays, "mall.example", now); got != stays || err != nil {
				t.Errorf("%q became %q, %v", stays, got, err)
			}
		}
		if _, ok, _ := s.Bounce("srsly@mall.example", "", now); ok {
			t.Error("an ordinary address is taken for a forwarder's")
		}
	})
}

func TestVacation(t *testing.T) {
	t.Parallel()
	v := Vacation{On: true, Text: "I am away.\nUntil Monday.", Until: "2026-12-01"}
	now, me := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), "kim@mall.example"
	const plain = "From: joon@far.example\nTo: Kim <Kim@mall.example>\n" +
		"Subject: =?utf-8?q?caf=C3=A9?=\nMessage-ID: <1@x>"
	if !v.Wants(now, headerOf(t, plain), "joon@far.example", me) {
		t.Error("a person gets no notice")
	}
	for _, more := range []string{"Auto-Submitted: auto-replied", "Precedence: bulk", "List-Id: <l.example>",
		"List-Unsubscribe: <https://x>", "X-Auto-Response-Suppress: All"} {
		if v.Wants(now, headerOf(t, plain+"\n"+more), "joon@far.example", me) {
			t.Errorf("%s gets a notice", more)
		}
	}
	for _, sender := range []string{"", "MAILER-DAEMON@far.example", "list-bounces@far.example", "owner-x@far.example",
		"no-reply@far.example", "SRS0=A=B=c=d@far.example", me} {
		if v.Wants(now, headerOf(t, plain), sender, me) {
			t.Errorf("%q gets a notice", sender)
		}
	}
	if v.Wants(now, headerOf(t, strings.Replace(plain, "Kim@mall", "list@mall", 1)), "joon@far.example", me) {
		t.Error("who is not named answers")
	}
	if v.Wants(now.AddDate(0, 0, 6), headerOf(t, plain), "joon@far.example", me) {
		t.Error("it answers after its last day")
	}
	h, body := v.Notice(now, headerOf(t, plain), me, "joon@far.example", "id", "ko")
	for key, want := range map[string]string{"Auto-Submitted": "auto-replied (vacation)", "In-Reply-To": "<1@x>",
		"To": "<joon@far.example>", "From": "<kim@mall.example>"} {
		if got := h.Get(key); got != want {
			t.Errorf("%s: %q", key, got)
		}
	}
	if string(body) != "I am away.\r\nUntil Monday.\r\n" || !strings.HasPrefix(h.Get("Subject"), "=?utf-8?q?") {
		t.Errorf("%q, %q", h.Get("Subject"), body)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	r := Rules{Filters: []Filter{{Field: "from", Contains: "News@", Folder: "News", Seen: true},
		{Field: "to", Contains: "sales", Folder: "Sales"}, {Field: "subject", Contains: "카페", Folder: "Junk"}}}
	for text, want := range map[string]string{
		"From: news@far.example":                              "News",
		"From: a@b.example\nTo: x@y.example\nCc: Sales <s@x>": "Sales",
		"Subject: =?utf-8?b?7Lm07Y6Y?=":                       "Junk",
		"Subject: nothing":                                    "",
	} {
		if f, _ := r.Sort(headerOf(t, text)); f.Folder != want {
			t.Errorf("%q goes to %q", text, f.Folder)
		}
	}
}
