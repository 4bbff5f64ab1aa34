// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"bytes"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/internal/charsets"
	"github.com/chmail/chmail/internal/words"
)

// AnswerAgain is how long a notice leaves a sender alone whom it has answered.
const AnswerAgain = 7 * 24 * time.Hour

// machines are senders who want no answer (RFC 3834 section 2, RFC 5230 section 4.6).
var machines = regexp.MustCompile(`(?i)^(owner-.*|.*-(request|owner|bounces?)|bounces?([+-].*)?|mailer-daemon|` +
	`postmaster|listserv|majordomo|(do[-_.]?not|no)[-_.]?reply.*|srs[01][=+-].*|reply\+.*)@`)

// Wants says whether a mail from an envelope's sender to a login gets its notice
// (RFC 3834 section 2): not one of a machine or a list, nor one that names neither the
// login nor the address it went to.
func (v Vacation) Wants(now time.Time, h textproto.Header, sender string, own ...string) bool {
	if !v.On || v.Text == "" || v.Until != "" && now.Format(time.DateOnly) > v.Until {
		return false
	}
	if sender == "" || machines.MatchString(sender) || slices.Contains(own, Fold(sender)) {
		return false
	}
	if auto := strings.ToLower(strings.TrimSpace(h.Get("Auto-Submitted"))); auto != "" && auto != "no" {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(h.Get("Precedence"))) {
	case "bulk", "list", "junk":
		return false
	}
	if h.Has("X-Auto-Response-Suppress") {
		return false
	}
	for f := h.Fields(); f.Next(); {
		if strings.HasPrefix(strings.ToLower(f.Key()), "list-") {
			return false
		}
	}
	for _, key := range []string{"To", "Cc", "Resent-To", "Resent-Cc"} {
		for _, value := range h.Values(key) {
			list, err := (&mail.AddressParser{WordDecoder: charsets.Words}).ParseList(value)
			if err != nil {
				continue
			}
			if slices.ContainsFunc(list, func(a *mail.Address) bool { return slices.Contains(own, Fold(a.Address)) }) {
				return true
			}
		}
	}
	return false
}

// Notice is the answer to a mail (RFC 3834 section 3). It goes to the sender of the
// envelope, with an empty one of its own. lang is that of the words which the login has
// not written.
func (v Vacation) Notice(now time.Time, h textproto.Header, login, sender, id, lang string) (
	textproto.Header, []byte) {
	subject := v.Subject
	if subject == "" {
		about := h.Get("Subject")
		if decoded, err := charsets.Words.DecodeHeader(about); err == nil {
			about = decoded
		}
		subject = words.In(lang).Say("addresses.awaySubject", "subject", oneLine(about))
	}
	var body bytes.Buffer
	w := quotedprintable.NewWriter(&body)
	_, _ = w.Write([]byte(strings.ReplaceAll(v.Text, "\r\n", "\n") + "\n")) // of memory: it never fails
	_ = w.Close()
	text := bytes.ReplaceAll(body.Bytes(), []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	fields := [][2]string{ // each goes on top
		{"Content-Transfer-Encoding", "quoted-printable"}, {"Content-Type", "text/plain; charset=utf-8"},
		{"MIME-Version", "1.0"}, {"Precedence", "junk"}, {"Auto-Submitted", "auto-replied (vacation)"},
	}
	if about := oneLine(h.Get("Message-Id")); about != "" && len(about) < 900 {
		fields = append(fields, [2]string{"References", about}, [2]string{"In-Reply-To", about})
	}
	fields = append(fields, [][2]string{
		{"Message-Id", "<" + id + ".away@" + DomainOf(login) + ">"},
		{"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"To", (&mail.Address{Address: sender}).String()}, {"From", (&mail.Address{Address: login}).String()},
		{"Date", now.Format(time.RFC1123Z)},
	}...)
	var out textproto.Header
	for _, f := range fields {
		out.Add(f[0], f[1])
	}
	return out, text
}

// oneLine keeps a text from ending its header field.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
