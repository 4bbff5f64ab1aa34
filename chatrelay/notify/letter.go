// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"fmt"
	"time"

	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/chatrelay/chat"
)

// ComposeLetter builds the message of a letter (RFC 5322), as its writer's mail
// program would: header, plain text and, where the letter has one, the HTML
// alternative (RFC 2046 section 5.1.4).
func ComposeLetter(l chat.Letter, now time.Time) (textproto.Header, []byte, error) {
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{{Name: l.From.Name, Address: l.From.Addr}})
	h.SetAddressList("To", []*mail.Address{{Name: l.To.Name, Address: l.To.Addr}})
	h.SetSubject(oneLine(l.Subject))
	h.SetDate(now)
	h.SetMessageID(l.MessageID)
	h.Set("MIME-Version", "1.0")
	for _, field := range l.Header {
		h.Add(field[0], oneLine(field[1]))
	}
	header, body, err := composeBody(h, l.Text+"\n", l.HTML)
	if err != nil {
		return textproto.Header{}, nil, fmt.Errorf("composing a letter: %w", err)
	}
	return header, body, nil
}
