// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
)

// letter is what is submitted: text and page, as mail programs send them. The verbs
// are sender, recipient, Message-ID and further fields.
var letter = sync.OnceValue(func() string {
	const head = "From: Load <%s>\r\nTo: <%s>\r\nSubject: A question about the order\r\n" +
		"Date: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%s>\r\n%sMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/alternative; boundary=\"=-bench-boundary\"\r\n\r\n"
	const text = "--=-bench-boundary\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
	const page = "--=-bench-boundary\r\nContent-Type: text/html; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>\r\n"
	const end = "</body></html>\r\n--=-bench-boundary--\r\n"
	var b strings.Builder
	b.WriteString(head + text)
	for b.Len() < *size/2 {
		b.WriteString("Good morning, we have received your order and have a question about it.\r\n")
	}
	b.WriteString(page)
	for b.Len() < *size-len(end) {
		b.WriteString("<p class=3D\"line\">Good morning, we have received your order, see below.</p>\r\n")
	}
	return b.String() + end
})

// submit sends a message from the login of the connection over STARTTLS.
func submit(c *conn, n int) error {
	if *anew {
		c.close()
	}
	if c.Conn == nil {
		c.sender = fmt.Sprintf("u%d@%s", *first+n%*boxes, *domain)
		if err := c.signInForSubmission(); err != nil {
			return fmt.Errorf("signing in: %w", err)
		}
	}
	if _, err := c.ask("250", "MAIL FROM:<%s>", c.sender); err != nil {
		return fmt.Errorf("MAIL: %w", err)
	}
	var to string
	for i := range *rcpts {
		to = fmt.Sprintf("u%d@%s", *first+(n**rcpts+i)%*boxes, *domain)
		if _, err := c.ask("250", "RCPT TO:<%s>", to); err != nil {
			return fmt.Errorf("RCPT: %w", err)
		}
	}
	if _, err := c.ask("354", "DATA"); err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	more := ""
	if !*stamped {
		more = "CHmail-Stamp: no\r\n"
	}
	id := fmt.Sprintf("%d.%d@%s", n, started.UnixNano(), *domain)
	if _, err := c.ask("250", letter()+".", c.sender, to, id, more); err != nil {
		return fmt.Errorf("the end of the message: %w", err)
	}
	c.octets += int64(len(letter()))
	return nil
}

func (c *conn) signInForSubmission() error {
	if err := c.open(); err != nil {
		return err
	}
	if _, err := c.expect("220"); err != nil {
		return err
	}
	if _, err := c.ask("250", "EHLO load.example.org"); err != nil {
		return err
	}
	if _, err := c.ask("220", "STARTTLS"); err != nil {
		return err
	}
	if err := c.handshake(); err != nil {
		return err
	}
	if _, err := c.ask("250", "EHLO load.example.org"); err != nil {
		return err
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + c.sender + "\x00" + *password))
	_, err := c.ask("235", "AUTH PLAIN %s", plain)
	return err
}
