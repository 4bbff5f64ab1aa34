// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"

	"github.com/chmail/chmail/internal/clean"
)

// Reply is an answer by mail.
type Reply struct {
	From        string    // address, lower case
	Name        string    // display name, cleaned
	Subject     string    // cleaned
	MessageID   string    // without angle brackets: the same mail twice has the same
	InReplyTo   string    // without angle brackets
	Date        time.Time // by the sender's clock
	Text        string    // what is new, cleaned
	Attachments int       // parts that are not text to read
}

// Parse reads a mail. With ErrAuto, ErrTooLong and ErrEmpty comes what the
// header says; the other errors are ErrMalformed, ErrTooLarge and those of r.
func Parse(r io.Reader) (Reply, error) {
	limited := &limit{r: r, left: maxMail}
	e, err := message.ReadWithOptions(limited, &message.ReadOptions{MaxHeaderBytes: maxHeader})
	if e == nil {
		return Reply{}, fmt.Errorf("reading an answer: %w", failure(limited, err))
	}
	h := mail.Header{Header: e.Header}
	var p Reply
	if from, err := h.AddressList("From"); err == nil && len(from) > 0 {
		p.From, p.Name = strings.ToLower(from[0].Address), clean.Name(from[0].Name)
	}
	if s, err := h.Subject(); err == nil || s != "" {
		p.Subject = clean.Subject(s)
	}
	p.MessageID, _ = h.MessageID()
	if ids, err := h.MsgIDList("In-Reply-To"); err == nil && len(ids) > 0 {
		p.InReplyTo = ids[0]
	}
	p.Date, _ = h.Date()
	if automatic(e.Header) {
		return p, fmt.Errorf("reading an answer: %w", ErrAuto)
	}
	w := walker{known: err == nil || !message.IsUnknownCharset(err)}
	text := w.walk(e, 0)
	switch {
	case limited.err != nil:
		return Reply{}, fmt.Errorf("reading an answer: %w", limited.err)
	case w.tooMany:
		return Reply{}, fmt.Errorf("reading an answer: %w: too many parts", ErrTooLarge)
	}
	p.Attachments = w.attachments
	// Cleaned first, because that makes lines of what others show as lines.
	if text, err = clean.Message(text, 4*maxPart); err == nil {
		p.Text, err = clean.Message(fresh(text), MaxText)
	}
	switch {
	case errors.Is(err, clean.ErrTooLong):
		return p, fmt.Errorf("reading an answer: %w", ErrTooLong)
	case err != nil:
		return p, fmt.Errorf("reading an answer: %w", err)
	case p.Text == "":
		return p, fmt.Errorf("reading an answer: %w", ErrEmpty)
	}
	return p, nil
}

