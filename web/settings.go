// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/guard/limit"
)

const maxSettings = 160 << 10 // octets of a login's settings: 50 canned replies, each escaped

// Preferences is what settings, notifications and blocks ask of the relay,
// which documents each.
type Preferences interface {
	Settings(ctx context.Context, login string) (chatrelay.Desk, error)
	ChangeSettings(ctx context.Context, login string, change func(*chat.Settings) error) (chatrelay.Desk, error)
	ChangeGroupReplies(ctx context.Context, login, group string, replies []chat.Canned) error
	PushKey() (string, error)
	Subscribe(ctx context.Context, login string, sub notify.Subscription) error
	Unsubscribe(ctx context.Context, login, browser string) error
	Shown(ctx context.Context, login, browser string) error
	TryPush(ctx context.Context, login, browser string) error
	Block(ctx context.Context, login, roomID string, participant int64, on bool) error
	Unblock(ctx context.Context, login, who string) error
	Mute(ctx context.Context, login, roomID string, on bool) error
	RevokeLinks(ctx context.Context, login, roomID string, participant int64) (int64, error)
	Remove(ctx context.Context, login, roomID string, participant int64) error
}

// preference answers one request of a login. An error says what it has not
// answered.
type preference func(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error

// preferenceRoutes are the paths of a login's settings, notifications and blocks.
func (s *Server) preferenceRoutes(mux *http.ServeMux) {
	s.handlePreferences(mux, map[string]preference{
		"GET /desk/settings":              s.settings,
		"PUT /desk/settings":              s.changeSettings,
		"PUT /desk/groups/{group}/canned": s.changeGroupReplies,
		"GET /desk/push/key":              s.pushKey,
		"POST /desk/push":                 s.subscribe,
		"DELETE /desk/push":               s.ofBrowser(s.opts.Relay.Unsubscribe),
		"POST /desk/push/shown":           s.ofBrowser(s.opts.Relay.Shown),
		"POST /desk/push/test":            s.ofBrowser(s.tryPush),
		"POST /desk/block":                s.block,
		"POST /desk/mute":                 s.mute,
		"POST /desk/revoke":               s.revoke,
		"POST /desk/remove":               s.remove,
		"GET /desk/programs":              s.programs,
		"DELETE /desk/programs":           s.revokeProgram,
	})
}

// handlePreferences answers requests of who is signed in.
func (s *Server) handlePreferences(mux *http.ServeMux, routes map[string]preference) {
	for pattern, do := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			who, ok := s.member(w, r)
			if !ok {
				return
			}
			ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
			defer cancel()
			err := spend(s.limits.desk, who.Login)
			if r.Method == http.MethodGet || err == nil {
				err = do(ctx, who.Login, w, r)
			}
			if err != nil {
				s.preferenceFailed(w, err)
			}
		})
	}
}

// errAnswered: the request has been refused already.
var errAnswered = errors.New("web: answered")

// waitError: something is asked for too often, and is possible again after that time.
type waitError time.Duration

func (e waitError) Error() string { return fmt.Sprintf("web: too often, wait %v", time.Duration(e)) }

// spend takes a token of a login; a waitError says that there is none.
func spend(b *limit.Buckets, login string) error {
	if wait := b.Wait(login); wait > 0 {
		return waitError(wait)
	}
	return nil
}

// refused answers that a request is not possible.
func refused(w http.ResponseWriter, status int, code, text string) error {
	refuse(w, status, code, text)
	return errAnswered
}

// given reads the JSON of a request's body, up to so many octets; an error is answered
// already.
func given[T any](w http.ResponseWriter, r *http.Request, octets int64) (req T, err error) {
	if !readUpTo(w, r, &req, octets) {
		err = errAnswered
	}
	return req, err
}

// preferenceFailed says an error of the relay as JSON.
func (s *Server) preferenceFailed(w http.ResponseWriter, err error) {
	var setting *chat.SettingError
	var wait waitError
	switch {
	case errors.Is(err, errAnswered), accountFailed(w, err):
	case errors.As(err, &wait):
		tooOften(w, time.Duration(wait))
	case errors.As(err, &setting):
		answer(w, http.StatusBadRequest, struct {
			refusal
			Field string `json:"field"`
		}{refusal{Error: "setting", Text: setting.Text}, setting.Field})
	case errors.Is(err, notify.ErrNoPush):
		refuse(w, http.StatusNotFound, "no-push", "This server sends no notifications.")
	case errors.Is(err, notify.ErrSubscription):
		refuse(w, http.StatusBadRequest, "subscription",
			"That is not a subscription to which notifications can be sent.")
	case errors.Is(err, chat.ErrFull):
		refuse(w, http.StatusConflict, "full", "There is no room for more.")
	case errors.Is(err, chat.ErrForbidden):
		refuse(w, http.StatusForbidden, "forbidden", "That is somebody else's to do.")
	default:
		s.failed(w, err)
	}
}

func (s *Server) settings(ctx context.Context, login string, w http.ResponseWriter, _ *http.Request) error {
	d, err := s.opts.Relay.Settings(ctx, login)
	if err == nil {
		answer(w, http.StatusOK, d)
	}
	return err
}

