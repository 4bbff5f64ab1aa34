// SPDX-License-Identifier: GPL-3.0-or-later

package notify

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

// Mailer sends a mail; nil means that the mail was accepted.
type Mailer interface {
	Send(ctx context.Context, m chat.ServerMail) error
}

// words are what a mail says in one language: a paragraph, the text of its
// link, a last paragraph.
type words struct{ lang, first, button, last string }

// written fills a mail with its words in every language, one after the other:
// of the reader nothing is known but an address.
func written(m chat.ServerMail, link string, all ...words) chat.ServerMail {
	var text, page strings.Builder
	page.WriteString(`<!DOCTYPE html><html lang="` + all[0].lang +
		`"><body style="font-family:sans-serif;line-height:1.5">`)
	for i, w := range all {
		if i > 0 {
			text.WriteString("\n\n")
			page.WriteString("<hr>")
		}
		fmt.Fprintf(&text, "%s\n\n", w.first)
		fmt.Fprintf(&page, `<div lang="%s"><p>%s</p>`, w.lang, html.EscapeString(w.first))
		if link != "" {
			fmt.Fprintf(&text, "%s:\n%s\n\n", w.button, link)
			fmt.Fprintf(&page, `<p><a href="%s">%s</a></p>`, html.EscapeString(link), html.EscapeString(w.button))
		}
		fmt.Fprintf(&text, "%s\n", w.last)
		fmt.Fprintf(&page, "<p>%s</p></div>", html.EscapeString(w.last))
	}
	page.WriteString("</body></html>\r\n")
	m.Text, m.HTML = text.String(), page.String()
	return m
}

// Compose builds the message (RFC 5322): header and multipart/alternative
// body. It says that a machine sent it (RFC 3834 section 5).
func Compose(m chat.ServerMail, from mail.Address, domain string, now time.Time) (textproto.Header, []byte, error) {
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{&from})
	h.SetAddressList("To", []*mail.Address{{Name: m.To.Name, Address: m.To.Addr}})
	if m.ReplyTo != "" {
		h.SetAddressList("Reply-To", []*mail.Address{{Address: m.ReplyTo}})
	}
	if m.Stop != "" {
		h.Set("List-Unsubscribe", "<"+m.Stop+">")
		h.Set("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
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

// oneLine keeps a stranger's words from adding lines to a header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
