// SPDX-License-Identifier: GPL-3.0-or-later

// Package notice shows notifications of the desktop, with a sound, and says what people
// press on them.
//
// On Linux they go over D-Bus (the Desktop Notifications Specification), and have
// buttons. On Windows and macOS they have none.
package notice

// A Notice is one notification.
type Notice struct {
	ID      string // a newer one of the same ID takes its place
	Title   string
	Text    string
	Buttons []Button // the first is also pressed by a click on the notification
	Urgent  bool     // it stays until it is answered
	Sound   bool
}

// Button is something to press. Key comes back in a Press.
type Button struct{ Key, Label string }

// Press is a button that was pressed.
type Press struct{ ID, Key string }
