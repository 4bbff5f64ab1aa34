// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Explain says an error of the way to the server in one line: what is wrong, and what to do.
func (c *Client) Explain(err error) string {
	host := c.base.Host
	var (
		refusal   *Refusal
		invalid   x509.CertificateInvalidError
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
		cert      *tls.CertificateVerificationError
		plain     tls.RecordHeaderError
		dns       *net.DNSError
		op        *net.OpError
	)
	switch {
	case SignedOut(err):
		return "this computer was signed out: run `chmail login` again"
	case errors.As(err, &refusal) && refusal.Status == http.StatusTooManyRequests:
		return fmt.Sprintf("%s: try again in %v", refusal, max(refusal.After, time.Second))
	case errors.As(err, &refusal) && refusal.Status >= 500:
		return fmt.Sprintf("%s cannot do it now (%d): try again in a minute", host, refusal.Status)
	case errors.As(err, &refusal) && refusal.Code == "":
		return fmt.Sprintf("%s answers %d: look whether that is the address of your CHmail server", host, refusal.Status)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s is not good at this computer's time, %s: set the clock; "+
			"if it is right, tell the server's administrator", host, time.Now().Format("2006-01-02 15:04"))
	case errors.As(err, &name), errors.As(err, &authority), errors.As(err, &cert):
		return fmt.Sprintf("the certificate of %s is not one to trust: look whether the name is right, "+
			"and ask the server's administrator", host)
	case errors.As(err, &plain):
		return fmt.Sprintf("%s does not speak HTTPS there: look whether the address is right", host)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("there is no server %s: look whether the name is right, and whether the network is there", host)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &dns), errors.As(err, &op):
		return fmt.Sprintf("%s cannot be reached: look whether the network is there", host)
	}
	return err.Error()
}