// changeSettings sets what the body names; all else stays.
func (s *Server) changeSettings(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	raw, err := given[json.RawMessage](w, r, maxSettings)
	if err != nil {
		return err
	}
	var named map[string]json.RawMessage
	if err := json.Unmarshal(raw, &named); err != nil || named == nil {
		return refused(w, http.StatusBadRequest, "bad-request", "The request is not the JSON that belongs here.")
	}
	d, err := s.opts.Relay.ChangeSettings(ctx, login, func(set *chat.Settings) error {
		// What is named is new as a whole: nothing of an old value shines through.
		if _, ok := named["quiet"]; ok {
			set.Quiet = nil
		}
		if _, ok := named["canned"]; ok {
			set.Canned = nil
		}
		if availability, ok := named["availability"]; ok && availability != nil {
			set.Until = nil
		}
		err := json.Unmarshal(raw, set)
		var mistyped *json.UnmarshalTypeError
		var untimely *time.ParseError
		switch {
		case errors.As(err, &mistyped):
			return &chat.SettingError{Field: mistyped.Field, Text: fmt.Sprintf("it cannot be a %s", mistyped.Value)}
		case errors.As(err, &untimely):
			return &chat.SettingError{Field: "until", Text: "a time is like 2026-11-20T09:00:00Z"}
		case err != nil:
			return &chat.SettingError{Text: "it cannot be read"}
		}
		return nil
	})
	if err == nil {
		answer(w, http.StatusOK, d)
	}
	return err
}

// changeGroupReplies sets the replies that the members of a group share.
func (s *Server) changeGroupReplies(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Canned []chat.Canned `json:"canned"`
	}](w, r, maxSettings)
	if err != nil {
		return err
	}
	return s.done(w, s.opts.Relay.ChangeGroupReplies(ctx, login, r.PathValue("group"), req.Canned))
}

func (s *Server) pushKey(_ context.Context, _ string, w http.ResponseWriter, _ *http.Request) error {
	key, err := s.opts.Relay.PushKey()
	if err == nil {
		answer(w, http.StatusOK, map[string]string{"key": key})
	}
	return err
}

// subscribe keeps a browser; its endpoint is a secret and stays out of logs.
func (s *Server) subscribe(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	sub, err := given[notify.Subscription](w, r, maxBody)
	if err != nil {
		return err
	}
	sub.Name, sub.Lang = browserName(r.UserAgent()), s.tongue(r).Lang
	return s.done(w, s.opts.Relay.Subscribe(ctx, login, sub))
}

// ofBrowser returns what does something about a browser of a login, by its ID or its
// endpoint.
func (s *Server) ofBrowser(do func(ctx context.Context, login, browser string) error) preference {
	return func(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
		req, err := given[struct {
			ID       string `json:"id"`
			Endpoint string `json:"endpoint"`
		}](w, r, maxBody)
		if err != nil {
			return err
		}
		return s.done(w, do(ctx, login, cmp.Or(req.ID, req.Endpoint)))
	}
}

// tryPush sends a notification to a browser, so that its owner sees whether any comes.
func (s *Server) tryPush(ctx context.Context, login, browser string) error {
	if err := spend(s.limits.try, login); err != nil {
		return err
	}
	return s.opts.Relay.TryPush(ctx, login, browser)
}

// block blocks a participant of a room, or ends that, also by the name of an
// old block.
func (s *Server) block(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Room        string `json:"room"`
		Participant int64  `json:"participant"`
		Who         string `json:"who"`
		On          bool   `json:"on"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	switch {
	case req.Room != "" && req.Participant != 0 && req.Who == "":
		return s.done(w, s.opts.Relay.Block(ctx, login, req.Room, req.Participant, req.On))
	case req.Room == "" && req.Who != "" && !req.On:
		return s.done(w, s.opts.Relay.Unblock(ctx, login, req.Who))
	}
	return refused(w, http.StatusBadRequest, "block", "Name a room and a participant, or whom to unblock.")
}

func (s *Server) mute(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[struct {
		Room string `json:"room"`
		On   bool   `json:"on"`
	}](w, r, maxBody)
	if err != nil {
		return err
	}
	return s.done(w, s.opts.Relay.Mute(ctx, login, req.Room, req.On))
}

// inRoom is somebody in a room.
type inRoom struct {
	Room        string `json:"room"`
	Participant int64  `json:"participant"`
}

// revoke takes back the links into a room that ring the login, those of one
// participant where one is named.
func (s *Server) revoke(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[inRoom](w, r, maxBody)
	if err != nil {
		return err
	}
	n, err := s.opts.Relay.RevokeLinks(ctx, login, req.Room, req.Participant)
	if err == nil {
		s.log.Info("links were taken back at the desk", "login", login, "room", req.Room, "links", n)
		answer(w, http.StatusOK, map[string]int64{"revoked": n})
	}
	return err
}

// remove puts a participant out of a room.
func (s *Server) remove(ctx context.Context, login string, w http.ResponseWriter, r *http.Request) error {
	req, err := given[inRoom](w, r, maxBody)
	if err != nil {
		return err
	}
	err = s.opts.Relay.Remove(ctx, login, req.Room, req.Participant)
	if err == nil {
		s.log.Info("somebody was put out of a room at the desk", "login", login, "room", req.Room)
	}
	return s.done(w, err)
}

// done answers that something was done, if it was.
func (s *Server) done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}
