// SPDX-License-Identifier: GPL-3.0-or-later

package notice

import (
	"strings"
	"testing"

	"github.com/chmail/chmail/agent/notice/noticetest"
)

// TestDesktop: a notification with buttons, its newer text, what is pressed, and its end.
func TestDesktop(t *testing.T) {
	desk := noticetest.Start(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", desk.Address)
	d := New()
	defer d.Close()
	n := Notice{ID: "a", Title: "Incoming chat", Text: "Jae <3 & you", Urgent: true,
		Buttons: []Button{{"answer", "Answer"}, {"decline", "Decline"}}}
	if buttons, err := d.Show(n); err != nil || !buttons {
		t.Fatalf("buttons %v, %v", buttons, err)
	}
	first := desk.Next(t)
	if first.Title != n.Title || first.Text != "Jae &lt;3 &amp; you" || first.Replaces != 0 || !first.Urgent ||
		strings.Join(first.Actions, " ") != "default Answer answer Answer decline Decline" {
		t.Errorf("%+v", first)
	}
	n.Text = "again"
	if _, err := d.Show(n); err != nil {
		t.Fatal(err)
	}
	if again := desk.Next(t); again.Replaces != first.ID {
		t.Errorf("the newer one took the place of %d, want %d", again.Replaces, first.ID)
	}
	desk.Press(t, first.ID, "answer")
	if got := <-d.Presses(); got != (Press{"a", "answer"}) {
		t.Errorf("%+v", got)
	}
	d.Remove("a")
	if id := desk.Closed(t); id != first.ID {
		t.Errorf("%d was taken away, want %d", id, first.ID)
	}
}

// TestNoDesktop: without a bus nothing is shown, and nothing else breaks.
func TestNoDesktop(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+t.TempDir()+"/none")
	d := New()
	defer d.Close()
	if _, err := d.Show(Notice{ID: "a"}); err == nil {
		t.Error("it was shown nowhere")
	}
	d.Remove("a")
}
