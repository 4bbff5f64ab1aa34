// SPDX-License-Identifier: GPL-3.0-or-later

package autostart

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// systemd begins the agent with the session and again when it failed, but not when it
// was signed out.
const unit = `[Unit]
Description=CHmail: be reachable for chats
Documentation=https://github.com/chmail/chmail

[Service]
ExecStart=%s
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=%d

[Install]
WantedBy=default.target
`

const entry = `[Desktop Entry]
Type=Application
Name=CHmail
Comment=Be reachable for chats
Exec=%s
NoDisplay=true
`

// Install makes a command begin with the session, and begins it now where systemd does
// that. It says what it did in words for a person.
func Install(command []string) (did string, err error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the folder for settings: %w", err)
	}
	if run("systemctl", "--user", "show-environment") != nil { // no systemd, or none of this user
		path := filepath.Join(config, "autostart", "chmail.desktop")
		if err := write(path, fmt.Sprintf(entry, quoted(command, `\$`))); err != nil {
			return "", fmt.Errorf("writing a desktop entry: %w", err)
		}
		return "The agent starts when you sign in to the desktop: " + path, nil
	}
	path := filepath.Join(config, "systemd", "user", "chmail.service")
	err = write(path, fmt.Sprintf(unit, quoted(command, "$$"), SignedOut))
	if err == nil {
		err = run("systemctl", "--user", "daemon-reload")
	}
	if err == nil {
		err = run("systemctl", "--user", "enable", "--now", "chmail.service")
	}
	if err != nil {
		return "", fmt.Errorf("starting the agent with systemd: %w", err)
	}
	return "The agent runs now, and whenever you sign in: " + path, nil
}

// Remove ends that. fs.ErrNotExist: it was not there.
func Remove() error {
	config, err := os.UserConfigDir()
	if err != nil {
		return fmt.Errorf("finding the folder for settings: %w", err)
	}
	service := filepath.Join(config, "systemd", "user", "chmail.service")
	if _, err := os.Stat(service); err == nil {
		// Without systemd nothing runs that could be stopped.
		_ = run("systemctl", "--user", "disable", "--now", "chmail.service")
	}
	gone := os.Remove(service)
	if err := os.Remove(filepath.Join(config, "autostart", "chmail.desktop")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return gone
}

// quoted writes a command with each word in double quotes, dollar is how a "$" is written
// in them: systemd.service(5), and the Desktop Entry Specification.
func quoted(command []string, dollar string) string {
	var words []string
	for _, w := range command {
		w = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", dollar, "%", "%%").Replace(w)
		words = append(words, `"`+w+`"`)
	}
	return strings.Join(words, " ")
}
