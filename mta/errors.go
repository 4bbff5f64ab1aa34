// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"errors"

	"github.com/foxcpp/maddy/framework/exterrors"
)

// targetName is the module that maddy's errors name.
const targetName = "target.chmail"

// temporary is a 451 that tells the client nothing of the cause.
func temporary(message string, cause error) error {
	return &exterrors.SMTPError{
		Code: 451, EnhancedCode: exterrors.EnhancedCode{4, 3, 0},
		Message: message, TargetName: targetName, Err: cause,
	}
}

// unspecified makes an error that names no SMTP code a temporary one: maddy
// would answer 554, and the client would give up a mail that could go later.
func unspecified(err error) error {
	var smtpErr *exterrors.SMTPError
	var says exterrors.TemporaryErr
	if _, coded := exterrors.Fields(err)["smtp_code"]; coded || errors.As(err, &smtpErr) || errors.As(err, &says) {
		return err
	}
	return temporary("Internal error, try again later", err)
}
