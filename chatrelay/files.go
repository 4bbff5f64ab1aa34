// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/guard/limit"
	"github.com/chmail/chmail/internal/clean"
)

// Visitor is who asks for something over HTTP: the browser that holds Claim
// came in through the link Token, or Login is signed in and means Room.
type Visitor struct {
	Token, Claim string
	Login, Room  string
}

// Incoming is a file on its way in.
type Incoming struct {
	ID   string     // of the message, made by the client; sent again with it, a file is harmless
	Name string     // as the sender calls it
	Text string     // caption; may be empty
	From netip.Addr // the client
	Body io.Reader
}

var (
	// ErrIncoming: a message without an ID, or with a caption that is too long.
	ErrIncoming = errors.New("the file's message has no id, or its text is too long")
	// ErrStranger: the browser has not come in through the link.
	ErrStranger = errors.New("this browser has not come in through this link")
)

// startFiles opens the folder of the files, if there is one.
func (r *Relay) startFiles() (err error) {
	if r.opt.Files != "" {
		r.files, err = files.StartService(files.ServiceOptions{Dir: r.opt.Files, Folder: r.home(), Rooms: r.opt.Rooms,
			MaxFile: r.opt.MaxFile, MaxRoom: r.opt.MaxRoom, MaxFiles: r.opt.MaxFiles, Log: r.log})
	}
	return err
}

// visitor is who a Visitor is and in which room; callee is the login that may
// have blocked them. chat.ErrUnknown, or, of a link, ErrStranger,
// chat.ErrExpired and chat.ErrRevoked.
func (r *Relay) visitor(ctx context.Context, v Visitor) (roomID string, me chat.Access, callee string, err error) {
	if v.Login != "" {
		if me.Participant, err = r.opt.Rooms.Member(ctx, v.Login, v.Room); err != nil {
			return v.Room, me, "", err
		}
		info, err := r.opt.Rooms.Info(ctx, v.Room)
		me.Proven = true
		return v.Room, me, r.calleeOf(info, me.Participant).Login, err
	}
	me, i, err := r.opt.Rooms.Participant(ctx, v.Token, v.Claim)
	if errors.Is(err, chat.ErrUnknown) && i.Room != "" {
		err = ErrStranger
	}
	return i.Room, me, i.Callee.Login, err
}

// Upload stores a file and posts it into the room, wherever that is served.
// Errors are those of visitor, of files.Service and of the reader, and
// ErrIncoming.
func (r *Relay) Upload(ctx context.Context, v Visitor, in Incoming) (chat.Message, error) {
	if r.files == nil {
		return chat.Message{}, files.ErrNoFiles
	}
	roomID, me, callee, err := r.visitor(ctx, v)
	if err != nil {
		return chat.Message{}, err
	}
	text, err := clean.Message(in.Text, frame.MaxText)
	if err != nil || in.ID == "" || len(in.ID) > frame.MaxID {
		return chat.Message{}, ErrIncoming
	}
	done, err := r.files.Begin(me.ID, limit.Remote(in.From))
	if err != nil {
		return chat.Message{}, err
	}
	defer done()
	m := chat.Message{ID: in.ID, From: me.ID, Kind: chat.KindFile, Text: text, Via: viaOf(me)}
	refused, err := r.Refuses(ctx, roomID, me.ID, callee)
	if err != nil {
		return chat.Message{}, err
	}
	if refused {
		return r.discard(ctx, roomID, m, in)
	}
	err = r.files.Put(ctx, roomID, in.Name, in.Body, func(ctx context.Context, f chat.File) (err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		m.File = &f
		m, err = r.opt.Rooms.Post(ctx, "", roomID, m)
		return err
	})
	if err != nil {
		return chat.Message{}, err
	}
	filesTotal.Inc()
	r.announce(roomID)
	return m, nil
}

// discard takes a file of somebody whom the callee has blocked, who does not
// learn of it: it goes nowhere.
func (r *Relay) discard(ctx context.Context, roomID string, m chat.Message, in Incoming) (chat.Message, error) {
	f, err := r.files.Discard(in.Name, in.Body)
	if err != nil {
		return chat.Message{}, err
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	m.Offset, m.At, m.File = info.Next-1, time.Now().UTC(), &f
	return m, err
}

// ServeFile answers a GET or HEAD of a file of the visitor's room, or of its
// thumbnail. On an error nothing has been answered: those of visitor and of
// files.Service.
func (r *Relay) ServeFile(w http.ResponseWriter, req *http.Request, v Visitor, id string, thumb bool) error {
	ctx, cancel := context.WithTimeout(req.Context(), callTimeout)
	roomID, me, _, err := r.visitor(ctx, v)
	cancel()
	if err != nil {
		return err
	}
	return r.files.Serve(w, req, roomID, id, me.Since, thumb)
}
