// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/frame"
)

const (
	fileWait    = 20 * time.Second // for the next octets of a file, either way
	fileTimeout = 10 * time.Minute // for all of them
	maxFileName = 4096             // octets of the name as it comes
)

// fileRoutes are the paths of the files of a conversation.
func (s *Server) fileRoutes(mux *http.ServeMux) {
	for prefix, visitor := range map[string]func(http.ResponseWriter, *http.Request) (chatrelay.Visitor, bool){
		"/c/{token}/files": s.linkVisitor, "/desk/rooms/{room}/files": s.deskVisitor} {
		mux.HandleFunc("POST "+prefix, func(w http.ResponseWriter, r *http.Request) {
			if v, ok := visitor(w, r); ok {
				s.upload(w, r, v)
			}
		})
		get := func(thumb bool) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if v, ok := visitor(w, r); ok {
					s.file(w, r, v, thumb)
				}
			}
		}
		mux.HandleFunc("GET "+prefix+"/{id}", get(false))
		mux.HandleFunc("GET "+prefix+"/{id}/thumb", get(true))
	}
}

// linkVisitor is the browser that has come in through the link; otherwise it
// has answered and reports false.
func (s *Server) linkVisitor(w http.ResponseWriter, r *http.Request) (v chatrelay.Visitor, ok bool) {
	w.Header().Set("X-Robots-Tag", "noindex")
	v.Token = r.PathValue("token")
	if !isToken(v.Token) {
		s.failed(w, chat.ErrUnknown)
		return v, false
	}
	if v.Claim, ok = s.claim(r); !ok {
		refuse(w, http.StatusForbidden, "claim", "This browser has not come in through this link.")
	}
	return v, ok
}

// deskVisitor is the login that is signed in.
func (s *Server) deskVisitor(w http.ResponseWriter, r *http.Request) (v chatrelay.Visitor, ok bool) {
	who, ok := s.member(w, r)
	return chatrelay.Visitor{Login: who.Login, Room: r.PathValue("room")}, ok
}

// upload takes a file: the body itself, or a form of which the file is the
// last part.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, v chatrelay.Visitor) {
	ctx, cancel := context.WithTimeout(r.Context(), fileTimeout)
	defer cancel()
	body := &patient{r: r.Body, w: http.NewResponseController(w)}
	in := chatrelay.Incoming{From: s.clientIP(r), Body: body}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == "multipart/form-data" {
		err = form(body, params["boundary"], &in)
	} else {
		var q url.Values
		q, err = url.ParseQuery(r.URL.RawQuery)
		in.ID, in.Name, in.Text = q.Get("id"), q.Get("name"), q.Get("text")
	}
	if err == nil && len(in.Name) > maxFileName {
		err = errForm
	}
	var said chat.Message
	if err == nil {
		said, err = s.opts.Relay.Upload(ctx, v, in)
	}
	// The answer, and a client that has not read it yet, get their time too.
	body.w.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err != nil {
		s.fileFailed(w, err)
		return
	}
	answer(w, http.StatusCreated, struct {
		Msg chat.Message `json:"msg"`
	}{said})
}

var errForm = errors.New("not a form with a file")

// form reads the fields of a form up to the file.
func form(body io.Reader, boundary string, in *chatrelay.Incoming) error {
	parts := multipart.NewReader(body, boundary)
	for range 8 {
		p, err := parts.NextPart()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) {
				return err
			}
			return errForm
		}
		var field *string
		switch p.FormName() {
		case "id":
			field = &in.ID
		case "text":
			field = &in.Text
		case "file":
			// As it came; the relay takes folders and more out of it.
			_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
			if err != nil {
				return errForm
			}
			in.Name, in.Body = params["filename"], p
			return nil
		default:
			continue
		}
		b, err := io.ReadAll(io.LimitReader(p, frame.MaxText+1))
		if err != nil || len(b) > frame.MaxText {
			return errForm
		}
		*field = string(b)
	}
	return errForm
}

// patient reads as long as something comes.
type patient struct {
	r io.Reader
	w *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	p.w.SetReadDeadline(time.Now().Add(fileWait))
	return p.r.Read(b)
}

// file answers with a file of the visitor's room.
func (s *Server) file(w http.ResponseWriter, r *http.Request, v chatrelay.Visitor, thumb bool) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(fileTimeout))
	if err := s.opts.Relay.ServeFile(w, r, v, r.PathValue("id"), thumb); err != nil {
		s.fileFailed(w, err)
	}
}

// fileFailed says an error with a file as JSON.
func (s *Server) fileFailed(w http.ResponseWriter, err error) {
	var often *files.TooOftenError
	var timeout net.Error
	var missing *files.MissingError
	switch {
	case errors.Is(err, chatrelay.ErrStranger):
		refuse(w, http.StatusForbidden, "claim", "This browser has not come in through this link.")
	case errors.As(err, &often):
		tooOften(w, often.Wait)
	case errors.Is(err, files.ErrTooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, "too-large", "The file is too large.")
	case errors.Is(err, files.ErrPicture):
		refuse(w, http.StatusUnsupportedMediaType, "picture", "The picture has too many pixels to be shown.")
	case errors.Is(err, files.ErrRoomFull):
		refuse(w, http.StatusInsufficientStorage, "room-full", "The files of this conversation take too much room.")
	case errors.Is(err, files.ErrFull):
		refuse(w, http.StatusInsufficientStorage, "full", "The server has no room for files.")
	case errors.Is(err, files.ErrBusy):
		retryAfter(w, 5*time.Second)
		refuse(w, http.StatusServiceUnavailable, "busy", "Many files come just now: try again.")
	case errors.Is(err, files.ErrEmpty):
		refuse(w, http.StatusBadRequest, "empty", "The file is empty.")
	case errors.Is(err, errForm), errors.Is(err, chatrelay.ErrIncoming), errors.Is(err, io.ErrUnexpectedEOF):
		refuse(w, http.StatusBadRequest, "bad-request",
			"A file needs an id of at most 64 octets, a name, and a text of at most 16 KiB.")
	case errors.Is(err, files.ErrNoFiles):
		refuse(w, http.StatusNotFound, "unknown", "This server keeps no files.")
	case errors.As(err, &missing):
		s.log.Warn("a file is missing: relays that share the rooms must share the folder of files", "err", err)
		refuse(w, http.StatusNotFound, "missing", "The file is not on this server.")
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, "timeout", "The file did not come in time.")
	default:
		s.failed(w, err)
	}
}
