// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
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
func (t Transcript) lineOf(m chat.Message, names map[int64]string) (l Line, ok bool) {
	l = Line{At: m.At, Text: m.Text, Edited: !m.Edited.IsZero(), Deleted: m.Deleted}
	w := words.In(t.Lang)
	switch m.Kind {
	case chat.KindText, chat.KindFile:
		if l.Name = names[m.From]; l.Name == "" {
			l.Name = "?"
		}
		if m.Via == chat.ViaLink {
			l.Name = w.Say("people.byLink", "name", l.Name)
		}
		if m.File != nil {
			l.Files = []File{{Name: m.File.Name, Size: m.File.Size}}
		}
		return l, true
	case chat.KindMail:
		l.Text = w.Say("note.mail", "name", names[m.From], "subject", m.Text)
		return l, true
	case chat.KindNote:
		l.Text = ""
		key, said, _ := strings.Cut(m.Text, "\n")
		switch key {
		case chat.NoteFrom:
			l.Text = t.origin(said)
		case chat.NoteAbout:
			l.Text = w.Say("note.about", "subject", said)
		case chat.NoteRated:
			if said == chat.RatedGood || said == chat.RatedBad {
				l.Text = w.Say("note.rated."+said, "name", names[m.From])
			}
		case "answered", "declined", "cancelled", "unanswered", "alarmed", "gone", chat.NoteKept:
			l.Text = w.Say("note."+key, "name", names[m.From])
			if said != "" {
				l.Text += ": " + strings.Join(strings.Fields(said), " ")
			}
		}
		return l, l.Text != ""
	}
	return l, false
}

// origin says out of which older conversation a mail opened this one.
func (t Transcript) origin(said string) string {
	when, subject, _ := strings.Cut(said, "\n")
	at, err := time.Parse(time.RFC3339, when)
	if err != nil {
		return ""
	}
	w := words.In(t.Lang)
	date := dateOf(w.Lang, at.In(t.zone()))
	if subject == "" {
		return w.Say("note.from", "date", date)
	}
	return w.Say("note.fromSubject", "date", date, "subject", subject)
}
