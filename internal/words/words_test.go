// SPDX-License-Identifier: GPL-3.0-or-later

package words

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

// messages reads a catalogue, each plural category as a message of its own; a
// key that is there twice is an error, because the second would hide the first.
func messages(t *testing.T, lang string) map[string]string {
	t.Helper()
	raw, lines := make(map[string]message), 0
	names, err := filepath.Glob("*" + lang + ".json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &raw); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		lines += bytes.Count(b, []byte("\n  \""))
	}
	if lines != len(raw) {
		t.Errorf("%s: %d lines of keys and %d messages: one is there twice", lang, lines, len(raw))
	}
	all := make(map[string]string)
	for key, m := range raw {
		all[key] = m["other"]
	}
	return all
}

// TestSay: values, plurals, languages.
func TestSay(t *testing.T) {
	t.Parallel()
	for prefer, want := range map[string]string{"": "en", "ko": "ko", "ko-KR,en;q=0.5": "ko", "fr, ko;q=0.8": "ko", "de": "en"} {
		if got := In(prefer).Lang; got != want {
			t.Errorf("%q: %s, want %s", prefer, got, want)
		}
	}
	tongue := Tongue{messages: map[string]message{"a": {"other": "{n} seconds, {name}", "one": "{n} second, {name}"}}}
	for n, want := range []string{"0 seconds, Mina", "1 second, Mina", "2 seconds, Mina"} {
		if got := tongue.Say("a", "n", n, "name", "Mina"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
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
	for _, lang := range Languages[1:] {
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

// TestTitles: a Korean name that ends in a title gets no second one.
func TestTitles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"김민아": "김민아님이 받았습니다", "김민아님": "김민아님이 받았습니다", "Jun": "Jun님이 받았습니다"} {
		if got := In("ko").Say("note.answered", "name", name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestOctets(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1500: "1.5 kB", 999_949: "999.9 kB",
		999_950:        "1.0 MB",
		12_000_000_000: "12.0 GB"} {
		if got := Octets(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
