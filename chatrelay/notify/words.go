// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"strings"
	"unicode"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/words"
)

// The words of mails and webhooks are in the catalogue. What a Web Push says the
// pages' scripts say, since browsers know their reader's language.

// letter is a mail about a conversation, or about the reader's own doings.
type letter struct {
	kind   string // of the keys: "alarm" has mail.alarm.subject, .first, .button and .last
	from   chat.Person
	to     chat.Person
	values []any // of the words, besides the name of whoever is spoken of
	link   string
}

// named is what somebody is called in a language: of whoever has only pressed a link,
// it says so.
func named(lang string, p chat.Person) string {
	if p.ByLink {
		return words.In(lang).Say("people.byLink", "name", p.DisplayName())
	}
	return p.DisplayName()
}

// alarmMail tells to that from tried to reach them.
func alarmMail(from, to chat.Person, subject, link string) letter {
	return letter{"alarm", from, to, []any{"subject", subject}, link}
}

// backMail tells to, who asked for it, that from is back.
func backMail(from, to chat.Person, subject, link string) letter {
	return letter{"back", from, to, []any{"subject", subject}, link}
}

// inviteMail invites to into a conversation of from.
func inviteMail(from, to chat.Person, subject, link string) letter {
	return letter{"invite", from, to, []any{"subject", subject}, link}
}

// codeMail carries a confirmation code.
func codeMail(to chat.Person, code string) letter {
	return letter{"code", chat.Person{}, to, []any{"code", code}, ""}
}

// languages are those in which a mail to a person speaks: the one that they have
// chosen, or that of the conversation's subject, else all.
func (n *Notifier) languages(ctx context.Context, l letter) []string {
	lang, err := n.opt.Store.Language(ctx, l.to)
	switch {
	case err != nil:
		n.opt.Log.Warn("asking for a reader's language", "err", err)
	case lang != "":
		return []string{words.In(lang).Lang}
	}
	for _, v := range l.values {
		if s, ok := v.(string); ok && strings.ContainsFunc(s, hangul) {
			return []string{"ko", "en"}
		}
	}
	return words.Languages
}

func hangul(r rune) bool { return unicode.Is(unicode.Hangul, r) }

// webhookTitle says who called whom, to a webhook.
func webhookTitle(from chat.Person, logins []string) string {
	return words.In("en").Say("webhook.title", "name", named("en", from), "logins", strings.Join(logins, ", "))
}

// webhookLink stands on the link into the conversation.
func webhookLink() string { return words.In("en").Say("webhook.link") }
