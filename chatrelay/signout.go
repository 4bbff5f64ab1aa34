// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

// SessionRooms is what the end of sessions uses of a store.Store, which
// documents each.
type SessionRooms interface {
	SignOut(ctx context.Context, login string) error
	EndSession(ctx context.Context, session chat.Session, expires time.Time) error
	SignedIn(ctx context.Context, session chat.Session) (bool, error)
	SawProgram(ctx context.Context, session chat.Session, addr string) error
	Programs(ctx context.Context, login string) ([]chat.Program, error)
	UseCode(ctx context.Context, id string, expires time.Time) (first bool, err error)
	ReturnCode(ctx context.Context, id string) error
}

// errSignedOut: the session with which the desk came has ended.
var errSignedOut = &fault{frame.ErrTicket, "this session has ended: sign in again"}

// SignOut ends all sessions of a login at the desk, at every relay, and closes
// the connections of its devices and into its rooms. A new password and the
// end of an account call for it.
func (r *Relay) SignOut(ctx context.Context, login string) error {
	if err := r.opt.Rooms.SignOut(ctx, login); err != nil {
		return fmt.Errorf("ending the sessions of a login: %w", err)
	}
	r.tellSignedOut(note{T: noteSignOut, Login: login})
	return nil
}

// EndSession ends one session of the desk in the same way. It would have ended
// by itself when it expires.
func (r *Relay) EndSession(ctx context.Context, session chat.Session, expires time.Time) error {
	if err := r.opt.Rooms.EndSession(ctx, session, expires); err != nil {
		return err
	}
	r.tellSignedOut(note{T: noteSignOut, Login: session.Login, ID: session.ID})
	return nil
}

// SignedIn reports whether a session is still good.
func (r *Relay) SignedIn(ctx context.Context, session chat.Session) (bool, error) {
	return r.opt.Rooms.SignedIn(ctx, session)
}

// Programs lists the computers of a login whose program has a token; store.Store documents it.
func (r *Relay) Programs(ctx context.Context, login string) ([]chat.Program, error) {
	return r.opt.Rooms.Programs(ctx, login)
}

// UseCode uses a code that is good once; store.Store documents it.
func (r *Relay) UseCode(ctx context.Context, id string, expires time.Time) (first bool, err error) {
	return r.opt.Rooms.UseCode(ctx, id, expires)
}

// ReturnCode makes a code good again; store.Store documents it.
func (r *Relay) ReturnCode(ctx context.Context, id string) error {
	return r.opt.Rooms.ReturnCode(ctx, id)
}

// sawProgram notes when and from where a person's program was here, for their desk.
func (r *Relay) sawProgram(d *device) {
	if d.session.Device == "" {
		return
	}
	r.later("noting a program", func() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		defer cancel()
		if err := r.opt.Rooms.SawProgram(ctx, d.session, d.IP.String()); err != nil {
			r.log.Warn("noting a program", "login", d.Login, "err", err)
		}
	})
}

func (r *Relay) tellSignedOut(n note) {
	r.endSessions(n)
	r.publish("", n)
}

// endSessions closes the connections of the sessions that a note names.
func (r *Relay) endSessions(n note) {
	if n.ID == "" && r.opt.SignedOut != nil {
		r.opt.SignedOut(n.Login)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for out, session := range r.sessions {
		if strings.EqualFold(session.Login, n.Login) && (n.ID == "" || session.ID == n.ID) {
			out.End(errSignedOut.code, errSignedOut.text)
		}
	}
}

// begin makes a connection one of a session, if that is still good. It does so
// before it looks, so that a sign-out meanwhile ends the connection.
func (r *Relay) begin(ctx context.Context, session chat.Session, out *carrier.Queue) error {
	r.mu.Lock()
	r.sessions[out] = session
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, sessionWait)
	defer cancel()
	switch good, err := r.opt.Rooms.SignedIn(ctx, session); {
	case err != nil:
		r.log.Warn("checking a session", "login", session.Login, "err", err)
		return &fault{frame.ErrStore, "the session cannot be checked at the moment"}
	case !good:
		return errSignedOut
	}
	return nil
}

// check ends a connection whose session has ended, in case the note about that
// was lost between relays. It does not wait for the store, and a store that
// fails changes nothing.
func (r *Relay) check(session chat.Session, out *carrier.Queue) {
	r.later("a session", func() {
		ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
		defer cancel()
		if good, err := r.opt.Rooms.SignedIn(ctx, session); err == nil && !good {
			out.End(errSignedOut.code, errSignedOut.text)
		}
	})
}
