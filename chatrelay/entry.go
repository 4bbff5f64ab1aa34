// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

// EntryStore has the links and who may come in.
type EntryStore interface {
	Invite(ctx context.Context, token string) (chat.Invite, error)
	Claim(ctx context.Context, token, claim string, proven bool) (chat.Invite, error)
	NewCode(ctx context.Context, token string) (string, chat.Participant, error)
	ClaimWithCode(ctx context.Context, token, claim, code string) (chat.Invite, error)
	ClaimAsGuest(ctx context.Context, token, claim, name string) (chat.Invite, chat.Participant, error)
	Participant(ctx context.Context, token, claim string) (chat.Access, chat.Invite, error)
	Member(ctx context.Context, login, roomID string) (chat.Participant, error)
	Join(ctx context.Context, login, roomID string) (chat.Participant, error)
	Search(ctx context.Context, login, q, after string, limit int) (hits []chat.Hit, more string, err error)
}

// Entry lets a client into a room.
type Entry struct {
	Ticket    string           `json:"ticket"` // good for 60 s
	Room      string           `json:"room"`
	Me        int64            `json:"me"`
	Endpoints []frame.Endpoint `json:"endpoints"`         // in the order of preference
	Attempt   string           `json:"attempt,omitempty"` // that began with a Claim that rings
}

// Card is what a link shows before anything happens.
type Card struct {
	Invite chat.Invite
	Status frame.Status // of the callee
	Gone   bool         // the callee has no account here any more
	// Account: the recipient has one here, and can prove by it that the link is theirs.
	Account bool
	Prove   bool // the callee lets nobody in who has not proven it
	// Waiting are the others who are in the room now.
	Waiting []chat.Participant
	// Others, for a recipient in Bcc, are those who learn of them when they come in.
	Others []chat.Participant
}

// Claim is how a browser comes in through a link.
type Claim struct {
	Code, Guest string // where another browser has claimed it: the code from a mail, or a guest's name
	// Login is who is signed in at the browser, or knows the password of; that proves
	// a link to be theirs.
	Login string
	// Ring begins an attempt at once, so that the devices ring while the client
	// opens its carrier. Whatever speaks against it, the client learns from the
	// answer to its own attempt frame.
	Ring bool
	From netip.Addr // of the browser, for the limits on rings
	// Shown: a recipient in Bcc knows that the others learn of them.
	Shown bool
}

// Card reads a link without any effect. chat.ErrUnknown, or, with a card,
// chat.ErrExpired and chat.ErrRevoked.
func (r *Relay) Card(ctx context.Context, token string) (Card, error) {
	i, err := r.opt.Rooms.Invite(ctx, token)
	if err != nil {
		return Card{Invite: i}, err
	}
	status, _ := r.statusIn(ctx, i.Callee.Login, i.Room)
	card := Card{Invite: i, Status: status, Gone: r.accountGone(ctx, i.Callee),
		Account: i.Recipient.Login != "" && !r.accountGone(ctx, i.Recipient)}
	switch err := r.letsIn(ctx, i); {
	case errors.Is(err, chat.ErrProve):
		card.Prove = true
	case err != nil:
		return Card{}, err
	}
	card.Waiting = r.waitingIn(i.Room, i.Recipient.ID)
	if card.Others, err = r.learners(ctx, i); err != nil {
		return Card{}, err
	}
	return card, nil
}

// learners are those who learn of a recipient in Bcc when that person comes in.
func (r *Relay) learners(ctx context.Context, i chat.Invite) ([]chat.Participant, error) {
	if !i.Recipient.Hidden {
		return nil, nil
	}
	info, err := r.opt.Rooms.Info(ctx, i.Room)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(chat.Listed(info.Participants, 0), func(p chat.Participant) bool {
		return p.ID == i.Callee.ID || p.Removed
	}), nil
}

// Chat claims a link for a browser and lets it in. Errors are those of
// store.Store's Claim, ClaimWithCode and ClaimAsGuest, chat.ErrProve and chat.ErrHidden.
func (r *Relay) Chat(ctx context.Context, token, claim string, how Claim) (Entry, error) {
	i, err := r.opt.Rooms.Invite(ctx, token)
	if err != nil {
		return Entry{}, err
	}
	if !how.Shown {
		if learn, err := r.learners(ctx, i); err != nil || len(learn) > 0 {
			return Entry{}, cmp.Or(err, chat.ErrHidden)
		}
	}
	proven := r.owns(i, how.Login)
	if how.Code == "" && !proven {
		if err := r.mayPress(ctx, token, claim, i); err != nil {
			return Entry{}, err
		}
	}
	switch {
	case how.Code != "":
		_, err = r.opt.Rooms.ClaimWithCode(ctx, token, claim, how.Code)
	case how.Guest != "" && !proven:
		_, _, err = r.opt.Rooms.ClaimAsGuest(ctx, token, claim, how.Guest)
	default:
		_, err = r.opt.Rooms.Claim(ctx, token, claim, proven)
	}
	// A guest, and whoever confirmed with a code, is in already: it comes back.
	if err != nil && !errors.Is(err, chat.ErrClaimed) {
		return Entry{}, err
	}
	e, w, known := r.back(ctx, token, claim)
	if err != nil && errors.Is(known, chat.ErrUnknown) {
		return Entry{}, err
	}
	if known == nil && how.Ring {
		e.Attempt = r.dial(ctx, e, w, how.From)
	}
	return e, known
}

