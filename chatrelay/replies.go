// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/transcript"
)

// ErrSender: an answer by mail that does not come from the address to which
// the transcript went. Who has the reply address could otherwise say something
// in another's name, as whoever a transcript was forwarded to.
var ErrSender = errors.New("the answer comes from another address than the transcript went to")

// ReplyAddress returns what a reply address stands for: transcript.ErrAddress,
// transcript.ErrExpired, or chat.ErrUnknown when its room is gone.
func (r *Relay) ReplyAddress(ctx context.Context, addr string) (transcript.Address, error) {
	if r.talks.sealer == nil {
		return transcript.Address{}, transcript.ErrAddress
	}
	a, err := r.talks.sealer.Open(addr, time.Now())
	if err != nil {
		return a, err
	}
	_, _, err = r.correspondent(ctx, a)
	return a, err
}

// correspondent is whose reply address it is.
func (r *Relay) correspondent(ctx context.Context, a transcript.Address) (chat.Info, chat.Participant, error) {
	info, err := r.opt.Rooms.Info(ctx, a.Room)
	if err != nil {
		return info, chat.Participant{}, err
	}
	p := person(info, a.Participant)
	if p.ID == 0 {
		return info, p, chat.ErrUnknown
	}
	return info, p, nil
}

// Reply says what is new in an answer by mail, in its room and as the
// participant whose reply address it is. The same mail again changes nothing;
// one that a machine sent is dropped without an error. Errors are those of
// ReplyAddress and of transcript.Parse, ErrSender, and the store's.
func (r *Relay) Reply(ctx context.Context, addr string, mail io.Reader) error {
	err := r.reply(ctx, addr, mail)
	switch {
	case errors.Is(err, transcript.ErrAuto):
		repliesTotal.WithLabelValues("automatic").Inc()
		return nil
	case err == nil:
		repliesTotal.WithLabelValues("said").Inc()
	case Refused(err) != "":
		repliesTotal.WithLabelValues("refused").Inc()
	default:
		repliesTotal.WithLabelValues("failed").Inc()
	}
	return err
}

func (r *Relay) reply(ctx context.Context, addr string, mail io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	a, err := r.ReplyAddress(ctx, addr)
	if err != nil {
		return err
	}
	answer, err := transcript.Parse(mail)
	if err != nil {
		return err
	}
	info, me, err := r.correspondent(ctx, a)
	if err != nil {
		return err
	}
	if from := strings.ToLower(answer.From); from == "" || from != me.Addr && from != me.Login {
		return ErrSender
	}
	if refused, err := r.Refuses(ctx, a.Room, me.ID, r.calleeOf(info, me).Login); err != nil || refused {
		return err // who was blocked does not learn of it
	}
	// Its time is that of its coming: senders' clocks can be wrong.
	_, err = r.opt.Rooms.Post(ctx, "", a.Room, chat.Message{ID: replyID(answer), From: me.ID, Kind: chat.KindText, Text: answer.Text, Via: chat.ViaMail})
	if err != nil {
		return fmt.Errorf("keeping an answer by mail: %w", err)
	}
	r.outside(a.Room)
	return nil
}

// replyID is the same for the same mail.
func replyID(p transcript.Reply) string {
	key := p.MessageID
	if key == "" { // RFC 5322 section 3.6.4 only asks for one
		key = p.Date.String() + "\x00" + p.Text
	}
	sum := sha256.Sum256([]byte(key))
	return "reply:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Refused says to the sender why an answer is refused for good; empty: it may
// be tried again.
func Refused(err error) string {
	for _, c := range []struct {
		err  error
		text string
	}{
		{transcript.ErrExpired, "This reply address has expired. Use the link in the mail you answered, or write to the person"},
		{transcript.ErrAddress, "This reply address is damaged or not from here. Answer the transcript again, or use the link in it"},
		{chat.ErrUnknown, "The conversation of this reply address is gone"},
		{ErrSender, "Answer from the address that the transcript was sent to, or use the link in it"},
		{transcript.ErrEmpty, "Your answer has no text above what it quotes"},
		{transcript.ErrTooLong, "Your answer is too long for a chat message (16 KiB)"},
		{transcript.ErrTooLarge, "Your answer is too large. Send files in the conversation: use the link in the mail you answered"},
		{transcript.ErrMalformed, "Your answer cannot be read"},
	} {
		if errors.Is(err, c.err) {
			return c.text
		}
	}
	return ""
}
