// SPDX-License-Identifier: GPL-3.0-or-later

package notice

import (
	"context"
	"os"
	"os/exec"
	"time"

	"golang.org/x/term"
)

const soundWait = 10 * time.Second

// ringtone is a sound of the freedesktop theme, which most desktops bring.
const ringtone = "/usr/share/sounds/freedesktop/stereo/phone-incoming-call.oga"

// play makes the sound of a ring with whatever this computer has; else the bell of the
// terminal in which the program runs.
func play(ctx context.Context) {
	for _, player := range [][]string{
		{"canberra-gtk-play", "-i", "phone-incoming-call"},
		{"pw-play", ringtone},
		{"paplay", ringtone},
	} {
		if path, err := exec.LookPath(player[0]); err == nil {
			ctx, cancel := context.WithTimeout(ctx, soundWait)
			err := exec.CommandContext(ctx, path, player[1:]...).Run()
			if cancel(); err == nil {
				return
			}
		}
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		os.Stderr.WriteString("\a")
	}
}
