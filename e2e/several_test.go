// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// TestSeveral runs two servers with one Redis and one PostgreSQL. A link opened
// at either leads to the room's home; when the home is killed in the middle of
// a chat, and when the other is then stopped, everybody goes on in the room with
// nothing lost, doubled or out of order.
func TestSeveral(t *testing.T) {
	redis, database := testpart.Redis(t), testpart.Postgres(t)
	stateA, stateB := t.TempDir(), t.TempDir()
	shared := []string{"--presence", redis.URL(), "--database", database}
	sharedA := append([]string{"--base-port", strconv.Itoa(testpart.FreePorts(t, 6))}, shared...)
	a, b := startServer(t, stateA, sharedA...), startServer(t, stateB, shared...)
	chromium := browser(t)

	a.send(t, "host", fmt.Sprintf(letter, "Two lamps", "several"), "customer@mall.example", "friend@mall.example")
	_, link := checkStamp(t, a, a.mailWith(t, "customer", "Two lamps"))
	_, friendLink := checkStamp(t, a, a.mailWith(t, "friend", "Two lamps"))

	// The host signs in at B and the customer opens the link at A; the room's
	// home is A, where the host was granted a port.
	desk := open(t, chromium, "host", b.Web+"/desk")
	b.signIn(desk, "host")
	customer := open(t, chromium, "customer", link)
	customer.statusBegins(10*time.Second, "Available")
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	friend := open(t, chromium, "friend", strings.Replace(friendLink, a.Web, b.Web, 1))
	friend.press("Chat now")
	pages := []*page{desk, customer, friend}
	n := 0
	talk := func() {
		t.Helper()
		for _, p := range pages {
			n++
			p.say(fmt.Sprintf("line %d.", n))
		}
		for _, p := range pages {
			for i := n - len(pages) + 1; i <= n; i++ {
				p.hears(fmt.Sprintf("line %d.", i))
			}
		}
	}
	talk()
	a.checkCarrier(t, "webtransport", 3)

	a.kill()
	killed := time.Now()
	n++
	customer.say(fmt.Sprintf("line %d.", n)) // written while nobody carries it
	for _, p := range pages {
		p.hears(fmt.Sprintf("line %d.", n))
	}
	took := time.Since(killed)
	t.Logf("everybody had the next message %v after the kill", took)
	if took > 10*time.Second {
		t.Errorf("everybody had the next message only %v after the kill", took)
	}
	talk()

	// A is back, and B is stopped: it moves the chat to A before it ends.
	startServer(t, stateA, sharedA...)
	talk()
	time.Sleep(2 * time.Second) // A and B know of each other
	stopping := time.Now()
	b.stop(t)
	t.Logf("stopping took %v", time.Since(stopping))
	talk()

	// Those who say something at the same time may be in any order, but it is
	// everybody's.
	order := desk.lines()
	for _, p := range pages {
		if lines := p.lines(); len(lines) != n || !slices.Equal(lines, order) {
			t.Errorf("%s has the lines %v, the host %v, of %d", p.name, lines, order, n)
		}
	}
}

// lines are the numbers of the lines in a page's conversation.
func (p *page) lines() (numbers []string) {
	for _, rest := range strings.SplitAfter(p.log(), "line ")[1:] {
		number, _, _ := strings.Cut(rest, ".")
		numbers = append(numbers, number)
	}
	return numbers
}
