// SPDX-License-Identifier: GPL-3.0-or-later

package autostart

import (
	"fmt"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const (
	runKey = `Software\Microsoft\Windows\CurrentVersion\Run`
	value  = "CHmail"
)

// Install makes a command begin with the session. It says what it did in words for a
// person.
func Install(command []string) (did string, err error) {
	key, _, err := registry.CreateKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
	if err == nil {
		defer key.Close()
		err = key.SetStringValue(value, windows.ComposeCommandLine(command))
	}
	if err != nil {
		return "", fmt.Errorf("writing to the registry: %w", err)
	}
	return "The agent starts when you sign in to Windows.", nil
}

// Remove ends that. fs.ErrNotExist: it was not there.
func Remove() error {
	key, err := registry.OpenKey(registry.CURRENT_USER, runKey, registry.SET_VALUE)
	if err != nil {
		return err
	}
	defer key.Close()
	return key.DeleteValue(value)
}
