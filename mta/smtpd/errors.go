// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"context"
	"errors"
	"strings"

	gosmtp "github.com/chmail/go-smtp"
	"github.com/foxcpp/maddy/framework/exterrors"
)

// refusal is an answer to a client.
func refusal(code, class, subject, detail int, text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: code, EnhancedCode: gosmtp.EnhancedCode{class, subject, detail}, Message: text}
}

// answer makes an error of the pipeline the answer to a client: what the error
// says to the client, and nothing else of it. An error that says nothing is one
// that may pass, so that no mail is given up.
func answer(err error, id string, utf8 bool) *gosmtp.SMTPError {
	if direct, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
		return direct
	}
	res := refusal(451, 4, 3, 0, "Internal error, try again later")
	if errors.Is(err, context.DeadlineExceeded) {
		res.Message = "It took too long, try again later"
	}
	fields := exterrors.Fields(err)
	if code, ok := fields["smtp_code"].(int); ok {
		res.Code, res.EnhancedCode = code, gosmtp.EnhancedCodeNotSet
		if enhanced, ok := fields["smtp_enchcode"].(exterrors.EnhancedCode); ok {
			res.EnhancedCode = gosmtp.EnhancedCode(enhanced)
		}
		if text, ok := fields["smtp_msg"].(string); ok {
			res.Message = text
		}
	}
	if id != "" {
		res.Message += " (msg ID = " + id + ")"
	}
	res.Message = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' && !utf8 { // RFC 6531 section 3.7.4.1
			return '?'
		}
		return r
	}, res.Message)
	return res
}
