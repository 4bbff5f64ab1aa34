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
	n := &Notifier{opt: Options{Store: &memory{lang: map[string]string{"lee@far.example": "ko"}}}}
	write := func(l letter) chat.ServerMail {
		t.Helper()
		m, err := l.written(n.languages(t.Context(), l))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, c := range map[string]struct {
		mail  chat.ServerMail
		wants []string
		links int
	}{
		"alarm": {write(alarmMail(kim, mina, subject, link)), []string{"and nobody answered",
			"대화를 요청했지만", kim.Name, subject}, 2},
		"alarm by link": {write(alarmMail(chat.Person{Name: "Kim", ByLink: true}, mina, subject, link)),
			[]string{"Kim, by link tried to chat", "Kim님(링크로 접속)이 대화를"}, 2},
		"back": {write(backMail(kim, mina, subject, link)), []string{"is back", "님이 돌아왔습니다", kim.Name, subject}, 2},
		"invite": {write(inviteMail(kim, mina, subject, link)), []string{"invites you to a conversation",
			"대화에 초대했습니다", kim.Name, subject}, 2},
		"code": {write(codeMail(kim, "123456")), []string{"Your code is 123456", "코드는 123456입니다"}, 0},
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
		if got := strings.Count(c.mail.HTML, `<a href="https://mall.example/c/AAAA?a=1&amp;b=2"`); got != 2*c.links {
			t.Errorf("%s: the link stands %d times in %q", name, got, c.mail.HTML)
		}
		if !strings.Contains(c.mail.HTML, `<div lang="ko">`) {
			t.Errorf("%s: the language is not marked in %q", name, c.mail.HTML)
		}
	}
}

// TestReadersLanguage: a mail speaks the reader's language alone, its subject too;
// of a reader who has none, that of the conversation comes first.
func TestReadersLanguage(t *testing.T) {
	t.Parallel()
	store := &memory{lang: map[string]string{"ko@far.example": "ko", "en@far.example": "en"}}
	n := &Notifier{opt: Options{Store: store}}
	for name, c := range map[string]struct {
		to, about     string
		subject       string
		english, both bool
	}{
		"Korean":          {"ko@far.example", "Order", "Kim님의 대화 요청을 받지 못했습니다: Order", false, false},
		"English":         {"en@far.example", "주문", "Kim tried to reach you: 주문", true, false},
		"unknown":         {"x@far.example", "Order", "Kim tried to reach you: Order", true, true},
		"a Korean thread": {"x@far.example", "주문", "Kim님의 대화 요청을 받지 못했습니다: 주문", true, true},
	} {
		kim := chat.Person{Name: "Kim", Addr: "k@far.example"}
		l := alarmMail(kim, chat.Person{Addr: c.to}, c.about, "https://x/c/A")
		m, err := l.written(n.languages(t.Context(), l))
		if err != nil || m.Subject != c.subject || strings.Contains(m.Text, "nobody answered") != c.english ||
			strings.Contains(m.Text, "아무도 받지") != (c.both || !c.english) {
			t.Errorf("%s: %q, %v\n%s", name, m.Subject, err, m.Text)
		}
	}
}
