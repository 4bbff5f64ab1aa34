// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Mail is a mail of the relay.
type Mail struct {
	To                  chat.Person
	Subject, Text, HTML string
	ReplyTo             string // address; may be empty
}

// Mailer sends the relay's mails; nil means that the mail was accepted.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// called is how a person is named to another.
func called(p chat.Person) string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Addr != "":
		return p.Addr
	}
	return "Somebody"
}

// said is what a mail says in one language: a paragraph, a link with its words, a last paragraph.
type said struct{ lang, first, button, last string }

// written fills a mail with what is said, in each language after the other: of
// whom it goes to nothing is known but an address.
func written(m Mail, link string, all ...said) Mail {
	var text, page strings.Builder
	page.WriteString(`<!DOCTYPE html><html lang="` + all[0].lang + `"><body style="font-family:sans-serif;line-height:1.5">`)
	for i, s := range all {
		if i > 0 {
			text.WriteString("\n\n")
			page.WriteString("<hr>")
		}
		fmt.Fprintf(&text, "%s\n\n", s.first)
		fmt.Fprintf(&page, `<div lang="%s"><p>%s</p>`, s.lang, html.EscapeString(s.first))
		if link != "" {
			fmt.Fprintf(&text, "%s:\n%s\n\n", s.button, link)
			fmt.Fprintf(&page, `<p><a href="%s">%s</a></p>`, html.EscapeString(link), html.EscapeString(s.button))
		}
		fmt.Fprintf(&text, "%s\n", s.last)
		fmt.Fprintf(&page, "<p>%s</p></div>", html.EscapeString(s.last))
	}
	page.WriteString("</body></html>\r\n")
	m.Text, m.HTML = text.String(), page.String()
	return m
}

// alarmMail tells to that from tried to reach them.
func alarmMail(from, to chat.Person, subject, link string) Mail {
	return written(Mail{To: to, ReplyTo: from.Addr, Subject: called(from) + " tried to reach you: " + subject}, link,
		said{"en", fmt.Sprintf("%s tried to chat with you about “%s”, and nobody answered.", called(from), subject),
			"Join the conversation", "The link opens the conversation, with everything said so far."},
		said{"ko", fmt.Sprintf("%s님이 대화를 요청했지만 아무도 받지 않았습니다. 제목: ‘%s’", called(from), subject),
			"대화에 들어가기", "링크를 누르면 지금까지 나눈 이야기와 함께 대화가 열립니다."})
}

// backMail tells to, who asked for it, that from is back.
func backMail(from, to chat.Person, subject, link string) Mail {
	return written(Mail{To: to, ReplyTo: from.Addr, Subject: called(from) + " is back: " + subject}, link,
		said{"en", fmt.Sprintf("%s is back. You asked to be told, about “%s”.", called(from), subject),
			"Chat now", "The link opens the conversation, with everything said so far."},
		said{"ko", fmt.Sprintf("%s님이 돌아왔습니다. 돌아오면 알려 달라고 하셨습니다. 제목: ‘%s’", called(from), subject),
			"지금 대화하기", "링크를 누르면 지금까지 나눈 이야기와 함께 대화가 열립니다."})
}

// codeMail carries a confirmation code.
func codeMail(to chat.Person, code string) Mail {
	return written(Mail{To: to, Subject: "Your chat code: " + code}, "",
		said{"en", "Your code is " + code + ". It is good for ten minutes.", "",
			"Somebody, most likely you, opened your chat link in another browser. If it was not you, do nothing, and give the code to nobody."},
		said{"ko", "코드는 " + code + "입니다. 10분 동안 쓸 수 있습니다.", "",
			"누군가(아마도 본인이) 다른 브라우저에서 대화 링크를 열었습니다. 본인이 아니라면 아무것도 하지 말고, 코드를 누구에게도 알려 주지 마세요."})
}

// Compose builds the message (RFC 5322): header and multipart/alternative
// body, which name their maker as a machine (RFC 3834 section 5).
func Compose(m Mail, from mail.Address, domain string, now time.Time) (textproto.Header, []byte, error) {
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{&from})
	h.SetAddressList("To", []*mail.Address{{Name: m.To.Name, Address: m.To.Addr}})
	if m.ReplyTo != "" {
		h.SetAddressList("Reply-To", []*mail.Address{{Address: m.ReplyTo}})
	}
	h.SetSubject(oneLine(m.Subject))
	h.SetDate(now)
	h.SetMessageID(rand.Text() + "@" + domain)
	h.Set("Auto-Submitted", "auto-generated")
	h.Set("MIME-Version", "1.0")
	h.SetContentType("multipart/alternative", map[string]string{"boundary": rand.Text()})
	var all bytes.Buffer
	w, err := message.CreateWriter(&all, h.Header)
	if err != nil {
		return textproto.Header{}, nil, fmt.Errorf("composing a mail: %w", err)
	}
	for _, part := range [][2]string{{"text/plain", m.Text}, {"text/html", m.HTML}} {
		var ph message.Header
		ph.SetContentType(part[0], map[string]string{"charset": "utf-8"})
		ph.Set("Content-Transfer-Encoding", "quoted-printable")
		pw, err := w.CreatePart(ph)
		if err == nil {
			_, err = io.WriteString(pw, part[1])
		}
		if err == nil {
			err = pw.Close()
		}
		if err != nil {
			return textproto.Header{}, nil, fmt.Errorf("composing a mail: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return textproto.Header{}, nil, fmt.Errorf("composing a mail: %w", err)
	}
	_, body, _ := bytes.Cut(all.Bytes(), []byte("\r\n\r\n"))
	return h.Header.Header, body, nil
}

// oneLine keeps what strangers wrote from making more lines of a header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
