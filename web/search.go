// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/chmail/chmail/chatrelay/chat"
)

// search finds messages of a login's conversations.
func (s *Server) search(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	if err := spend(s.limits.search, login); err != nil {
		return err
	}
	limit, err := 20, error(nil)
	if given := r.FormValue("limit"); given != "" {
		limit, err = strconv.Atoi(given)
	}
	if err != nil || limit < 1 {
		return refused(w, http.StatusBadRequest, "bad-request", "limit is a positive number.")
	}
	hits, more, err := s.opts.Relay.Search(ctx, login, r.FormValue("q"), r.FormValue("before"), limit)
	if errors.Is(err, chat.ErrQuery) {
		return refused(w, http.StatusBadRequest, "bad-request",
			"q is up to 200 characters, before what an earlier answer gave as more.")
	}
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, struct {
		Hits []chat.Hit `json:"hits"`
		More string     `json:"more,omitempty"`
	}{append([]chat.Hit{}, hits...), more})
	return nil
}
