// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"fmt"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
)

// namesOf are the names of a room's people. Who share a name get their
// addresses beside it.
func namesOf(info chat.Info) map[int64]string {
	count := map[string]int{}
	for _, p := range info.Participants {
		count[clean.Name(p.DisplayName())]++
	}
	names := make(map[int64]string, len(info.Participants))
	for _, p := range info.Participants {
		name := clean.Name(p.DisplayName())
		if count[name] > 1 && p.Addr != "" && p.Addr != name {
			name += " <" + p.Addr + ">"
		}
		if p.Guest {
			name += " (guest)"
		}
		names[p.ID] = name
	}
	return names
}

// lineOf is the line of a message; false: it has none.
func lineOf(m chat.Message, names map[int64]string, lang string) (l Line, ok bool) {
	l = Line{At: m.At, Text: m.Text, Edited: !m.Edited.IsZero(), Deleted: m.Deleted}
	switch m.Kind {
	case chat.KindText, chat.KindFile:
		if l.Name = names[m.From]; l.Name == "" {
			l.Name = "?"
		}
		if m.File != nil {
			l.Files = []File{{Name: m.File.Name, Size: m.File.Size}}
		}
		return l, true
	case chat.KindMail:
		l.Text = fmt.Sprintf(noteWords[lang == "ko"]["mail"], names[m.From], m.Text)
		return l, true
	case chat.KindNote:
		key, words, _ := strings.Cut(m.Text, "\n")
		format, known := noteWords[lang == "ko"][key]
		if !known || key == "mail" {
			return l, false
		}
		l.Text = fmt.Sprintf(format, names[m.From])
		if words != "" {
			l.Text += ": " + strings.Join(strings.Fields(words), " ")
		}
		return l, true
	}
	return l, false
}

// noteWords are the texts of notes, in Korean or English, as the pages have them.
var noteWords = map[bool]map[string]string{
	false: {"answered": "%s answered", "declined": "%s could not talk", "cancelled": "%s cancelled the call",
		"unanswered": "%s did not answer", "alarmed": "%s was alerted", "mail": "%s wrote a mail: %s",
		"gone": "%s had left before the answer"},
	true: {"answered": "%s님이 받았습니다", "declined": "%s님이 대화할 수 없었습니다", "cancelled": "%s님이 호출을 취소했습니다",
		"unanswered": "%s님이 받지 않았습니다", "alarmed": "%s님에게 알림을 보냈습니다", "mail": "%s님이 메일을 보냈습니다: %s",
		"gone": "%s님이 응답 전에 나갔습니다"},
}
