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

// most is how many octets a script has at most, as it travels.
var most = map[string]int{
	"chat": 12 << 10, // until the card works
	"talk": 31 << 10, // the conversation, after that, with the way from computer to computer
}

// TestChatIsSmall: whoever follows a link on a slow phone waits for these scripts.
func TestChatIsSmall(t *testing.T) {
	t.Chdir("../..")
	for page, most := range most {
		script, err := build(filepath.Join(source, "page", page+".ts"), api.FormatESModule)
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
			t.Logf("%s.%s: %d octets", page, lang, b.Len())
			if b.Len() > most {
				t.Errorf("%s.%s: %d octets, more than %d", page, lang, b.Len(), most)
			}
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
	for key, want := range map[string]bool{"chat.now": true, "why.quic": true, "gone.expired.whatOf": true,
		"gone.expired.title": false, "chat.leave": false, "settings.title": false} {
		if _, have := said[key]; have != want {
			t.Errorf("%s: %t, want %t", key, have, want)
		}
	}
	if rest != script {
		t.Errorf("the script is %q", rest)
	}
}
