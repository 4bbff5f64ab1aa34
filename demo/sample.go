// SPDX-License-Identifier: GPL-3.0-or-later

package demo

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// sampleText is the sample mail: a host's answer to a customer, with somebody
// in Cc, so that each of the three has a part in the conversation.
const sampleText = "From: Mina <%[1]s>\r\n" +
	"To: Jun <%[2]s>\r\n" +
	"Cc: Sora <%[3]s>\r\n" +
	"Subject: Your order of two hanok lamps\r\n" +
	"Date: %[4]s\r\n" +
	"Message-ID: <sample.%[5]d@" + Domain + ">\r\n" +
	"MIME-Version: 1.0\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"\r\n" +
	"Hello Jun,\r\n" +
	"\r\n" +
	"the two lamps are packed. Before I send them: would you like the warm\r\n" +
	"bulbs or the bright ones? Sora is in Cc, since they are a present for\r\n" +
	"both of you. If it is easier to talk, just follow the link below.\r\n" +
	"\r\n" +
	"Mina\r\n"

// sendSample mails the sample through submission and reads the link out of the
// customer's maildrop.
func (d *Demo) sendSample() (link string, err error) {
	host, customer, friend := d.account("host"), d.account("customer"), d.account("friend")
	now := time.Now()
	text := fmt.Sprintf(sampleText, host.Login, customer.Login, friend.Login, now.Format(time.RFC1123Z), now.UnixNano())
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(d.CA)
	if err != nil {
		return "", err
	}
	roots.AppendCertsFromPEM(ca)
	c, err := smtp.DialStartTLS(d.Submission, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.Auth(sasl.NewPlainClient("", host.Login, host.Password)); err != nil {
		return "", err
	}
	if err := c.SendMail(host.Login, []string{customer.Login, friend.Login}, strings.NewReader(text)); err != nil {
		return "", err
	}
	return d.readLink(customer)
}

// readLink finds the CHmail-Chat header of the newest message in a maildrop.
func (d *Demo) readLink(a Account) (string, error) {
	c, err := textproto.Dial("tcp", d.POP3)
	if err != nil {
		return "", err
	}
	defer c.Close()
	answer := func() (string, error) {
		line, err := c.ReadLine()
		if err == nil && !strings.HasPrefix(line, "+OK") {
			err = errors.New(line)
		}
		return line, err
	}
	ask := func(command string) (string, error) {
		if err := c.PrintfLine("%s", command); err != nil {
			return "", err
		}
		return answer()
	}
	if _, err := answer(); err != nil {
		return "", fmt.Errorf("reading the customer's mail: %w", err)
	}
	var stat string
	for _, command := range []string{"USER " + a.Login, "PASS " + a.Password, "STAT"} {
		if stat, err = ask(command); err != nil {
			return "", fmt.Errorf("reading the customer's mail: %w", err)
		}
	}
	var count, size int
	if _, err := fmt.Sscanf(stat, "+OK %d %d", &count, &size); err != nil {
		return "", fmt.Errorf("reading the customer's mail: %q: %w", stat, err)
	}
	if _, err := ask(fmt.Sprintf("TOP %d 0", count)); err != nil {
		return "", fmt.Errorf("reading the customer's mail: %w", err)
	}
	lines, err := c.ReadDotLines()
	if err != nil {
		return "", fmt.Errorf("reading the customer's mail: %w", err)
	}
	for _, line := range lines {
		if link, ok := strings.CutPrefix(line, "CHmail-Chat:"); ok {
			_, err := ask("QUIT")
			return strings.Trim(strings.TrimSpace(link), "<>"), err
		}
	}
	return "", errors.New("the sample mail was not stamped: the log says why")
}
