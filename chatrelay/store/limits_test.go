// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
)

func FuzzClean(f *testing.F) {
	f.Add("plain", 3)
	f.Add("안녕하세요", 4)
	f.Add("\xff\xfe\x00", 2)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 0 || max > 1<<10 {
			t.Skip()
		}
		if c := chat.Storable(s, max); len(c) > max || !utf8.ValidString(c) || strings.Contains(c, "\x00") {
			t.Errorf("clean(%q, %d) = %q", s, max, c)
		}
	})
}
