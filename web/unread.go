// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/words"
)

// askStop is where the link in a mail of unread words leads. Scanners follow links, so a press of its button counts.
func (s *Server) askStop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Robots-Tag", "noindex")
	say := words.In(s.language(r))
	s.page(w, r, http.StatusOK, view{Title: say.Say("unread.stop"), Head: say.Say("unread.ask"),
		Lines: []string{say.Say("unread.askWhat")}, Post: r.URL.Path, Label: say.Say("unread.stop")}, nil)
}

// stopUnread ends the mails of unread words to whose link it is: a mail program asks for it with one press (RFC 8058),
// or the page does.
func (s *Server) stopUnread(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Robots-Tag", "noindex")
	token := r.PathValue("token")
	if wait := s.limits.link.Wait(token); wait > 0 {
		tooOften(w, wait)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
	defer cancel()
	err := chat.ErrUnknown
	if isToken(token) {
		err = s.opts.Relay.StopUnread(ctx, token, true)
	}
	switch {
	case errors.Is(err, chat.ErrUnknown):
		s.plainPage(w, r, http.StatusNotFound, "missing")
	case err != nil:
		s.log.Warn("stopping mails of unread words", "err", err)
		retryAfter(w, downRetry)
		s.plainPage(w, r, http.StatusServiceUnavailable, "down")
	default:
		say := words.In(s.language(r)).Say("unread.stopped")
		s.page(w, r, http.StatusOK, view{Title: say, Head: say}, nil)
	}
}
