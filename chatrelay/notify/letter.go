// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/chatrelay/chat"
)

// ComposeLetter builds the message of a letter (RFC 5322), as its writer's mail
// program would: header and plain text.
func ComposeLetter(l chat.Letter, now time.Time) (textproto.Header, []byte, error) {
	var h mail.Header
	h.SetAddressList("From", []*mail.Address{{Name: l.From.Name, Address: l.From.Addr}})
	h.SetAddressList("To", []*mail.Address{{Name: l.To.Name, Address: l.To.Addr}})
	h.SetSubject(oneLine(l.Subject))
	h.SetDate(now)
	h.SetMessageID(l.MessageID)
	h.Set("MIME-Version", "1.0")
	h.SetContentType("text/plain", map[string]string{"charset": "utf-8"})
	h.Set("Content-Transfer-Encoding", "quoted-printable")
	var all bytes.Buffer
	w, err := message.CreateWriter(&all, h.Header)
	if err == nil {
		_, err = io.WriteString(w, l.Text+"\n")
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return textproto.Header{}, nil, fmt.Errorf("composing a letter: %w", err)
	}
	_, body, _ := bytes.Cut(all.Bytes(), []byte("\r\n\r\n"))
	return h.Header.Header, body, nil
}