// owns says whether a link is a login's, or that of a group of which it is a member.
func (r *Relay) owns(i chat.Invite, login string) bool {
	return login != "" && slices.Contains(r.members(i.Recipient.Login), strings.ToLower(login))
}

// mayPress returns chat.ErrProve where a browser must prove first that the link is
// its owner's.
func (r *Relay) mayPress(ctx context.Context, token, claim string, i chat.Invite) error {
	err := r.letsIn(ctx, i)
	if errors.Is(err, chat.ErrProve) {
		if a, _, known := r.opt.Rooms.Participant(ctx, token, claim); known == nil && a.Proven {
			return nil
		}
	}
	return err
}

// Ticket lets a browser that has claimed a link in again; chat.ErrUnknown if
// it has not, chat.ErrProve if it has to prove by now that the link is its owner's.
func (r *Relay) Ticket(ctx context.Context, token, claim string) (Entry, error) {
	e, w, err := r.back(ctx, token, claim)
	if err == nil && !w.me.Proven {
		err = r.letsIn(ctx, w.invite)
	}
	if err != nil {
		return Entry{}, err
	}
	return e, nil
}

// wayBack is who comes back through which link.
type wayBack struct {
	me     chat.Access
	invite chat.Invite
	callee chat.Participant // ID 0: nobody can be rung
}

// back lets a browser that has claimed a link in again.
func (r *Relay) back(ctx context.Context, token, claim string) (e Entry, w wayBack, err error) {
	if w.me, w.invite, err = r.opt.Rooms.Participant(ctx, token, claim); err != nil {
		return e, w, err
	}
	i := w.invite
	port := i.Callee.Login
	if port == "" { // the link of an alarm mail: the callee is a stranger, the room's owner is not
		info, err := r.opt.Rooms.Info(ctx, i.Room)
		if err != nil {
			return e, w, err
		}
		port = info.Participant(info.Owner).Login
	}
	if !r.accountGone(ctx, i.Callee) {
		w.callee = i.Callee
	}
	t := ticket{Room: i.Room, Me: w.me.ID, Callee: w.callee.ID, Login: port, Key: w.me.Key}
	return r.entry(ctx, t), w, nil
}

// dial makes the attempt of a person who is about to connect to a room of this
// relay, and returns its ID. It ends when the person does not connect soon.
func (r *Relay) dial(ctx context.Context, e Entry, w wayBack, from netip.Addr) (id string) {
	callee := w.callee
	if callee.ID == 0 || callee.ID == e.Me || r.limiters.mayCall(e.Me, from, callee.Login) > 0 {
		return ""
	}
	h, err := r.enter(ctx, e.Room)
	if err != nil {
		return ""
	}
	defer h.leave()
	h.do(func() {
		h.refresh(e.Me)
		if !h.dial(e.Me, callee.ID, w.me.Proven) {
			return
		}
		id = h.call.a.ID
		if !h.isHere(e.Me) {
			h.call.callerGone(h, comeWait)
		}
	})
	return id
}

// SendCode mails a confirmation code to a link's recipient and returns their
// address, masked. chat.ErrFull: too often.
func (r *Relay) SendCode(ctx context.Context, token string) (string, error) {
	code, to, err := r.opt.Rooms.NewCode(ctx, token)
	if err != nil {
		return "", err
	}
	if err := r.notifier.MailCode(ctx, to.Person, code); err != nil {
		return "", fmt.Errorf("mailing a code: %w", err)
	}
	return chat.Masked(to.Addr), nil
}

// Enter lets a signed-in person into a room; chat.ErrUnknown if the login is
// not in it, and in no group that is.
func (r *Relay) Enter(ctx context.Context, session chat.Session, roomID string) (Entry, error) {
	login := session.Login
	me, err := r.opt.Rooms.Member(ctx, login, roomID)
	if errors.Is(err, chat.ErrUnknown) && len(r.groupsOf(login)) > 1 {
		me, err = r.opt.Rooms.Join(ctx, login, roomID)
	}
	if err != nil {
		return Entry{}, err
	}
	info, err := r.opt.Rooms.Info(ctx, roomID)
	if err != nil {
		return Entry{}, err
	}
	return r.entry(ctx, ticket{Room: roomID, Me: me.ID, Callee: r.calleeOf(info, me).ID,
		Login: info.Participant(info.Owner).Login, Session: &session}), nil
}

// calleeOf returns the participant whom a member's attempts ring: the owner of the
// room. For the owner, and for a member of a group that is the owner, it is the
// other participant, if there is exactly one; members who answer for a group that is
// in the room are not counted.
func (r *Relay) calleeOf(info chat.Info, me chat.Participant) chat.Participant {
	owners := r.members(info.Participant(info.Owner).Login)
	own := func(p chat.Participant) bool {
		return p.ID == info.Owner || p.Login != "" && slices.Contains(owners, p.Login)
	}
	if !own(me) {
		return info.Participant(info.Owner)
	}
	var other chat.Participant
	for _, p := range info.Participants {
		if !own(p) && !p.Guest && !r.answersFor(info, p) {
			if other.ID != 0 {
				return chat.Participant{}
			}
			other = p
		}
	}
	return other
}

