// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Links are taken back and people put out over the socket, and the store tells those
// who have to leave.
func TestConversations(t *testing.T) {
	w := newWorld(t)
	c := w.client(t)
	ctx := t.Context()
	var told []string
	w.rooms.OnAccess(func(room string) { told = append(told, room) })
	o, err := w.rooms.OpenFromMail(ctx, chat.Mail{MessageID: "1@x", Subject: "Order",
		Sender:     chat.Person{Login: "host@mall.example", Addr: "host@mall.example"},
		Recipients: []chat.Person{{Addr: "kim@far.example", Name: "Kim"}, {Addr: "lee@far.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListRooms(ctx, " Kim@far.example")
	if err != nil || len(list) != 1 || list[0].ID != o.Room || list[0].Subject != "Order" || len(list[0].People) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	if list, err := c.ListRooms(ctx, "nobody@far.example"); err != nil || list == nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	kim := o.Invites["kim@far.example"]
	if err := c.RevokeLink(ctx, "https://mall.example/c/"+kim+"."); err != nil {
		t.Fatal(err)
	}
	if _, err := w.rooms.Invite(ctx, kim); !errors.Is(err, chat.ErrRevoked) {
		t.Errorf("the link: %v", err)
	}
	for _, wrong := range []string{"", "x", "https://mall.example/", strings.Repeat("A", 22)} {
		if err := c.RevokeLink(ctx, wrong); err == nil || !strings.Contains(err.Error(), "there is no link") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	p, err := c.RemovePerson(ctx, o.Room, "Lee@far.example")
	if err != nil || p.Addr != "lee@far.example" {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := w.rooms.Invite(ctx, o.Invites["lee@far.example"]); !errors.Is(err, chat.ErrRevoked) {
		t.Errorf("the link of who was put out: %v", err)
	}
	for args, want := range map[[2]string]string{{o.Room, "lee@far.example"}: "is not in the conversation",
		{"nowhere", "kim@far.example"}: "there is no conversation nowhere"} {
		if _, err := c.RemovePerson(ctx, args[0], args[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if len(told) != 2 || told[0] != o.Room || told[1] != o.Room {
		t.Errorf("told of %q", told)
	}
}
