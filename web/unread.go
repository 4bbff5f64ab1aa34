// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/chmail/chmail/chatrelay/chat"
)

// askStop is where the link in a mail of unread words leads. Scanners follow links, so a press of its button counts.
func (s *Server) askStop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Robots-Tag", "noindex")
	say := s.tongue(r).Say
	s.page(w, r, http.StatusOK, shown{title: say("unread.stop"), template: "notice", with: notice{Head: say("unread.ask"),
		Lines: []string{say("unread.askWhat")}, Post: r.URL.Path, Label: say("unread.stop")}})
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
		s.downPage(w, r)
	default:
		said := s.tongue(r).Say("unread.stopped")
		s.page(w, r, http.StatusOK, shown{title: said, template: "notice", with: notice{Head: said}})
	}
}