// answersFor says whether a participant is a member of a group that is in the room.
func (r *Relay) answersFor(info chat.Info, p chat.Participant) bool {
	return p.Login != "" && slices.ContainsFunc(info.Participants, func(g chat.Participant) bool {
		return g.Login != p.Login && slices.Contains(r.groups.members(g.Login), p.Login)
	})
}

// entry opens the granted port of t's login at the room's home, and makes t
// good for that port and ticketLife.
func (r *Relay) entry(ctx context.Context, t ticket) Entry {
	e := Entry{Room: t.Room, Me: t.Me, Endpoints: r.way(ctx, t.Room, t.Login)}
	t.Port, t.Expires = e.Endpoints[0].Port, time.Now().Add(ticketLife).Unix()
	e.Ticket = t.sealed(r.ticketKey)
	return e
}

// endpoints opens the granted port of a login, or of the room's owner if that
// one's is at another relay. Whatever fails there, the WebSocket and HTTP are left.
func (r *Relay) endpoints(ctx context.Context, roomID, login string) []frame.Endpoint {
	list := withoutUDP(r.opt.Socket)
	if r.opt.BlockUDP {
		return list
	}
	g, err := r.granted(ctx, login)
	if errors.Is(err, errElsewhere) {
		info, failed := r.opt.Rooms.Info(ctx, roomID)
		if owner := info.Participant(info.Owner).Login; failed == nil && owner != login {
			g, err = r.granted(ctx, owner)
		}
	}
	if err != nil {
		if !errors.Is(err, errElsewhere) {
			r.failed("no granted port, WebSocket only", err, "login", login)
		}
		return list
	}
	at := net.JoinHostPort(r.reach(g.Host), strconv.Itoa(g.Port))
	return append([]frame.Endpoint{{Carrier: carrier.WebTransport, URL: "https://" + at + carrier.Path,
		Port: g.Port, Hashes: r.ports.Hashes()}}, list...)
}

// withoutUDP are the endpoints of a relay with a WebSocket endpoint that need no UDP.
func withoutUDP(socket string) []frame.Endpoint {
	return []frame.Endpoint{{Carrier: carrier.WebSocket, URL: socket},
		{Carrier: carrier.HTTP, URL: carrier.StreamURL(socket)}}
}

// errElsewhere: the granted port is at another relay, or there is none.
var errElsewhere = errors.New("the granted port is not at this relay")

// granted returns a login's grant with its port open. A port that another
// program has is blocked, and another one granted.
func (r *Relay) granted(ctx context.Context, login string) (presence.Grant, error) {
	if login == "" {
		return presence.Grant{}, errElsewhere
	}
	ctx, cancel := context.WithTimeout(ctx, presenceWait)
	defer cancel()
	g, err := r.opt.Presence.GrantOf(ctx, login)
	for range portTries {
		if err != nil || !r.ours(g.Host) {
			if g, err = r.opt.Presence.Grant(ctx, login); err != nil {
				return g, err
			}
		}
		if !r.ours(g.Host) {
			return g, errElsewhere
		}
		if err = r.ports.Listen(ctx, grantOf(g)); !errors.Is(err, carrier.ErrTaken) {
			return g, err
		}
		r.log.Warn("the granted port is taken by another program, granting the next", "port", g.Port, "login", login)
		if blocked := r.opt.Presence.Block(ctx, g); blocked != nil {
			return g, blocked
		}
	}
	return g, err
}

// ours says whether a granted port is at this relay, under any of its names.
func (r *Relay) ours(host string) bool {
	_, bound := r.opt.Binds[host]
	return bound && host != "" || strings.EqualFold(host, r.opt.Host)
}

// relayOf is the primary name of the relay that has a grant's host name.
func (r *Relay) relayOf(host string) string {
	if r.ours(host) {
		return r.opt.Host
	}
	return host
}

// reach is the host name by which clients reach a granted port. localhost may
// be ::1 to a browser, where nothing listens.
func (r *Relay) reach(host string) string {
	if a := r.bind(host); host == "localhost" && a.IsLoopback() {
		return a.String()
	}
	return host
}

// bind is the address of the granted ports of a host name.
func (r *Relay) bind(host string) netip.Addr {
	if a, ok := r.opt.Binds[host]; ok {
		return a
	}
	all := r.opt.Binds[""]
	if a, err := netip.ParseAddr(host); err == nil && all.IsValid() && !all.IsUnspecified() {
		return a // a host whose name is an address
	}
	return all
}

// Search finds messages of a login's conversations; store.Store documents it.
func (r *Relay) Search(
	ctx context.Context, login, q, after string, limit int,
) (hits []chat.Hit, more string, err error) {
	return r.opt.Rooms.Search(ctx, login, q, after, limit)
}
