// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"fmt"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
	catalogue "github.com/chmail/chmail/internal/words"
)

// Everything that the mails and the webhooks say stands in this file. What a
// Web Push says stands in the pages' message files, since browsers know their
// reader's language.

// named is what somebody is called in a language: of whoever has only pressed a link,
// it says so.
func named(lang string, p chat.Person) string {
	if p.ByLink {
		return catalogue.In(lang).Say("people.byLink", "name", p.DisplayName())
	}
	return p.DisplayName()
}

// alarmMail tells to that from tried to reach them.
func alarmMail(from, to chat.Person, subject, link string) chat.ServerMail {
	name, koName := named("en", from), named("ko", from)
	return written(chat.ServerMail{To: to, ReplyTo: from.Addr, Subject: from.DisplayName() + " tried to reach you: " + subject}, link,
		words{"en", fmt.Sprintf("%s tried to chat with you about “%s”, and nobody answered.", name, subject),
			"Join the conversation", "The link opens the conversation, with everything said so far."},
		words{"ko", fmt.Sprintf("%s님이 대화를 요청했지만 아무도 받지 않았습니다. 제목: ‘%s’", koName, subject),
			"대화에 들어가기", "링크를 누르면 지금까지 나눈 이야기와 함께 대화가 열립니다."})
}

// backMail tells to, who asked for it, that from is back.
func backMail(from, to chat.Person, subject, link string) chat.ServerMail {
	name := from.DisplayName()
	return written(chat.ServerMail{To: to, ReplyTo: from.Addr, Subject: name + " is back: " + subject}, link,
		words{"en", fmt.Sprintf("%s is back. You asked to be told, about “%s”.", name, subject),
			"Chat now", "The link opens the conversation, with everything said so far."},
		words{"ko", fmt.Sprintf("%s님이 돌아왔습니다. 돌아오면 알려 달라고 하셨습니다. 제목: ‘%s’", name, subject),
			"지금 대화하기", "링크를 누르면 지금까지 나눈 이야기와 함께 대화가 열립니다."})
}

// codeMail carries a confirmation code.
func codeMail(to chat.Person, code string) chat.ServerMail {
	return written(chat.ServerMail{To: to, Subject: "Your chat code: " + code}, "",
		words{"en", "Your code is " + code + ". It is good for ten minutes.", "",
			"Somebody, most likely you, opened your chat link in another browser. " +
				"If it was not you, do nothing, and give the code to nobody."},
		words{"ko", "코드는 " + code + "입니다. 10분 동안 쓸 수 있습니다.", "",
			"누군가(아마도 본인이) 다른 브라우저에서 대화 링크를 열었습니다. " +
				"본인이 아니라면 아무것도 하지 말고, 코드를 누구에게도 알려 주지 마세요."})
}

// webhookTitle says who called whom, to a webhook.
func webhookTitle(from chat.Person, logins []string) string {
	return fmt.Sprintf("%s wants to chat with %s", named("en", from), strings.Join(logins, ", "))
}

// webhookLink stands on the link into the conversation.
const webhookLink = "Open the conversation"
