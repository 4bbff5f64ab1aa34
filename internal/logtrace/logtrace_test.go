// SPDX-License-Identifier: GPL-3.0-or-later

package logtrace

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

const log = `2026-11-26T10:00:00Z smtp: signed in	{"login":"kim@mall.example","addr":"192.0.2.7:4000"}
2026-11-26T10:00:01Z smtp: accepted	{"msg_id":"4f1b2c3d","message_id":"<1@m.example>","login":"kim@mall.example"}
2026-11-26T10:00:01Z stamp: handed on	{"msg_id":"4f1b2c3d-1","rcpt":"lee@far.example","room":"R1","link":"aa11"}
2026-11-26T10:00:01Z stamp: handed on	{"msg_id":"4f1b2c3d-2","rcpt":"ann@mall.example","room":"R1","link":"bb22"}
2026-11-26T10:00:02Z queue: delivered	{"msg_id":"4f1b2c3d-1.2","rcpt":"lee@far.example","answer":"250 queued as 9Z"}
2026-11-26T10:00:02Z store: delivered	{"msg_id":"4f1b2c3d-2","login":"ann@mall.example","alias":"boots@mall.example"}
2026-11-26T10:05:00Z web: a link was opened	{"link":"aa11","room":"R1","addr":"203.0.113.9","attempt":"A1"}
2026-11-26T10:05:01Z chat.relay: an attempt	{"room":"R1","attempt":"A1","state":"ringing"}
2026-11-26T10:06:00Z chat.relay: left a conversation	{"room":"R1","person":2}
2026-11-26T11:00:00Z smtp: accepted	{"msg_id":"5a5a5a5a","message_id":"<2@mall.example>","login":"joe@mall.example"}
2026-11-26T11:00:01Z stamp: handed on	{"msg_id":"5a5a5a5a-1","rcpt":"kim@mall.example","room":"R1","link":"cc33"}
2026-11-26T11:00:02Z a line of another kind
`

func reading(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func find(t *testing.T, limit int, names ...string) (times []string) {
	t.Helper()
	lines, err := Find(reading(log), limit, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		times = append(times, l.Text[11:19])
	}
	slices.Reverse(times)
	return times
}

// TestFind: a mail leads to its copies, a link to its mail and its conversation, an address
// to what it did; a mail does not lead to the other mails of its conversation.
func TestFind(t *testing.T) {
	t.Parallel()
	mail := []string{"10:00:01", "10:00:01", "10:00:01", "10:00:02", "10:00:02", "10:05:00", "10:05:01"}
	for _, name := range []string{"4f1b2c3d", "4F1B2C3D-1", "<1@m.example>"} {
		if got := find(t, 100, name); !slices.Equal(got, mail) {
			t.Errorf("%s: %v, want %v", name, got, mail)
		}
	}
	for name, want := range map[string][]string{
		"aa11":             append(slices.Clone(mail), "10:06:00", "11:00:01"),
		"203.0.113.9":      mail, // who opened the link, and which mail had it
		"192.0.2.7":        {"10:00:00"},
		"5a5a5a5a":         {"11:00:00", "11:00:01"},
		"nobody@x.example": nil,
	} {
		got := find(t, 100, name)
		if name == "aa11" {
			for _, at := range want {
				if !slices.Contains(got, at) {
					t.Errorf("%s: %v, no line of %s", name, got, at)
				}
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := find(t, 2, "4f1b2c3d"); !slices.Equal(got, []string{"10:05:00", "10:05:01"}) {
		t.Errorf("two lines: %v", got)
	}
}

// TestLong: a line that is too long, and many lines, do no harm.
func TestLong(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "x: y\t{\"msg_id\":\"4f1b2c3d-%d\",\"n\":%q}\n", i, strings.Repeat("z", 10))
	}
	b.WriteString("x: y\t{\"msg_id\":\"4f1b2c3d\",\"n\":\"" + strings.Repeat("z", 1<<20) + "\"}\n")
	text := b.String()
	lines, err := Find(reading(text), 10, "4f1b2c3d")
	if err != nil || len(lines) != 10 || !strings.Contains(lines[0].Text, "-4999") {
		t.Errorf("%d lines, %v: %v", len(lines), lines, err)
	}
}
