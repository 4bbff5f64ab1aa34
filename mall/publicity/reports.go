// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // of strange mail servers' texts
	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/mall/store"
)

// Limits of what is read of a report.
const (
	maxReport = 1 << 20
	maxParts  = 20
	maxReason = 300 // octets that are kept
)

// Report is what a mail system tells about a mail of ours.
type Report struct {
	Mail      string // Message-ID of ours that it names, or empty
	Complaint bool   // somebody called it unwanted (RFC 5965)
	Failed    bool   // it was not delivered (RFC 3464)
	Soft      bool   // but could be later
	Reason    string
}

// ErrNoReport: the mail reports nothing.
var ErrNoReport = errors.New("it is neither a delivery report nor a complaint")

// ReadReport reads a delivery status notification (RFC 3464) or a complaint
// (RFC 5965). ErrNoReport.
func ReadReport(mail io.Reader) (Report, error) {
	var r Report
	e, err := message.Read(io.LimitReader(mail, maxReport))
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return r, fmt.Errorf("reading a report: %w", errors.Join(ErrNoReport, err))
	}
	kind, params, _ := e.Header.ContentType()
	if kind != "multipart/report" {
		return r, ErrNoReport
	}
	r.Complaint = strings.EqualFold(params["report-type"], "feedback-report")
	parts := e.MultipartReader()
	if parts == nil {
		return r, ErrNoReport
	}
	defer parts.Close()
	for range maxParts {
		part, err := parts.NextPart()
		if err != nil && part == nil {
			break // io.EOF, or what follows cannot be read
		}
		kind, _, _ := part.Header.ContentType()
		switch kind {
		case "message/delivery-status", "message/global-delivery-status":
			r.readStatus(part.Body)
		case "message/feedback-report":
			r.readFeedback(part.Body)
		case "message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global",
			"message/global-headers":
			h, _ := textproto.ReadHeader(bufio.NewReader(part.Body)) // what could be read
			if id := h.Get("Message-Id"); r.Mail == "" && id != "" {
				r.Mail = strings.Trim(strings.TrimSpace(id), "<>")
			}
		}
	}
	if !r.Complaint && !r.Failed {
		return r, ErrNoReport // delayed, relayed, delivered
	}
	return r, nil
}

// readStatus reads the fields of each recipient. The last that failed counts: a
// campaign's mail has one recipient.
func (r *Report) readStatus(body io.Reader) {
	b := bufio.NewReader(body)
	for range maxParts {
		h, err := textproto.ReadHeader(b)
		if strings.EqualFold(strings.TrimSpace(h.Get("Action")), "failed") {
			status := strings.TrimSpace(h.Get("Status"))
			r.Failed, r.Soft = true, soft(status)
			_, diagnostic, found := strings.Cut(h.Get("Diagnostic-Code"), ";")
			if !found {
				diagnostic = ""
			}
			r.Reason = bounded(status + " " + strings.TrimSpace(diagnostic))
		}
		if err != nil {
			return
		}
	}
}

func (r *Report) readFeedback(body io.Reader) {
	h, _ := textproto.ReadHeader(bufio.NewReader(body)) // what could be read
	kind := strings.ToLower(strings.TrimSpace(h.Get("Feedback-Type")))
	r.Complaint = kind == "abuse" || kind == "fraud" || kind == "" || kind == "other"
	r.Reason = bounded(kind)
}

// soft says whether a mail could arrive later: what is temporary, and a mailbox that
// is full or switched off for now (RFC 3463 section 3.3: X.2.1, X.2.2).
func soft(status string) bool {
	return strings.HasPrefix(status, "4.") || status == "5.2.2" || status == "5.2.1"
}

func bounded(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = s[:maxReason]
	}
	return strings.ToValidUTF8(s, "")
}

// Returned takes a mail that came to an address of MailOf, or a complaint that came
// elsewhere. It is stored with the row of the mail that it is about, and stops
// further publicity to that address. ErrNoReport; store.ErrUnknown: it is about no
// campaign's mail.
func (p *Publicity) Returned(ctx context.Context, to string, mail io.Reader) error {
	r, err := ReadReport(mail)
	if err != nil {
		return err
	}
	id, verp := p.MailOf(to)
	if !verp {
		// A Message-ID of ours cannot be guessed, so who names one had the mail, or an answer to
		// it: the shop itself may have. It can do no more than end its own publicity.
		id = r.Mail
	}
	if id == "" {
		return fmt.Errorf("reading a report: it names no mail: %w", store.ErrUnknown)
	}
	back := store.Returned{State: store.MailBounced, Reason: r.Reason, OneShop: !verp}
	if r.Complaint {
		back.State = store.MailComplained
	} else if r.Soft {
		back.Expires = p.opt.Now().Add(softFor)
	}
	shop, campaign, err := p.opt.Store.MailReturned(ctx, id, back)
	if err != nil {
		return err
	}
	return p.stopIfFailing(ctx, shop, campaign)
}
