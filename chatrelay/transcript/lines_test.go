// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"testing"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Two people of one name are told apart; what is no line has none.
func TestTranscriptWords(t *testing.T) {
	t.Parallel()
	info := chat.Info{Participants: []chat.Participant{
		{ID: 1, Person: chat.Person{Name: "Kim", Addr: "a@far.example"}},
		{ID: 2, Person: chat.Person{Name: "Kim", Addr: "b@far.example"}},
		{ID: 3, Person: chat.Person{Name: "Lee"}, Guest: true}, {ID: 4, Person: chat.Person{Addr: "c@far.example"}},
	}}
	names := namesOf(info)
	for id, want := range map[int64]string{1: "Kim <a@far.example>", 2: "Kim <b@far.example>",
		3: "Lee (guest)", 4: "c@far.example"} {
		if names[id] != want {
			t.Errorf("%d is called %q", id, names[id])
		}
	}
	for lang, want := range map[string]string{"en": "c@far.example, by link", "ko": "c@far.example님(링크로 접속)"} {
		said := chat.Message{Kind: chat.KindText, From: 4, Text: "it is me", Via: chat.ViaLink}
		if l, ok := (Transcript{Lang: lang}).lineOf(said, names); !ok || l.Name != want {
			t.Errorf("whoever came by a link is called %q", l.Name)
		}
	}
	for _, c := range []struct {
		m          chat.Message
		lang, want string
	}{
		{chat.Message{Kind: chat.KindNote, From: 3, Text: "declined\nin a\nmeeting"}, "en",
			"Lee (guest) declined: in a meeting"},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "alarmed"}, "ko", "c@far.example님에게 알림을 보냈습니다"},
		{chat.Message{Kind: chat.KindMail, From: 4, Text: "Order %s"}, "", "c@far.example wrote a mail: Order %s"},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "unheard of"}, "en", ""},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "mail"}, "en", ""},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "from\n2026-03-09T23:30:00Z"}, "en",
			"This conversation comes from an earlier one of 9 March 2026, with other people." +
				" What was said there is not shown here."},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "from\n2026-03-09T23:30:00Z\nOffer"}, "ko",
			"2026년 3월 9일의 “Offer” 대화에서 갈라져 나온 대화입니다. 참여자가 달라 이전 내용은 여기에 보이지 않습니다."},
		{chat.Message{Kind: chat.KindNote, From: 4, Text: "from\nsoon"}, "en", ""},
		{chat.Message{Kind: chat.KindEdit, From: 4, Text: "x", Ref: 1}, "en", ""},
	} {
		if l, ok := (Transcript{Lang: c.lang}).lineOf(c.m, names); l.Text != c.want && ok || ok != (c.want != "") {
			t.Errorf("%+v: %q, %v", c.m, l.Text, ok)
		}
	}
}
