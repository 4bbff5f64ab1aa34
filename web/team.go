// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Team is what the desk of a login and of its groups asks of the relay, which
// documents each.
type Team interface {
	Rooms(ctx context.Context, login string, q chat.RoomQuery) ([]chat.Summary, error)
	Summary(ctx context.Context, login, roomID string) (chat.Summary, error)
	Dismiss(ctx context.Context, login, roomID string) error
}

// teamRoutes are the paths of the desk's lists and of what a team does in them.
func (s *Server) teamRoutes(mux *http.ServeMux) {
	s.handlePreferences(mux, map[string]preference{
		"GET /desk/rooms":        s.rooms,
		"GET /desk/rooms/{room}": s.summary,
		"POST /desk/dismiss":     s.dismiss,
	})
}

// rooms answers one of the desk's lists, newest first.
func (s *Server) rooms(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	q := chat.RoomQuery{List: chat.ListChats, Limit: 50}
	var err error
	if given := r.FormValue("limit"); given != "" {
		if q.Limit, err = strconv.Atoi(given); err == nil && q.Limit < 1 {
			err = errors.New("not positive")
		}
	}
	if given := r.FormValue("before"); given != "" && err == nil {
		q.Before, err = time.Parse(time.RFC3339Nano, given)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "bad-request", "limit is a positive number, before a time of RFC 3339.")
		return errAnswered
	}
	q.Limit = min(q.Limit, maxRooms)
	if given := r.FormValue("list"); given != "" {
		q.List = given
	}
	if label, ok := strings.CutPrefix(q.List, "label:"); ok {
		q.List, q.Label = "", label
	}
	list, err := s.opts.Relay.Rooms(ctx, login, q)
	if errors.Is(err, chat.ErrQuery) {
		refuse(w, http.StatusBadRequest, "bad-request",
			"list is chats, mine, unassigned, all, mails, missed or label:NAME.")
		return errAnswered
	}
	if err != nil {
		return err
	}
	if list == nil {
		list = []chat.Summary{}
	}
	answer(w, http.StatusOK, struct {
		Me    string         `json:"me"`
		Rooms []chat.Summary `json:"rooms"`
	}{login, list})
	return nil
}

// summary answers one conversation as a list has it.
func (s *Server) summary(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	c, err := s.opts.Relay.Summary(ctx, login, r.PathValue("room"))
	if err == nil {
		answer(w, http.StatusOK, c)
	}
	return err
}

// dismiss forgets missed calls: of a room, or of all.
func (s *Server) dismiss(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Room string `json:"room"`
		All  bool   `json:"all"`
	}
	if !read(w, r, &req) {
		return errAnswered
	}
	if (req.Room != "") == req.All {
		refuse(w, http.StatusBadRequest, "bad-request", "Name a room, or say all.")
		return errAnswered
	}
	return s.done(w, s.opts.Relay.Dismiss(ctx, login, req.Room))
}
