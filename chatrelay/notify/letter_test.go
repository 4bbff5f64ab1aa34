// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestLetter: a letter is plain text, or that and the same as HTML, and has the
// fields that were asked for, each in one line.
func TestLetter(t *testing.T) {
	t.Parallel()
	l := chat.Letter{From: chat.Person{Addr: "lamps@mall.example", Name: "램프"}, To: chat.Person{Addr: "kim@far.example"},
		Subject: "Order", Text: "Words.", MessageID: "1@mall.example",
		Header: [][2]string{{"Reply-To", "kim@far.example\r\nBcc: all@far.example"}, {"References", "<2@mall.example>"}}}
	for _, html := range []string{"", "<p>Words.</p>"} {
		l.HTML = html
		header, body, err := ComposeLetter(l, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if header.Get("Reply-To") != "kim@far.example Bcc: all@far.example" || header.Has("Bcc") ||
			header.Get("References") != "<2@mall.example>" {
			t.Errorf("the fields are %v", header.Map())
		}
		e, err := message.New(message.Header{Header: header}, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r, got := mail.NewReader(e), map[string]string{}
		for {
			p, err := r.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := p.Header.(*mail.InlineHeader).ContentType()
			text, err := io.ReadAll(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			got[kind] = strings.TrimSpace(string(text))
		}
		if got["text/plain"] != "Words." || got["text/html"] != html {
			t.Errorf("the parts are %q", got)
		}
	}
}
