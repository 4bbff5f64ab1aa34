// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Answers reads what people answer to transcripts by mail.
type Answers struct {
	Sealer *Sealer // nil: no transcript can be answered
	// Info reads a room; chat.ErrUnknown: it is gone.
	Info func(ctx context.Context, roomID string) (chat.Info, error)
}

// Answer is a mail as a message of its sender.
type Answer struct {
	Room    chat.Info
	From    chat.Participant
	Message chat.Message
}

// Address returns what a reply address stands for: ErrAddress, ErrExpired, or
// chat.ErrUnknown when its room or participant is gone.
func (a Answers) Address(ctx context.Context, addr string) (Address, error) {
	sealed, _, _, err := a.open(ctx, addr)
	return sealed, err
}

func (a Answers) open(ctx context.Context, addr string) (sealed Address, info chat.Info, from chat.Participant,
	err error) {
	if a.Sealer == nil {
		return sealed, info, from, ErrAddress
	}
	if sealed, err = a.Sealer.Open(addr, time.Now()); err != nil {
		return sealed, info, from, err
	}
	if info, err = a.Info(ctx, sealed.Room); err != nil {
		return sealed, info, from, err
	}
	if from = info.Participant(sealed.Participant); from.ID == 0 {
		err = chat.ErrUnknown
	}
	return sealed, info, from, err
}

// Read returns the message that a mail to a reply address makes. Errors are
// those of Address and Parse, and ErrSender. The same mail again makes a message
// of the same ID.
func (a Answers) Read(ctx context.Context, addr string, mail io.Reader) (Answer, error) {
	_, info, from, err := a.open(ctx, addr)
	if err != nil {
		return Answer{}, err
	}
	r, err := Parse(mail)
	if err != nil {
		return Answer{}, err
	}
	if sender := strings.ToLower(r.From); sender == "" || sender != from.Addr && sender != from.Login {
		return Answer{}, ErrSender
	}
	// The message has no time of its own: senders' clocks can be wrong.
	m := chat.Message{ID: answerID(r), From: from.ID, Kind: chat.KindText, Text: r.Text, Via: chat.ViaMail}
	return Answer{info, from, m}, nil
}

// answerID is the same for the same mail.
func answerID(r Reply) string {
	key := r.MessageID
	if key == "" { // RFC 5322 section 3.6.4 only asks for one
		key = r.Date.String() + "\x00" + r.Text
	}
	sum := sha256.Sum256([]byte(key))
	return "reply:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Refusal says to the sender why an answer is refused for good; empty: it may
// be tried again.
func Refusal(err error) string {
	for _, c := range []struct {
		err  error
		text string
	}{
		{ErrExpired, "This reply address has expired. Use the link in the mail you answered, or write to the person"},
		{ErrAddress, "This reply address is damaged or not from here." +
			" Answer the transcript again, or use the link in it"},
		{chat.ErrUnknown, "The conversation of this reply address is gone"},
		{ErrSender, "Answer from the address that the transcript was sent to, or use the link in it"},
		{ErrEmpty, "Your answer has no text above what it quotes"},
		{ErrTooLong, "Your answer is too long for a chat message (16 KiB)"},
		{ErrTooLarge, "Your answer is too large. Send files in the conversation:" +
			" use the link in the mail you answered"},
		{ErrMalformed, "Your answer cannot be read"},
	} {
		if errors.Is(err, c.err) {
			return c.text
		}
	}
	return ""
}