// failure says why a header could not be read.
func failure(l *limit, err error) error {
	switch {
	case l.err != nil:
		return l.err
	case l.left <= maxMail-maxHeader: // go-message's error is not exported
		return fmt.Errorf("%w: its header", ErrTooLarge)
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// Auto-responders that know nothing of RFC 3834 give themselves away by a field of
// their own, or by how the subject begins; people's answers begin with "Re:".
var (
	machineField   = regexp.MustCompile(`auto-?(reply|respon|generated)|vacation`)
	machineSubject = regexp.MustCompile(`(?i)^\s*\[?\s*(auto(matic|mated)?[- ]?(reply|response|answer)\b|auto:|` +
		`out of (the )?office\b|automatische (antwort|reaktion)|abwesen|réponse automatique|absence du bureau|` +
		`respuesta automática|fuera de (la )?oficina|risposta automatica|fuori sede|resposta automática|` +
		`automatisch antwoord|afwezig|autosvar|automatiskt svar|automatyczna odpowiedź|odpowiedź automatyczna|` +
		`автоответ|автоматический ответ|вне офиса|otomatik yanıt|automatická odpověď|automaattinen vastaus` +
		`|automatikus válasz|` +
		`자동 ?(회신|응답|답장)|부재중?|自動(応答|返信|回覆|回复)|自动(回复|答复)|不在(通知|の))`)
)

// automatic says whether a machine sent the mail.
func automatic(h message.Header) bool {
	auto := strings.ToLower(strings.TrimSpace(h.Get("Auto-Submitted")))
	auto, _, _ = strings.Cut(auto, ";")
	if auto = strings.TrimSpace(auto); auto != "" && auto != "no" { // RFC 3834 section 5
		return true
	}
	switch strings.ToLower(strings.TrimSpace(h.Get("Precedence"))) {
	case "bulk", "junk", "list", "auto_reply":
		return true
	}
	for f := h.Fields(); f.Next(); {
		key := strings.ToLower(f.Key())
		if strings.HasPrefix(key, "list-") || key == "x-failed-recipients" || key == "x-auto-response-suppress" ||
			strings.HasPrefix(key, "x-") && machineField.MatchString(key) {
			return true
		}
	}
	if subject, _ := (&mail.Header{Header: h}).Subject(); machineSubject.MatchString(subject) {
		return true
	}
	if strings.TrimSpace(h.Get("Return-Path")) == "<>" { // RFC 3834 section 2
		return true
	}
	kind, _, _ := h.ContentType()
	return kind == "multipart/report" // RFC 6522
}

// walker looks through the parts of a mail.
type walker struct {
	parts, attachments int
	tooMany            bool
	octets             int64 // of text read
	known              bool  // the charset of the part at hand
}

// walk returns the text of e.
func (w *walker) walk(e *message.Entity, depth int) string {
	if w.parts++; w.parts > maxParts || depth > maxDepth {
		w.tooMany = true
		return ""
	}
	kind, params, err := e.Header.ContentType()
	disposition, _, _ := e.Header.ContentDisposition()
	switch {
	case err != nil && e.Header.Get("Content-Type") == "", kind == "": // RFC 2045 section 5.2
		kind = "text/plain"
	case strings.HasPrefix(kind, "multipart/"):
		return w.multipart(e, kind == "multipart/alternative", depth)
	}
	if strings.EqualFold(disposition, "attachment") || kind != "text/plain" && kind != "text/html" {
		if !strings.HasPrefix(kind, "application/pgp-") && !strings.HasSuffix(kind, "pkcs7-signature") {
			w.attachments++
		}
		return ""
	}
	// An error, as of broken base64, ends the part: what came before counts.
	b, _ := io.ReadAll(io.LimitReader(e.Body, maxPart-w.octets))
	w.octets += int64(len(b))
	_, declared := params["charset"]
	text := strings.ToValidUTF8(string(b), "\uFFFD")
	if !w.known || !declared {
		text = guess(b)
	}
	if kind == "text/html" {
		return textOf(text)
	}
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.EqualFold(params["format"], "flowed") {
		text = unflow(text, strings.EqualFold(params["delsp"], "yes"))
	}
	return text
}

// multipart returns the texts of the parts, or of alternatives the plainest
// one that says something.
func (w *walker) multipart(e *message.Entity, alternative bool, depth int) string {
	mr := e.MultipartReader()
	var all []string
	best, plain := "", false
	for !w.tooMany {
		part, err := mr.NextPart()
		if part == nil {
			break // the end, also one that comes too early
		}
		w.known = err == nil || !message.IsUnknownCharset(err)
		kind, _, _ := part.Header.ContentType()
		text := w.walk(part, depth+1)
		if strings.TrimSpace(text) == "" {
			continue
		}
		all = append(all, text)
		if best == "" || kind == "text/plain" && !plain {
			best, plain = text, kind == "text/plain"
		}
	}
	if alternative {
		return best
	}
	return strings.Join(all, "\n")
}

// unflow joins the lines of a paragraph (RFC 3676 section 4). Quoted lines
// stay as they are.
func unflow(text string, delete bool) string {
	var out strings.Builder
	open := false // the line before goes on
	for _, line := range strings.Split(text, "\n") {
		quote := strings.HasPrefix(line, ">")
		if !quote {
			line = strings.TrimPrefix(line, " ") // space-stuffed
		}
		if open && (quote || line == "-- ") {
			out.WriteByte('\n')
		}
		open = !quote && line != "-- " && strings.HasSuffix(line, " ")
		if open && delete {
			line = line[:len(line)-1]
		}
		out.WriteString(line)
		if !open {
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// limit errs with ErrTooLarge instead of ending.
type limit struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limit) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.left <= 0 {
		l.err = ErrTooLarge
		return 0, l.err
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	if err != nil && err != io.EOF {
		l.err = err
	}
	return n, err
}
