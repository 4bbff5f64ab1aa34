// SPDX-License-Identifier: GPL-3.0-or-later

package password

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed weak.txt
var weakText string

// weak are passwords that everybody tries, in lower case.
var weak = func() map[string]bool {
	list := make(map[string]bool)
	for _, line := range strings.Fields(weakText) {
		list[line] = true
	}
	return list
}()

// easy says whether a password is one that is tried first: a well-known one, perhaps with
// digits and marks behind it, or a short one of few different characters.
func easy(password string) bool {
	lower := strings.ToLower(password)
	different := make(map[rune]bool)
	for _, r := range lower {
		different[r] = true
	}
	word := strings.TrimRight(lower, "0123456789!@#$%^&*?._-")
	return len(different) < 4 && len(lower) < 20 || weak[lower] || weak[word]
}

// CheckFor is Check of a password for a login, which it must not repeat.
func CheckFor(login, password string) error {
	if err := Check(password); err != nil {
		return err
	}
	lower, login := strings.ToLower(password), strings.ToLower(login)
	name, domain, _ := strings.Cut(login, "@")
	if lower == login || strings.TrimRight(lower, "0123456789!@#$%^&*?._-") == name || lower == domain {
		return fmt.Errorf("the password is the login's name: %w", ErrUnfit)
	}
	return nil
}
