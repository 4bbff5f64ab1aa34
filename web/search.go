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
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	who, ok := s.member(w, r)
	if !ok {
		return
	}
	if wait := s.limits.search.Wait(who.Login); wait > 0 {
		tooOften(w, wait)
		return
	}
	limit, err := 20, error(nil)
	if given := r.FormValue("limit"); given != "" {
		limit, err = strconv.Atoi(given)
	}
	if err != nil || limit < 1 {
		refuse(w, http.StatusBadRequest, "bad-request", "limit is a positive number.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	hits, more, err := s.opts.Relay.Search(ctx, who.Login, r.FormValue("q"), r.FormValue("before"), limit)
	if errors.Is(err, chat.ErrQuery) {
		refuse(w, http.StatusBadRequest, "bad-request",
			"q is up to 200 characters, before what an earlier answer gave as more.")
		return
	}
	if err != nil {
		s.failed(w, err)
		return
	}
	if hits == nil {
		hits = []chat.Hit{}
	}
	answer(w, http.StatusOK, struct {
		Hits []chat.Hit `json:"hits"`
		More string     `json:"more,omitempty"`
	}{hits, more})
}
