// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// messages reads a message file of the pages; a key that is there twice is an
// error, because the second would hide the first.
func messages(t *testing.T, lang string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("ui", "messages", lang+".json"))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	all, key := make(map[string]string), ""
	for {
		token, err := dec.Token()
		if err != nil {
			break // io.EOF, or what Unmarshal reports below
		}
		text, isText := token.(string)
		switch {
		case !isText:
		case key == "":
			key = text
		default:
			if _, twice := all[key]; twice {
				t.Errorf("%s: %s is there twice", lang, key)
			}
			all[key], key = text, ""
		}
	}
	var check map[string]string
	if err := json.Unmarshal(b, &check); err != nil || len(check) != len(all) {
		t.Fatalf("%s: %v, %d and %d messages", lang, err, len(check), len(all))
	}
	return all
}

var placeholder = regexp.MustCompile(`\{\w+\}`)

// TestMessages: every language says everything, with the same values in it.
func TestMessages(t *testing.T) {
	t.Parallel()
	values := func(text string) []string {
		found := placeholder.FindAllString(text, -1)
		slices.Sort(found)
		return slices.Compact(found)
	}
	en := messages(t, "en")
	for _, lang := range languages[1:] {
		other := messages(t, lang)
		for key, text := range en {
			switch said, ok := other[key]; {
			case !ok:
				t.Errorf("%s does not say %s", lang, key)
			case strings.TrimSpace(said) == "" || strings.TrimSpace(text) == "":
				t.Errorf("%s: %s is empty", lang, key)
			case !slices.Equal(values(text), values(said)):
				t.Errorf("%s: %s has %v, en has %v", lang, key, values(said), values(text))
			}
		}
		for key := range other {
			if _, ok := en[key]; !ok {
				t.Errorf("en does not say %s", key)
			}
		}
	}
}

// TestStatusWords: browser checks, and people who listen to a page, know how
// things stand by the first word.
func TestStatusWords(t *testing.T) {
	t.Parallel()
	known := []string{"Available", "Away", "Off", "Connecting", "Ringing", "Connected",
		"Declined", "No answer", "Alerted", "Ended"}
	for key, text := range messages(t, "en") {
		// status.back is the end of such a line.
		if !strings.HasPrefix(key, "status.") || key == "status.back" {
			continue
		}
		if !slices.ContainsFunc(known, func(word string) bool { return strings.HasPrefix(text, word) }) {
			t.Errorf("%s begins otherwise: %q", key, text)
		}
	}
}
