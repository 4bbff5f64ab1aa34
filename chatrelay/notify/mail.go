// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
)

// Mailer sends a mail; nil means that the mail was accepted.
type Mailer interface {
	Send(ctx context.Context, m chat.ServerMail) error
}

// written is a letter as a mail: its words in each of the languages, one after the
// other, the subject in the first.
func (l letter) written(languages []string) (m chat.ServerMail, err error) {
	m = chat.ServerMail{To: l.to, ReplyTo: l.from.Addr}
	var text strings.Builder
	p := page{Lang: languages[0], Initials: clean.Initials(l.from.DisplayName()), Link: l.link, From: l.from.Addr != ""}
	for i, lang := range languages {
		t := words.In(lang)
		values := append([]any{"name", named(lang, l.from)}, l.values...)
		say := func(key string) string { return t.Say("mail."+l.kind+"."+key, values...) }
		w := wording{Lang: lang, First: say("first"), Last: say("last")}
		if i == 0 {
			// A subject is short: it names the person alone.
			m.Subject = t.Say("mail."+l.kind+".subject", append(values, "name", l.from.DisplayName())...)
		} else {
			text.WriteString("\n\n")
		}
		text.WriteString(w.First + "\n\n")
		if l.link != "" {
			w.Button = say("button")
			text.WriteString(w.Button + ":\n" + l.link + "\n\n")
		}
		text.WriteString(w.Last + "\n")
		p.Words = append(p.Words, w)
	}
	var html bytes.Buffer
	if err := htmlBody.Execute(&html, p); err != nil {
		return m, fmt.Errorf("writing a mail: %w", err)
	}
	m.Text, m.HTML = text.String(), html.String()
	return m, nil
}

// page is a mail for the template.
type page struct {
	Lang, Initials, Link string
	From                 bool // somebody is spoken of
	Words                []wording
}

// wording is what a mail says in one language.
type wording struct{ Lang, First, Button, Last string }

// htmlBody has its styles in it, because mail programs leave others out. Its colours
// are those of the pages.
var htmlBody = template.Must(template.New("mail").Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"></head>
<body style="font-family:system-ui,'Segoe UI',sans-serif;line-height:1.5;max-width:36em">
{{- if .From}}
<p><span aria-hidden="true" style="display:inline-block;width:44px;line-height:44px;border-radius:22px;
 text-align:center;background-color:#0d6b5b;color:#ffffff;font-weight:bold">{{.Initials}}</span></p>
{{- end}}
{{- range $i, $w := .Words}}
{{- if $i}}
<hr style="border:0;border-top:1px solid #c9d4d0;margin:24px 0">
{{- end}}
<div lang="{{.Lang}}"><p dir="auto">{{.First}}</p>
{{- if $.Link}}
<p><a href="{{$.Link}}" style="display:inline-block;padding:10px 18px;border-radius:6px;background-color:#0d6b5b;
 color:#ffffff;font-weight:bold;text-decoration:none">{{.Button}}</a></p>
<p style="font-size:small;word-break:break-all"><a href="{{$.Link}}" style="color:#0d6b5b">{{$.Link}}</a></p>
{{- end}}
<p style="font-size:small">{{.Last}}</p></div>
{{- end}}
</body></html>
`))

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
	header, body, err := composeBody(h, m.Text, m.HTML)
	if err != nil {
		return textproto.Header{}, nil, fmt.Errorf("composing a mail: %w", err)
	}
	return header, body, nil
}

// composeBody completes a header and writes the body below it: a plain text, and the
// same as HTML unless that is empty (RFC 2046 section 5.1.4).
func composeBody(h mail.Header, text, html string) (textproto.Header, []byte, error) {
	plain := map[string]string{"charset": "utf-8"}
	if html == "" {
		h.SetContentType("text/plain", plain)
		h.Set("Content-Transfer-Encoding", "quoted-printable")
	} else {
		h.SetContentType("multipart/alternative", map[string]string{"boundary": rand.Text()})
	}
	var all bytes.Buffer
	w, err := message.CreateWriter(&all, h.Header)
	if err != nil {
		return textproto.Header{}, nil, err
	}
	parts := [][2]string{{"text/plain", text}, {"text/html", html}}
	if html == "" {
		parts = nil
		_, err = io.WriteString(w, text)
	}
	for _, part := range parts {
		var ph message.Header
		ph.SetContentType(part[0], plain)
		ph.Set("Content-Transfer-Encoding", "quoted-printable")
		var pw *message.Writer
		if pw, err = w.CreatePart(ph); err == nil {
			_, err = io.WriteString(pw, part[1])
			err = errors.Join(err, pw.Close())
		}
		if err != nil {
			break
		}
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return textproto.Header{}, nil, err
	}
	_, body, _ := bytes.Cut(all.Bytes(), []byte("\r\n\r\n"))
	return h.Header.Header, body, nil
}

// oneLine keeps a stranger's words from adding lines to a header.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
