// SPDX-License-Identifier: GPL-3.0-or-later

// Package transcript is the way between conversations and mail: a
// conversation as the body of a mail, an address to answer it at, and what is
// new in the answer.
//
// Compose writes a mail that begins with a marker line. A Sealer makes the
// reply address, which carries room, participant and expiry under an HMAC.
// Parse reads the answer: in plain text or HTML, in any usual charset, and
// without the history, the lines "On … wrote:" and the signature that mail
// programs add.
package transcript

import "errors"

// Limits of a transcript and of an answer.
const (
	MaxText = 16 << 10 // octets of what is new in an answer

	maxLines   = 2000     // of a transcript; the newest are written
	maxWritten = 1 << 20  // octets of them; likewise
	maxMail    = 64 << 20 // octets of an answer, attachments included
	maxHeader  = 256 << 10
	maxPart    = 4 << 20 // octets of its texts; the rest of them is not looked at
	maxDepth   = 10      // of parts within parts
	maxParts   = 200
	maxOpen    = 2000 // elements of HTML within one another; what follows a deeper one is not read
)

var (
	// ErrAuto: a machine sent the mail (RFC 3834); nobody has answered.
	ErrAuto = errors.New("transcript: sent automatically")
	// ErrTooLarge: the mail, its header or the number of its parts is beyond the limits.
	ErrTooLarge = errors.New("transcript: the mail is too large")
	// ErrTooLong: the answer's new text is of more than MaxText octets.
	ErrTooLong = errors.New("transcript: the answer is too long")
	// ErrEmpty: nothing in the mail is new, or it has no text that can be read.
	ErrEmpty = errors.New("transcript: the answer says nothing new")
	// ErrMalformed: not a mail.
	ErrMalformed = errors.New("transcript: the mail cannot be read")
	// ErrAddress: not an address made by this server.
	ErrAddress = errors.New("transcript: not a reply address")
	// ErrSender: an answer that does not come from the address to which the
	// transcript went. Whoever a transcript was forwarded to could otherwise
	// write in the name of its reader.
	ErrSender = errors.New("the answer comes from another address than the transcript went to")
	// ErrExpired: the reply address is too old.
	ErrExpired = errors.New("transcript: the reply address has expired")
)
