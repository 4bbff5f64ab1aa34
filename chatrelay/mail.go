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

	"github.com/chmail/chmail/chatrelay/room"
)

// Mail is a mail of the relay.
type Mail struct {
	To                  room.Person
	Subject, Text, HTML string
	ReplyTo             string // address; may be empty
}

// Mailer sends the relay's mails; nil means that the mail was accepted.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// called is how a person is named to another.
func called(p room.Person) string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Addr != "":
		return p.Addr
	}
	return "Somebody"
}

// page renders paragraphs, with a link as a button between the first and the rest.
func page(link, button string, paragraphs ...string) string {
	var b strings.Builder
	b.WriteString(`<!DOCTYPE html><html lang="en"><body style="font-family:sans-serif;line-height:1.5">`)
	for i, p := range paragraphs {
		fmt.Fprintf(&b, "<p>%s</p>", html.EscapeString(p))
		if i == 0 && link != "" {
			fmt.Fprintf(&b, `<p><a href="%s">%s</a></p>`, html.EscapeString(link), html.EscapeString(button))
		}
	}
	b.WriteString("</body></html>\r\n")
	return b.String()
}

// alarmMail tells to that from tried to reach them.
func alarmMail(from, to room.Person, subject, link string) Mail {
	first := fmt.Sprintf("%s tried to chat with you about “%s”, and nobody answered.", called(from), subject)
	last := "The link opens the conversation, with everything said so far."
	return Mail{To: to, ReplyTo: from.Addr, Subject: called(from) + " tried to reach you: " + subject,
		Text: first + "\n\nJoin the conversation:\n" + link + "\n\n" + last + "\n",
		HTML: page(link, "Join the conversation", first, last)}
}

// backMail tells to, who asked for it, that from is back.
func backMail(from, to room.Person, subject, link string) Mail {
	first := fmt.Sprintf("%s is back. You asked to be told, about “%s”.", called(from), subject)
	last := "The link opens the conversation, with everything said so far."
	return Mail{To: to, ReplyTo: from.Addr, Subject: called(from) + " is back: " + subject,
		Text: first + "\n\nChat now:\n" + link + "\n\n" + last + "\n",
		HTML: page(link, "Chat now", first, last)}
}

// codeMail carries a confirmation code.
func codeMail(to room.Person, code string) Mail {
	first := "Your code is " + code + ". It is good for ten minutes."
	last := "Somebody, most likely you, opened your chat link in another browser. If it was not you, do nothing, and give the code to nobody."
	return Mail{To: to, Subject: "Your chat code: " + code, Text: first + "\n\n" + last + "\n", HTML: page("", "", first, last)}
}

// compose builds the message (RFC 5322): header and multipart/alternative
// body, which name their maker as a machine (RFC 3834 section 5).
func compose(m Mail, from mail.Address, domain string, now time.Time) (textproto.Header, []byte, error) {
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
