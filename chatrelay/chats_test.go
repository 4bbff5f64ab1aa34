// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestChatsThatMatter: a change of somebody's chats that is not told makes
// them neither free nor busy for anybody, whatever number they have set.
func TestChatsThatMatter(t *testing.T) {
	t.Parallel()
	chats := newActiveChats(func(relay string) bool { return relay == "far" })
	name := func(n int) string { return fmt.Sprint("room ", n) }
	const rooms = chat.MaxChats + 20
	busy := func() (list []int) { // chats as those in each room, and elsewhere, see them
		for n := range rooms + 1 {
			list = append(list, min(chat.MaxChats, chats.count("host", name(n))))
		}
		return list
	}
	told, before := 0, busy()
	for range 3000 {
		n, relay := rand.N(rooms), []string{"", "far"}[rand.N(2)]
		tell := chats.set("host", name(n), relay, rand.N(5) > 0)
		after := busy()
		for i := range after {
			if i != n && after[i] != before[i] && !tell {
				t.Fatalf("%d chats became %d in the eyes of room %d, and nobody is told", before[i], after[i], i)
			}
		}
		if tell {
			told++
		}
		before = after
	}
	if told == 0 || told == 3000 {
		t.Fatalf("%d of 3000 changes are told", told)
	}
	// One that was not told of for long does not count.
	for n := range rooms {
		chats.set("host", name(n), "far", true)
	}
	for id, c := range chats.of["host"] {
		c.at = time.Now().Add(-2 * chatsKept)
		chats.of["host"][id] = c
	}
	if !chats.set("host", "here", "", true) {
		t.Error("the only live chat is not told of")
	}
}
