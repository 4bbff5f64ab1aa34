// SPDX-License-Identifier: GPL-3.0-or-later

package demo

import (
	"fmt"
	"io"
)

// Tell says to a person at a terminal where everything is and what to try.
func (d *Demo) Tell(w io.Writer) {
	host, customer := d.account("host"), d.account("customer")
	fmt.Fprintf(w, `
CHmail's demo is running. Open this page, it says what to try:

    %s

The mall is at %s

  submission  %s   (STARTTLS or plain; sign in as one of the accounts)
  SMTP        %s
  POP3        %s
  IMAP        %s
  metrics     %s
  log         %s

`, d.Web, d.Mall, d.Submission, d.SMTP, d.POP3, d.IMAP, d.Metrics, d.Log)
	for _, a := range d.Accounts {
		fmt.Fprintf(w, "  %-9s %s   password %s\n", a.Role, a.Login, a.Password)
	}
	fmt.Fprintf(w, `
Send a mail as the host, read it as the customer, follow its link:

    curl --url smtp://%s --user %s:%s \
         --mail-from %s --mail-rcpt %s \
         -T - <<< $'From: %s\nTo: %s\nSubject: Hello\n\nShall we talk?'
    curl --user %s:%s pop3://%s/2

Stop it with Ctrl-C; everything is kept in %s.
`, d.Submission, host.Login, host.Password, host.Login, customer.Login, host.Login, customer.Login,
		customer.Login, customer.Password, d.POP3, d.state)
}
