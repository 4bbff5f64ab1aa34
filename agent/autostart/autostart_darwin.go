// SPDX-License-Identifier: GPL-3.0-or-later

package autostart

import (
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

const label = "org.chmail.agent"

const plist = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key><string>` + label + `</string>
	<key>ProgramArguments</key>
	<array>%s</array>
	<key>RunAtLoad</key><true/>
</dict>
</plist>
`

func path() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("finding the home folder: %w", err)
	}
	return filepath.Join(home, "Library", "LaunchAgents", label+".plist"), nil
}

// Install makes a command begin with the session, and begins it now. It says what it did
// in words for a person.
func Install(command []string) (did string, err error) {
	var words strings.Builder
	for _, w := range command {
		words.WriteString("<string>" + html.EscapeString(w) + "</string>")
	}
	at, err := path()
	if err == nil {
		err = write(at, fmt.Sprintf(plist, words.String()))
	}
	if err == nil {
		err = run("launchctl", "load", "-w", at)
	}
	if err != nil {
		return "", fmt.Errorf("making a launch agent: %w", err)
	}
	return "The agent runs now, and whenever you sign in: " + at, nil
}

// Remove ends that. fs.ErrNotExist: it was not there.
func Remove() error {
	at, err := path()
	if err != nil {
		return err
	}
	_ = run("launchctl", "unload", "-w", at) // it may not run
	return os.Remove(at)
}
