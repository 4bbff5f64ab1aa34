// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
)

// Team is what the desk of a login and of its groups asks of the relay, which
// documents each.
type Team interface {
	Rooms(ctx context.Context, login string, q chat.RoomQuery) ([]chat.Summary, error)
	Summary(ctx context.Context, login, roomID string) (chat.Summary, error)
	Dismiss(ctx context.Context, login, roomID string) error
	Assign(ctx context.Context, login, roomID, group, to string, was *string) error
	AddTeamNote(ctx context.Context, login, roomID string, n chat.TeamNote) (chat.TeamNote, error)
	TeamNotes(ctx context.Context, login, roomID string) ([]chat.TeamNote, error)
	Label(ctx context.Context, login, roomID, group, label string, on bool) error
	Labels(ctx context.Context, login string) ([]chat.Label, error)
	Colleagues(ctx context.Context, login string) []chatrelay.Colleagues
	Write(ctx context.Context, login string, w chatrelay.Writing) (roomID string, err error)
	Invite(ctx context.Context, login, roomID, to string) error
	TestMail(ctx context.Context, login, lang string, from netip.Addr) error
	Figures(ctx context.Context, login string, days int, until string) (chat.Figures, error)
}

// teamRoutes are the paths of the desk's lists and of what a team does in them.
func (s *Server) teamRoutes(mux *http.ServeMux) {
	s.handlePreferences(mux, map[string]preference{
		"GET /desk/rooms":                s.rooms,
		"GET /desk/rooms/{room}":         s.summary,
		"POST /desk/dismiss":             s.dismiss,
		"GET /desk/team":                 s.colleagues,
		"POST /desk/rooms/{room}/assign": s.assign,
		"GET /desk/rooms/{room}/notes":   s.teamNotes,
		"POST /desk/rooms/{room}/notes":  s.addTeamNote,
		"POST /desk/rooms/{room}/labels": s.label,
		"POST /desk/rooms/{room}/invite": s.invite,
		"GET /desk/labels":               s.labels,
		"GET /desk/search":               s.search,
		"GET /desk/figures":              s.figures,
		"POST /desk/write":               s.write,
		"POST /desk/test-mail":           s.testMail,
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
		return refused(w, http.StatusBadRequest, "bad-request", "limit is a positive number, before a time of RFC 3339.")
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
		return refused(w, http.StatusBadRequest, "bad-request",
			"list is chats, mine, unassigned, all, mails, missed or label:NAME.")
	}
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, struct {
		Me    string         `json:"me"`
		Rooms []chat.Summary `json:"rooms"`
	}{login, append([]chat.Summary{}, list...)})
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
	req, err := given[struct {
		Room string `json:"room"`
		All  bool   `json:"all"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	if (req.Room != "") == req.All {
		return refused(w, http.StatusBadRequest, "bad-request", "Name a room, or say all.")
	}
	return s.done(w, s.opts.Relay.Dismiss(ctx, login, req.Room))
}

func (s *Server) colleagues(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	answer(w, http.StatusOK, map[string]any{"groups": s.opts.Relay.Colleagues(ctx, login)})
	return nil
}

// assign hands a group's room over: to a colleague, to oneself, or back to the group.
func (s *Server) assign(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Group string  `json:"group"`
		To    string  `json:"to"`
		Was   *string `json:"was"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	err = s.opts.Relay.Assign(ctx, login, r.PathValue("room"), req.Group, req.To, req.Was)
	if errors.Is(err, chat.ErrTaken) {
		return refused(w, http.StatusConflict, "taken", "A colleague was quicker.")
	}
	return s.done(w, err)
}

func (s *Server) teamNotes(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	list, err := s.opts.Relay.TeamNotes(ctx, login, r.PathValue("room"))
	if err == nil {
		answer(w, http.StatusOK, map[string]any{"notes": append([]chat.TeamNote{}, list...)})
	}
	return err
}

func (s *Server) addTeamNote(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Group string `json:"group"`
		ID    string `json:"id"`
		Text  string `json:"text"`
	}](w, r, 8*chat.MaxTeamNote) // as much as escaping makes of it
	if err != nil {
		return err
	}
	n, err := s.opts.Relay.AddTeamNote(ctx, login, r.PathValue("room"),
		chat.TeamNote{Group: req.Group, ID: req.ID, Text: req.Text})
	if errors.Is(err, chat.ErrQuery) {
		return refused(w, http.StatusBadRequest, "bad-request", "A note has an id and a text.")
	}
	if err == nil {
		answer(w, http.StatusCreated, n)
	}
	return err
}

