// SPDX-License-Identifier: GPL-3.0-or-later

// Package autostart makes a command run whenever this person signs in to their
// computer: as a systemd user unit or a desktop entry on Linux, a launch agent on macOS,
// a registry value on Windows. It needs no administrator.
package autostart

// SignedOut is the exit code of a command that is of no use to begin again: its account
// was signed out.
const SignedOut = 3
