// SPDX-License-Identifier: GPL-3.0-or-later

//go:build !linux

package notice

import (
	"fmt"

	"github.com/gen2brain/beeep"
)

// Desktop shows notifications of this session.
type Desktop struct{}

// New returns a desktop.
func New() *Desktop {
	beeep.AppName = "CHmail"
	return &Desktop{}
}

// Presses are the buttons that were pressed: there are none.
func (d *Desktop) Presses() <-chan Press { return nil }

// Show shows a notification. buttons: its buttons can be pressed.
func (d *Desktop) Show(n Notice) (buttons bool, err error) {
	show := beeep.Notify
	if n.Sound {
		show = beeep.Alert
	}
	if err := show(n.Title, n.Text, ""); err != nil {
		return false, fmt.Errorf("showing a notification: %w", err)
	}
	return false, nil
}

// Remove takes a notification away: the system does that after a while.
func (d *Desktop) Remove(string) {}

// Close has nothing to end.
func (d *Desktop) Close() {}
