// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/chmail/chmail/internal/words"
)

const chatMost = 28 << 10 // octets that the script of a chat page has as it travels

// TestChatIsSmall: whoever follows a link on a slow phone waits for this script.
func TestChatIsSmall(t *testing.T) {
	t.Chdir("../..")
	script, err := build(filepath.Join(source, "page", "chat.ts"), api.FormatESModule)
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range words.Languages {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(withWords(lang, script))
		w.Close()
		t.Logf("%s: %d octets", lang, b.Len())
		if b.Len() > chatMost {
			t.Errorf("%s: %d octets, more than %d", lang, b.Len(), chatMost)
		}
	}
}

// TestCatalogue: a script gets the words that it can say and no others.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	script := "t(\"chat.now\");t(`why.${x}`);open(`${room}.${me}`);t(`gone.${r}.what${of?'Of':''}`)"
	got, rest, _ := strings.Cut(string(withWords("ko", []byte(script))), "\n")
	list, ok := strings.CutPrefix(got, `const LANG="ko",WORDS=`)
	var said map[string]any
	if !ok || json.Unmarshal([]byte(strings.TrimSuffix(list, ";")), &said) != nil {
		t.Fatal(got)
	}
	for key, want := range map[string]bool{"chat.now": false, "why.quic": true, "gone.expired.whatOf": true,
		"gone.expired.title": false, "chat.leave": false, "settings.title": false} {
		if _, have := said[key]; have != want {
			t.Errorf("%s: %t, want %t", key, have, want)
		}
	}
	// The whole key is a short one, in the script too.
	short := strings.TrimSuffix(strings.TrimPrefix(strings.Split(rest, ";")[0], `t("`), `")`)
	if said[short] != words.In("ko").Say("chat.now") || len(short) > 2 {
		t.Errorf("chat.now is %q: %q", short, said[short])
	}
}
