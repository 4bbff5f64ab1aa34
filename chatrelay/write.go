// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
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

// WrittenID is the Message-ID of what a login writes from an address with a Writing's ID.
func WrittenID(from, login, id string) string {
	sum := sha256.Sum256([]byte(from + "\x00" + login + "\x00" + id))
	_, domain, _ := strings.Cut(from, "@")
	return hex.EncodeToString(sum[:16]) + "@" + domain
}
