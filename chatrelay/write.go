// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"slices"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
)

// Errors of Write.
var (
	ErrNoWriting = errors.New("this server takes no mails from the desk")
	ErrWriting   = errors.New("a mail needs an id, an address, a subject and a text of at most 16 KiB")
	// ErrNoRoom: the mail is out, but it has no link: the rooms did not answer.
	ErrNoRoom = errors.New("the mail has no conversation")
)

// WriterStore is what Write asks of the store.
type WriterStore interface {
	RoomOfMail(ctx context.Context, login, messageID string) (string, error)
	NameOf(ctx context.Context, login string) (string, error)
	InviteInto(ctx context.Context, roomID string, callee int64, who chat.Person) (string, chat.Participant, error)
	Post(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
}

// Writing is a mail that somebody writes at the desk.
type Writing struct {
	ID      string     // made by the client; written again with it, the mail goes out once
	Group   string     // in whose name; empty: in one's own
	To      string     // mail address, perhaps with a name before it
	Subject string     //
	Text    string     //
	From    netip.Addr // the client
	// Name is the writer's; empty: as in their newest mail. HTML is the text as a
	// document; empty: there is none.
	Name, HTML string
	// About is the Message-ID of a mail, or of a Talk, whose conversation this goes on
	// with; empty: it begins one.
	About string
}

// Write mails somebody in the name of a login or of a group of it, opens the room
// of that mail with its text as the first message, and returns the room. Nobody is
// rung. ErrNoWriting, ErrWriting, ErrNoRoom; chat.ErrUnknown: not a group of the
// login; chat.ErrUnwanted: the login wants no links in its mails; *chat.RefusedError:
// the mail system does not take the mail.
func (r *Relay) Write(ctx context.Context, login string, w Writing) (roomID string, err error) {
	if r.opt.Submit == nil {
		return "", ErrNoWriting
	}
	l, err := r.letter(ctx, login, w)
	if err != nil {
		return "", fmt.Errorf("writing a mail: %w", err)
	}
	roomID, err = r.opt.Rooms.RoomOfMail(ctx, l.From.Addr, l.MessageID)
	if errors.Is(err, chat.ErrUnknown) {
		if err := r.opt.Submit(ctx, l); err != nil {
			return "", fmt.Errorf("writing a mail: %w", err)
		}
		roomID, err = r.opt.Rooms.RoomOfMail(ctx, l.From.Addr, l.MessageID)
	}
	if errors.Is(err, chat.ErrUnknown) {
		err = ErrNoRoom
	}
	var me chat.Participant
	if err == nil {
		me, err = r.opt.Rooms.Member(ctx, login, roomID)
	}
	if errors.Is(err, chat.ErrUnknown) {
		me, err = r.opt.Rooms.Join(ctx, login, roomID)
	}
	if err == nil {
		_, err = r.opt.Rooms.Post(ctx, "", roomID,
			chat.Message{ID: "write:" + w.ID, From: me.ID, Kind: chat.KindText, Text: l.Text})
	}
	if err != nil {
		return "", fmt.Errorf("opening the room of a mail: %w", err)
	}
	r.announce(roomID)
	return roomID, nil
}

// Invite brings somebody, a mail address perhaps with a name before it, into a room
// that a login or a group of it owns, and mails them a link. ErrWriting: it is no
// address, or one's own; chat.ErrUnknown; chat.ErrForbidden: the room is somebody
// else's; chat.ErrFull.
func (r *Relay) Invite(ctx context.Context, login, roomID, to string) error {
	who, err := mail.ParseAddress(to)
	if err != nil || len(who.Address) > maxAddress {
		return fmt.Errorf("inviting somebody: %w", ErrWriting)
	}
	if _, err := r.opt.Rooms.Summary(ctx, login, roomID); err != nil {
		return err
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return err
	}
	owner := info.Participant(info.Owner)
	if owner.Login == "" || !slices.Contains(r.groupsOf(login), owner.Login) {
		return fmt.Errorf("inviting somebody: %w", chat.ErrForbidden)
	}
	if strings.EqualFold(who.Address, owner.Addr) || strings.EqualFold(who.Address, login) {
		return fmt.Errorf("inviting somebody: %w", ErrWriting)
	}
	token, guest, err := r.opt.Rooms.InviteInto(ctx, roomID, owner.ID,
		chat.Person{Addr: who.Address, Name: clean.Name(who.Name)})
	if err != nil {
		return err
	}
	r.announce(roomID)
	return r.notifier.MailInvite(ctx, owner.Person, guest.Person, info.Subject, token)
}

// letter checks what is written and makes a mail of it.
func (r *Relay) letter(ctx context.Context, login string, w Writing) (l chat.Letter, err error) {
	l = chat.Letter{Login: login, IP: w.From, From: chat.Person{Login: login, Addr: login}}
	if group := strings.ToLower(w.Group); group != "" {
		if !slices.Contains(r.groupsOf(login), group) {
			return l, chat.ErrUnknown
		}
		l.From.Addr = group
	}
	to, err := mail.ParseAddress(w.To)
	if err != nil || w.ID == "" || len(w.ID) > frame.MaxID || len(to.Address) > maxAddress ||
		!strings.Contains(l.From.Addr, "@") || strings.EqualFold(to.Address, l.From.Addr) {
		return l, ErrWriting
	}
	l.To = chat.Person{Addr: to.Address, Name: clean.Name(to.Name)}
	l.Subject = clean.Subject(w.Subject)
	if l.Text, err = clean.Message(w.Text, frame.MaxText); err != nil || l.Text == "" || l.Subject == "" {
		return l, ErrWriting
	}
	of, err := r.opt.Rooms.Settings(ctx, login)
	if err == nil && !of[login].Stamp {
		err = chat.ErrUnwanted
	}
	if l.From.Name = clean.Name(w.Name); err == nil && l.From.Name == "" {
		l.From.Name, err = r.opt.Rooms.NameOf(ctx, l.From.Addr)
	}
	l.HTML = w.HTML
	if w.About != "" {
		l.Header = append(l.Header, [2]string{"References", "<" + w.About + ">"})
	}
	l.MessageID = WrittenID(l.From.Addr, login, w.ID)
	return l, err
}

// TestMail mails a login from itself, so that its owner sees whether mail comes and
// goes. from is the client; lang is the language where the login has set none.
// ErrNoWriting; ErrWriting: the login is no mail address; *chat.RefusedError.
func (r *Relay) TestMail(ctx context.Context, login, lang string, from netip.Addr) error {
	_, domain, isAddr := strings.Cut(login, "@")
	switch {
	case r.opt.Submit == nil:
		return ErrNoWriting
	case !isAddr:
		return ErrWriting
	}
	of, err := r.opt.Rooms.Settings(ctx, login)
	if err != nil {
		return err
	}
	name, err := r.opt.Rooms.NameOf(ctx, login)
	if err != nil {
		return err
	}
	in, me := words.In(cmp.Or(of[login].Lang, lang)), chat.Person{Login: login, Addr: login, Name: name}
	err = r.opt.Submit(ctx, chat.Letter{Login: login, IP: from, From: me, To: me, Subject: in.Say("mail.test.subject"),
		Text: in.Say("mail.test.text"), MessageID: rand.Text() + "@" + domain})
	if err != nil {
		return fmt.Errorf("sending a test mail: %w", err)
	}
	return nil
}

// WrittenID is the Message-ID of what a login writes from an address with a Writing's ID.
func WrittenID(from, login, id string) string {
	sum := sha256.Sum256([]byte(from + "\x00" + login + "\x00" + id))
	_, domain, _ := strings.Cut(from, "@")
	return hex.EncodeToString(sum[:16]) + "@" + domain
}
