// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// maxHeader is how much of a mail's header a report repeats.
const maxHeader = 64 << 10

// texts are the words of a report by its action (RFC 3464 section 2.3.3).
var texts = map[string]struct{ event, subject, text string }{
	"failed": {"FAILURE", "Your mail was not delivered", "The mail below could not be delivered to the people" +
		" below.\r\nThe server has given up and will not try again."},
	"delayed": {"DELAY", "Your mail is delayed", "The mail below could not be delivered yet to the people" +
		" below.\r\nThe server goes on trying. You need not send it again."},
	"relayed": {"SUCCESS", "Your mail was handed on", "The mail below was handed to the servers of the people" +
		" below.\r\nThose servers will not say when it is in the mailbox."},
}

// notify tells the sender of a mail what became of it for the recipients that it wants
// to know about.
func (q *Queue) notify(m *Mail, action string, of []Recipient) error {
	words := texts[action]
	of = slices.DeleteFunc(of, func(r Recipient) bool { return !r.wants(words.event) })
	if len(of) == 0 {
		return nil
	}
	if m.From == "" || q.Notify == nil {
		if action == "failed" {
			q.Log.Info("nobody is told", "msg_id", m.ID, "recipients", len(of))
		}
		return nil
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s\n%s\n%d\n", m.ID, action, m.Arrived.UnixNano())
	for _, r := range of {
		fmt.Fprintln(hash, r.To)
	}
	id := hex.EncodeToString(hash.Sum(nil)[:16])
	ctx, cancel := context.WithTimeout(q.last, noticeTime)
	defer cancel()
	err := q.Notify(ctx, Notice{ID: id, To: m.From, UTF8: m.UTF8, Content: q.compose(m, action, id, of)})
	log := q.Log.With("msg_id", m.ID, "to", m.From, "action", action, "report", id)
	switch {
	case errors.Is(err, ErrNoNotice):
		log.Error("the sender cannot be told: the report is dropped", "err", err)
	case err != nil:
		log.Error("telling the sender", "err", err)
	default:
		log.Info("told the sender")
	}
	return err
}

// compose writes a report, RFC 3464.
func (q *Queue) compose(m *Mail, action, id string, of []Recipient) []byte {
	words := texts[action]
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	date := func(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }
	boundary := "report-" + id
	line("Date: %s", date(time.Now()))
	line("From: Mail delivery <MAILER-DAEMON@%s>", q.Domain)
	line("To: <%s>", oneLine(m.From))
	line("Subject: %s", words.subject)
	line("Message-ID: <%s@%s>", id, q.Domain)
	if m.MessageID != "" {
		line("In-Reply-To: %s", oneLine(m.MessageID))
	}
	line("Auto-Submitted: auto-replied") // RFC 3834
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=delivery-status; boundary=%q", boundary)
	line("")
	line("--%s", boundary)
	line("Content-Type: text/plain; charset=utf-8")
	line("Content-Transfer-Encoding: 8bit")
	line("")
	line("%s", words.text)
	line("")
	for _, r := range of {
		line("%s", cmp.Or(r.Original, r.To))
		line("    %s", describe(r.Answer))
	}
	if action == "delayed" {
		line("")
		line("It tries until %s.", date(m.Arrived.Add(q.Life)))
	}
	line("")
	line("The mail is number %s at %s.", m.ID, q.Host)
	line("")
	line("--%s", boundary)
	status, headers := "message/delivery-status", "message/rfc822-headers"
	kind := "rfc822"
	if m.UTF8 { // RFC 6533
		status, headers, kind = "message/global-delivery-status", "message/global-headers", "utf-8"
	}
	line("Content-Type: %s", status)
	line("")
	line("Reporting-MTA: dns; %s", q.Host)
	if m.EnvelopeID != "" {
		line("Original-Envelope-Id: %s", oneLine(m.EnvelopeID))
	}
	line("Arrival-Date: %s", date(m.Arrived))
	for _, r := range of {
		line("")
		if r.ORCPT != "" {
			line("Original-Recipient: %s", oneLine(r.ORCPT))
		}
		line("Final-Recipient: %s; %s", kind, oneLine(cmp.Or(r.Original, r.To)))
		line("Action: %s", action)
		line("Status: %s", statusOf(r, action))
		if a := r.Answer; a != nil {
			if a.Server != "" {
				line("Remote-MTA: dns; %s", a.Server)
			}
			line("Diagnostic-Code: smtp; %s", ascii(a.String(), m.UTF8))
		}
		line("Last-Attempt-Date: %s", date(r.Last))
		if action == "delayed" {
			line("Will-Retry-Until: %s", date(m.Arrived.Add(q.Life)))
		}
	}
	line("")
	line("--%s", boundary)
	line("Content-Type: %s", headers)
	line("Content-Transfer-Encoding: 8bit")
	line("")
	b.Write(q.header(m.ID))
	line("--%s--", boundary)
	return b.Bytes()
}

// statusOf is the status of a report: one that gave up on a mail for its age has that as
// its reason (RFC 3463 section 3.5).
func statusOf(r Recipient, action string) string {
	switch {
	case r.Answer == nil || action == "failed" && !r.Answer.Permanent():
		return "5.4.7"
	case action == "delayed":
		return "4" + r.Answer.Status()[1:]
	}
	return r.Answer.Status()
}

func describe(a *Answer) string {
	switch {
	case a == nil:
		return "It was not tried yet."
	case a.Server == "" || a.Unreached:
		return oneLine(a.Text)
	}
	return fmt.Sprintf("%s said: %s", a.Server, a)
}

func ascii(s string, utf8 bool) string {
	if utf8 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}

// header reads the header of a waiting mail, ended by a line's end.
func (q *Queue) header(id string) []byte {
	f, err := os.Open(q.spool.path(id, mailExt))
	if err != nil {
		return nil
	}
	defer f.Close()
	var b bytes.Buffer
	for r := bufio.NewReader(io.LimitReader(f, maxHeader)); ; {
		line, err := r.ReadBytes('\n')
		text := bytes.TrimRight(line, "\r\n")
		if err != nil || len(text) == 0 {
			return b.Bytes()
		}
		b.Write(text)
		b.WriteString("\r\n")
	}
}
