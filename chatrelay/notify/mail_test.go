// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"strings"
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// TestMailsInBothLanguages: every mail says all in English and in Korean, with
// the link in each, and a stranger's words are never read as HTML.
func TestMailsInBothLanguages(t *testing.T) {
	t.Parallel()
	kim, mina := chat.Person{Addr: "kim@far.example", Name: `<b>Kim</b> "K"`},
		chat.Person{Addr: "mina@mall.example", Name: "Mina"}
	const link, subject = "https://mall.example/c/AAAA?a=1&b=2", "<script>alert(1)</script>"
	for name, c := range map[string]struct {
		mail  chat.ServerMail
		wants []string
		links int
	}{
		"alarm": {alarmMail(kim, mina, subject, link), []string{"and nobody answered",
			"대화를 요청했지만", kim.Name, subject}, 2},
		"alarm by link": {alarmMail(chat.Person{Name: "Kim", ByLink: true}, mina, subject, link),
			[]string{"Kim, by link tried to chat", "Kim(링크로 접속)님이 대화를"}, 2},
		"back": {backMail(kim, mina, subject, link), []string{"is back", "님이 돌아왔습니다", kim.Name, subject}, 2},
		"code": {codeMail(kim, "123456"), []string{"Your code is 123456", "코드는 123456입니다"}, 0},
	} {
		for _, want := range c.wants {
			if !strings.Contains(c.mail.Text, want) {
				t.Errorf("%s: %q is missing in %q", name, want, c.mail.Text)
			}
		}
		if strings.Contains(c.mail.HTML, "<b>") || strings.Contains(c.mail.HTML, "<script") {
			t.Errorf("%s: markup is left in %q", name, c.mail.HTML)
		}
		if got := strings.Count(c.mail.Text, "\n"+link+"\n"); got != c.links {
			t.Errorf("%s: the link stands %d times alone in a line of %q", name, got, c.mail.Text)
		}
		if got := strings.Count(c.mail.HTML, `<a href="https://mall.example/c/AAAA?a=1&amp;b=2">`); got != c.links {
			t.Errorf("%s: the link stands %d times in %q", name, got, c.mail.HTML)
		}
		if !strings.Contains(c.mail.HTML, `<div lang="ko">`) {
			t.Errorf("%s: the language is not marked in %q", name, c.mail.HTML)
		}
	}
}
