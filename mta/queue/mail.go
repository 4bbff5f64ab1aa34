// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Mail is a mail that waits, without its content.
type Mail struct {
	ID        string    `json:"id"`
	From      string    `json:"from"` // the envelope's; empty: a report, of which none is sent back
	Login     string    `json:"login,omitempty"`
	MessageID string    `json:"message_id,omitempty"`
	Size      int64     `json:"size"` // octets
	Arrived   time.Time `json:"arrived"`
	Held      bool      `json:"held,omitempty"` // until an administrator releases it

	UTF8       bool `json:"utf8,omitempty"`        // SMTPUTF8, RFC 6531
	RequireTLS bool `json:"require_tls,omitempty"` // REQUIRETLS, RFC 8689 section 2
	AnyTLS     bool `json:"any_tls,omitempty"`     // TLS-Required: No, RFC 8689 section 3

	EnvelopeID string `json:"envelope_id,omitempty"` // ENVID, RFC 3461
	Return     string `json:"return,omitempty"`      // RET

	Recipients []Recipient `json:"recipients"` // those that the mail still waits for
}

// Recipient is one of a mail's recipients.
type Recipient struct {
	To       string    `json:"to"`
	Original string    `json:"original,omitempty"` // as the sender wrote it, where an alias made it To
	ORCPT    string    `json:"orcpt,omitempty"`    // "rfc822;…", RFC 3461
	Notify   []string  `json:"notify,omitempty"`   // NOTIFY; empty: not said
	Tries    int       `json:"tries"`
	Next     time.Time `json:"next"`
	Last     time.Time `json:"last,omitzero"`
	Answer   *Answer   `json:"answer,omitempty"` // to the last try
	Failed   bool      `json:"failed,omitempty"` // for good: the sender is still to be told
	Told     bool      `json:"told,omitempty"`   // that it is delayed
}

// Answer is what a server said to a mail, or what happened instead.
type Answer struct {
	Code     int    `json:"code"`
	Enhanced [3]int `json:"enhanced"`
	Text     string `json:"text"`
	Server   string `json:"server,omitempty"`  // host name; empty: none was reached
	Address  string `json:"address,omitempty"` // where it was
	TLS      string `json:"tls,omitempty"`     // none, encrypted or authenticated
	// Relayed: the server knows no RFC 3461 and will not report that it delivered.
	Relayed bool `json:"relayed,omitempty"`
	// Recipient: it is about the address, and not about the sender or the content.
	Recipient bool `json:"recipient,omitempty"`
	// Unreached: no server of the domain could be asked, so that other mail for it would fare alike.
	Unreached bool `json:"unreached,omitempty"`
}

// OK says whether the mail was taken.
func (a Answer) OK() bool { return a.Code/100 == 2 }

// Permanent says whether it makes no sense to try again.
func (a Answer) Permanent() bool { return a.Code/100 == 5 }

// Status is the enhanced code, RFC 3463.
func (a Answer) Status() string {
	e := a.Enhanced
	if e[0] == 0 {
		e[0] = a.Code / 100
	}
	return fmt.Sprintf("%d.%d.%d", e[0], e[1], e[2])
}

// String is the answer as SMTP has it, in one line.
func (a Answer) String() string {
	return fmt.Sprintf("%d %s %s", a.Code, a.Status(), oneLine(a.Text))
}

// domainOf is the domain of an address, in lower case.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

// wants says whether the sender wants to be told: event is FAILURE, DELAY or SUCCESS.
func (r *Recipient) wants(event string) bool {
	if len(r.Notify) == 0 {
		return event != "SUCCESS" // RFC 3461 section 4.1
	}
	return slices.ContainsFunc(r.Notify, func(n string) bool { return strings.EqualFold(n, event) })
}

// to lists the recipients in a domain.
func (m *Mail) to(domain string) []*Recipient {
	var list []*Recipient
	for i := range m.Recipients {
		if domainOf(m.Recipients[i].To) == domain {
			list = append(list, &m.Recipients[i])
		}
	}
	return list
}

// domains lists where the mail goes, each once.
func (m *Mail) domains() []string {
	var list []string
	for i := range m.Recipients {
		if d := domainOf(m.Recipients[i].To); !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// clone is a copy that may be given away.
func (m *Mail) clone() Mail {
	c := *m
	c.Recipients = slices.Clone(m.Recipients)
	return c
}

// oneLine makes a text fit for a field or a line of the log.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	const most = 500
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
