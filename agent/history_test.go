// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/direct"
)

// TestHistory: what stays here is read back in its order, by nobody else; a line that was cut is left out, and two full
// files are all that there is.
func TestHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := history{dir: dir}
	path := filepath.Join(dir, historyName)
	add := func(texts ...string) {
		for _, text := range texts {
			if err := h.add(direct.Kept{Room: "r", From: "Kim", Text: text}); err != nil {
				t.Fatal(err)
			}
		}
	}
	kept := func() (texts []string) {
		for m, err := range History(dir) {
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, m.Text[:min(len(m.Text), 8)])
		}
		return texts
	}
	if list := kept(); list != nil {
		t.Errorf("before anything was said: %q", list)
	}
	add("one", "two")
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", i.Mode(), err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("{\"room\":\"r\",\"te\n")
	f.Close()
	add("three\nlines")
	if list := kept(); !slices.Equal(list, []string{"one", "two", "three\nli"}) {
		t.Errorf("kept: %q", list)
	}
	for range 2 { // the file is full, and full again
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		big, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i <= maxHistory; i += maxLine / 2 {
			big.WriteString(strings.Repeat(" ", maxLine/2-1) + "\n")
		}
		big.Close()
		add("next")
	}
	if list := kept(); !slices.Equal(list, []string{"next"}) {
		t.Errorf("after two full files: %q", list)
	}
	h.dir = filepath.Join(dir, "none")
	if err := h.add(direct.Kept{}); err == nil {
		t.Error("what cannot be written is taken")
	}
}
