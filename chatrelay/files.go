// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/clean"
	"github.com/chmail/chmail/guard/limit"
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
	// ErrNoFiles: this server keeps no files.
	ErrNoFiles = errors.New("this server keeps no files")
)

// TooOftenError says when to come back.
type TooOftenError struct{ Wait time.Duration }

func (e *TooOftenError) Error() string { return "too many files; wait " + e.Wait.String() }

// visitor is who a Visitor is and in which room. chat.ErrUnknown, or, of a
// link, ErrStranger, chat.ErrExpired and chat.ErrRevoked.
// callee is whose login may have blocked them.
func (r *Relay) visitor(ctx context.Context, v Visitor) (roomID string, me chat.Participant, callee string, err error) {
	if v.Login != "" {
		if me, err = r.opt.Rooms.Member(ctx, v.Login, v.Room); err != nil {
			return v.Room, me, "", err
		}
		info, err := r.opt.Rooms.Info(ctx, v.Room)
		return v.Room, me, r.calleeOf(info, me).Login, err
	}
	me, i, err := r.opt.Rooms.Participant(ctx, v.Token, v.Claim)
	if errors.Is(err, chat.ErrUnknown) && i.Room != "" {
		err = ErrStranger
	}
	return i.Room, me, i.Callee.Login, err
}

// Upload stores a file and says it in the room, wherever that lives. Errors
// are those of visitor, of files.Store's Put and of the reader, ErrIncoming,
// ErrNoFiles and *TooOftenError.
func (r *Relay) Upload(ctx context.Context, v Visitor, in Incoming) (chat.Message, error) {
	t := r.talks
	if t.files == nil {
		return chat.Message{}, ErrNoFiles
	}
	roomID, me, callee, err := r.visitor(ctx, v)
	if err != nil {
		return chat.Message{}, err
	}
	text, err := clean.Message(in.Text, frame.MaxText)
	if err != nil || in.ID == "" || len(in.ID) > frame.MaxID {
		return chat.Message{}, ErrIncoming
	}
	done, err := t.begin(me.ID, in.From)
	if err != nil {
		return chat.Message{}, err
	}
	defer done()
	if refused, err := r.Refuses(ctx, roomID, me.ID, callee); err != nil || refused {
		return r.swallow(ctx, roomID, me.ID, in, text, err)
	}
	var said chat.Message
	_, err = t.files.Put(ctx, roomID, in.Name, in.Body, func(ctx context.Context, f chat.File) (err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		f.Folder = t.folder
		said, err = r.opt.Rooms.Post(ctx, "", roomID, chat.Message{ID: in.ID, From: me.ID, Kind: chat.KindFile, Text: text, File: &f})
		return err
	})
	if err != nil {
		return chat.Message{}, err
	}
	filesTotal.Inc()
	r.outside(roomID)
	return said, nil
}

// swallow takes a file of somebody whom the callee has blocked, and who does
// not learn of it: it goes nowhere.
func (r *Relay) swallow(ctx context.Context, roomID string, me int64, in Incoming, text string, err error) (chat.Message, error) {
	var n int64
	if err == nil {
		n, err = io.Copy(io.Discard, io.LimitReader(in.Body, r.talks.maxFile+1))
	}
	var info chat.Info
	if err == nil {
		info, err = r.opt.Rooms.Info(ctx, roomID)
	}
	switch {
	case err != nil:
		return chat.Message{}, err
	case n > r.talks.maxFile:
		return chat.Message{}, files.ErrTooLarge
	case n == 0:
		return chat.Message{}, files.ErrEmpty
	}
	f := chat.File{ID: strings.Repeat("0", 64), Name: files.Name(in.Name), Type: "application/octet-stream", Size: n}
	return chat.Message{Offset: info.Next - 1, ID: in.ID, From: me, Kind: chat.KindFile, Text: text, At: time.Now().UTC(), File: &f}, nil
}

// begin counts a file of a participant that is under way, until done.
func (t *talks) begin(me int64, from netip.Addr) (done func(), err error) {
	wait := t.mine.Wait(strconv.FormatInt(me, 10))
	if p := limit.Remote(from); wait == 0 && p.IsValid() {
		wait = t.from.Wait(p.String())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait == 0 && t.sending[me] >= filesAtOnce {
		wait = fileEvery
	}
	if wait > 0 {
		return nil, &TooOftenError{wait}
	}
	t.sending[me]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.sending[me]--; t.sending[me] == 0 {
			delete(t.sending, me)
		}
	}, nil
}

// ServeFile answers a GET or HEAD of a file of the visitor's room, or of its
// thumbnail. On an error nothing has been answered: those of visitor,
// chat.ErrUnknown also when there is no such file.
func (r *Relay) ServeFile(w http.ResponseWriter, req *http.Request, v Visitor, id string, thumb bool) error {
	ctx, cancel := context.WithTimeout(req.Context(), callTimeout)
	defer cancel()
	roomID, _, _, err := r.visitor(ctx, v)
	if err != nil {
		return err
	}
	f, err := r.opt.Rooms.File(ctx, roomID, id)
	if err != nil {
		return err
	}
	store, err := r.talks.keeper(r.opt.Files, f.Folder)
	if err != nil {
		return err
	}
	if err := store.Serve(w, req, f, thumb); err != nil {
		if errors.Is(err, files.ErrUnknown) {
			// As when relays share the rooms but not their folder of files.
			return fmt.Errorf("a file is missing: %w", &MissingError{f.Folder})
		}
		return err
	}
	return nil
}

// MissingError: the room has the file, but it is not in the folder.
type MissingError struct{ Folder string }

func (e *MissingError) Error() string { return fmt.Sprintf("the folder %q does not have it", e.Folder) }

// keeper is the store that has the files of a relay.
func (t *talks) keeper(dir, folder string) (*files.Store, error) {
	switch {
	case t.files == nil:
		return nil, ErrNoFiles
	case folder == t.folder:
		return t.files, nil
	case folder != "" && folder != filepath.Base(folder) || strings.HasPrefix(folder, "."): // unreachable: relays' names are host names
		return nil, chat.ErrUnknown
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.views[folder] == nil {
		t.views[folder] = files.View(filepath.Join(dir, folder))
	}
	return t.views[folder], nil
}
