// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"errors"
	"net/netip"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
)

// What becomes of a review.
const (
	ReviewWaits    = "waits" // for the operator
	ReviewApproved = "approved"
	ReviewRefused  = "refused"
)

// Review is a step in the operator's review of a shop that applied, or of an advertisement.
type Review struct {
	Shop   store.Shop
	Advert string // its title; empty: it is about the shop
	Step   string // ReviewWaits, ReviewApproved, ReviewRefused
	Why    string // it was refused
	Path   []string
}

// TellReview mails whom a step of a review concerns, in the name of the login that took it:
// the operators that something waits for them, or the shop what they decided. So each can
// chat with the other about it. The step stands when no mail can be sent.
func (m *Mall) TellReview(ctx context.Context, actor string, r Review, from netip.Addr) {
	ctx = context.WithoutCancel(ctx)
	to := m.opts.Operator
	if r.Step != ReviewWaits {
		owner, err := m.owner(ctx, r.Shop.ID)
		if err != nil {
			m.log.Error("mailing a review", "shop", r.Shop.ID, "err", err)
			return
		}
		to = []string{owner}
	}
	for _, login := range to {
		if login == actor {
			continue
		}
		if err := m.mailReview(ctx, actor, login, r, from); err != nil {
			m.log.Error("mailing a review", "shop", r.Shop.ID, "step", r.Step, "err", err)
		}
	}
}

func (m *Mall) mailReview(ctx context.Context, actor, to string, r Review, from netip.Addr) error {
	lang, err := m.langOf(ctx, to, r.Shop.Lang)
	if err != nil {
		return err
	}
	about := "shop"
	if r.Advert != "" {
		about = "advert"
	}
	w, key := words.In(lang), "talk.review."+about+"."+r.Step
	values := []any{"shop", r.Shop.Name, "advert", r.Advert, "mall", m.Name()}
	text := w.Say(key, values...) + "\n"
	if r.Why != "" {
		text += "\n" + r.Why + "\n"
	}
	text += "\n" + m.URL(r.Path...) + "\n"
	name := r.Shop.Name
	if r.Step != ReviewWaits {
		name = m.Name()
	}
	_, err = m.opts.Relay.Write(ctx, actor, chatrelay.Writing{ID: "review " + store.NewID(), To: to,
		Subject: w.Say(key+".subject", values...), Text: text, HTML: htmlOf(text, lang), From: from, Name: name})
	if errors.Is(err, chatrelay.ErrNoRoom) {
		err = nil // it is out
	}
	return err
}

// langOf is the language of a login that is a member; otherwise another one.
func (m *Mall) langOf(ctx context.Context, login, other string) (string, error) {
	member, err := m.store.MemberByLogin(ctx, login)
	if errors.Is(err, store.ErrUnknown) {
		return other, nil
	}
	return member.Lang, err
}