func (s *Server) label(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Group string `json:"group"`
		Label string `json:"label"`
		On    bool   `json:"on"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	err = s.opts.Relay.Label(ctx, login, r.PathValue("room"), req.Group, req.Label, req.On)
	if errors.Is(err, chat.ErrQuery) {
		return refused(w, http.StatusBadRequest, "bad-request", "A label has a name.")
	}
	return s.done(w, err)
}

func (s *Server) labels(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	list, err := s.opts.Relay.Labels(ctx, login)
	if err == nil {
		answer(w, http.StatusOK, map[string]any{"labels": append([]chat.Label{}, list...)})
	}
	return err
}

// figures answers how often a login and its groups were asked for, in so many days
// until today or another day.
func (s *Server) figures(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	if err := spend(s.limits.search, login); err != nil {
		return err
	}
	days := 7
	if given := r.FormValue("days"); given != "" {
		days, _ = strconv.Atoi(given) // 0 is refused
	}
	f, err := s.opts.Relay.Figures(ctx, login, days, r.FormValue("until"))
	if errors.Is(err, chat.ErrQuery) {
		return refused(w, http.StatusBadRequest, "bad-request", "days is a number up to 100, until a day like 2026-11-20.")
	}
	if err == nil {
		f.Days, f.Of = append([]chat.Figure{}, f.Days...), append([]chat.Figure{}, f.Of...)
		answer(w, http.StatusOK, f)
	}
	return err
}

// write mails somebody, with a link to the room that it opens.
func (s *Server) write(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		ID      string `json:"id"`
		Group   string `json:"group"`
		To      string `json:"to"`
		Subject string `json:"subject"`
		Text    string `json:"text"`
	}](w, r, 8*chat.MaxText)
	if err != nil {
		return err
	}
	if err := spend(s.limits.write, login); err != nil {
		return err
	}
	room, err := s.opts.Relay.Write(ctx, login, chatrelay.Writing{ID: req.ID, Group: req.Group, To: req.To,
		Subject: req.Subject, Text: req.Text, From: s.clientIP(r)})
	if err != nil {
		return writingFailed(w, err)
	}
	answer(w, http.StatusCreated, map[string]string{"room": room})
	return nil
}

// invite mails somebody a link into a room.
func (s *Server) invite(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		To string `json:"to"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	if err := spend(s.limits.write, login); err != nil {
		return err
	}
	err = s.opts.Relay.Invite(ctx, login, r.PathValue("room"), req.To)
	if errors.Is(err, chatrelay.ErrWriting) {
		return refused(w, http.StatusBadRequest, "bad-request", "to is one mail address, and not one's own.")
	}
	return s.done(w, err)
}

// testMail mails somebody from themselves.
func (s *Server) testMail(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	if _, err := given[struct{}](w, r, maxBody); err != nil {
		return err
	}
	if err := spend(s.limits.write, login); err != nil {
		return err
	}
	if err := s.opts.Relay.TestMail(ctx, login, s.tongue(r).Lang, s.clientIP(r)); err != nil {
		return writingFailed(w, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// writingFailed says why a mail did not go out, or has no room.
func writingFailed(w http.ResponseWriter, err error) error {
	var no *chat.RefusedError
	switch {
	case errors.As(err, &no):
		return refused(w, http.StatusUnprocessableEntity, "refused", no.Text)
	case errors.Is(err, chatrelay.ErrWriting):
		return refused(w, http.StatusBadRequest, "bad-request", "A mail has an id, one address, a subject and a text.")
	case errors.Is(err, chat.ErrUnwanted):
		return refused(w, http.StatusConflict, "no-links", "Your settings say that your mails carry no links.")
	case errors.Is(err, chatrelay.ErrNoRoom):
		return refused(w, http.StatusBadGateway, "no-room", "The mail was sent, but without a link.")
	case errors.Is(err, chatrelay.ErrNoWriting):
		return refused(w, http.StatusNotFound, "no-writing", "This server takes no mails from the desk.")
	}
	return err
}
