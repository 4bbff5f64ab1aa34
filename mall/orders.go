// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/netip"
	"strings"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/seal"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/mall/vault"
)

// ErrSignature: a notice of a payment was not signed with the key of its provider.
var ErrSignature = errors.New("the notice is not signed with the provider's key")

// ErrNotice: a notice of a payment says nothing that can be understood.
var ErrNotice = errors.New("that is no notice of a payment")

// Payments are a way in which members pay. What they tell us of a payment comes to
// PayNotice. No data of cards come to us.
type Payments interface {
	// HowTo says how to pay an order, in lines of text.
	HowTo(shop store.Shop, o store.Order, lang string) string
}

// ByTransfer has members transfer the money to the shop's account.
type ByTransfer struct {
	Money func(lang, currency string, amount int64) string
}

// HowTo implements Payments.
func (t ByTransfer) HowTo(shop store.Shop, o store.Order, lang string) string {
	if shop.Transfer == "" {
		return words.In(lang).Say("talk.payAsk")
	}
	return words.In(lang).Say("talk.payTransfer", "money", t.Money(lang, o.Currency, o.Total), "account", shop.Transfer,
		"number", o.Number)
}

// HowToPay says how an order is paid.
func (m *Mall) HowToPay(shop store.Shop, o store.Order, lang string) string {
	return m.opts.Payments.HowTo(shop, o, lang)
}

// deliverOf is what the sealed address of an order is about.
func deliverOf(id string) string { return "order/" + id }

// SealDeliver seals where an order goes.
func SealDeliver(v *vault.Vault, to string) func(id string) (string, error) {
	return func(id string) (string, error) { return v.Seal([]byte(to), deliverOf(id)) }
}

// Deliver is where an order goes; empty: the offer was not accepted yet.
func (m *Mall) Deliver(o store.Order) (string, error) {
	if o.Deliver == "" {
		return "", nil
	}
	text, err := m.vault.Open(o.Deliver, deliverOf(o.ID))
	if err != nil {
		return "", fmt.Errorf("reading where the order %s goes: %w", o.Number, err)
	}
	return string(text), nil
}

// Checkout orders what is in a member's basket, one order a shop, and mails each shop
// and the member. expect is what the member saw that each shop's goods cost. Errors are
// those of store.Store's OrderBasket.
func (m *Mall) Checkout(
	ctx context.Context, member store.Member, expect map[string]int64, deliver string, from netip.Addr,
) ([]store.Order, error) {
	orders, err := m.store.OrderBasket(ctx, member.ID, member.Login, expect, SealDeliver(m.vault, deliver))
	if err != nil {
		return nil, err
	}
	for _, o := range orders {
		m.tell(ctx, o, member.Login, order.Member, from)
	}
	return orders, nil
}

// Offer offers a member goods in the talk of an inquiry, and mails them the offer into
// that conversation. actor works for the shop.
func (m *Mall) Offer(
	ctx context.Context, actor string, i store.Inquiry, lines []store.OrderLine, note string, from netip.Addr,
) (store.Order, error) {
	if i.Member == "" {
		return store.Order{}, ErrNotAllowed // a stranger cannot accept it
	}
	o, err := m.store.Offer(ctx, store.Order{Shop: i.Shop, Member: i.Member, Inquiry: i.ID}, lines, actor, note)
	if err == nil {
		m.tell(ctx, o, actor, order.Shop, from)
	}
	return o, err
}

// Move takes a step of an order for a member, whose it must be, or for somebody who
// works for its shop, and mails the other side. deliver is where the goods of an
// accepted offer go.
func (m *Mall) Move(
	ctx context.Context, o store.Order, act order.Act, by order.Role, actor, note, deliver string, from netip.Addr,
) (store.Order, error) {
	step := store.Step{Act: act, By: by, Actor: actor, Note: clean.Line(note, 500, 2000)}
	if act == order.Accept {
		step.Deliver = SealDeliver(m.vault, deliver)
	}
	o, err := m.store.Move(ctx, o.Shop, o.ID, step)
	if err == nil {
		m.tell(ctx, o, actor, by, from)
	}
	return o, err
}

// Notice is what a payment provider tells, as JSON.
type Notice struct {
	Notice string `json:"notice"` // the provider's ID of it
	Order  string `json:"order"`  // the number
	Amount int64  `json:"amount"` // in the currency's smallest unit
}

// NewPayKey makes the key with which a payment provider of a shop signs what it tells; the
// one that it had ends. The key is for the provider alone, and shown once. Errors are
// those of store.Store's SetPayKey.
func (m *Mall) NewPayKey(ctx context.Context, shop, provider string) (string, error) {
	row, err := m.store.SetPayKey(ctx, shop, provider)
	if err != nil {
		return "", err
	}
	key, err := m.payKey(row)
	return string(key), err
}

// payKey is the key of a row: 64 hexadecimal digits, as providers take keys as texts.
func (m *Mall) payKey(k store.PayKey) (seal.Key, error) {
	key, err := m.Key("payment " + k.Shop + " " + k.Provider + " " + k.ID)
	return seal.Key(hex.EncodeToString(key)), err
}

// PayNotice takes a notice of a payment, signed with HMAC-SHA-256 in hexadecimal digits
// by the provider's key. The same notice again changes nothing. ErrSignature, ErrNotice,
// store.ErrUnknown.
func (m *Mall) PayNotice(ctx context.Context, shop store.Shop, provider, signature string, body []byte) (store.Order, error) {
	row, err := m.store.PayKeyOf(ctx, shop.ID, provider)
	if errors.Is(err, store.ErrUnknown) {
		return store.Order{}, ErrSignature
	}
	if err != nil {
		return store.Order{}, err
	}
	key, err := m.payKey(row)
	if err != nil {
		return store.Order{}, err
	}
	if sum, err := hex.DecodeString(signature); err != nil || len(sum) != sha256.Size || !key.Fits(sum, body) {
		return store.Order{}, ErrSignature
	}
	var n Notice
	if err := json.Unmarshal(body, &n); err != nil || n.Notice == "" || len(n.Notice) > 200 || n.Amount <= 0 {
		return store.Order{}, ErrNotice
	}
	o, err := m.store.OrderIn(ctx, shop.ID, n.Order)
	if err != nil {
		return store.Order{}, err
	}
	o, paid, err := m.store.Pay(ctx, store.Payment{Shop: shop.ID, Provider: provider, Notice: n.Notice, Ordered: o.ID,
		Amount: n.Amount})
	switch {
	case err != nil:
		return store.Order{}, err
	case paid:
		m.tell(ctx, o, "", order.Payment, netip.Addr{})
	case o.State != order.Paid:
		m.log.Warn("a payment does not fit its order", "order", o.Number, "state", string(o.State), "amount", n.Amount)
	}
	return o, nil
}

// tell mails what became of an order: from the shop to the member, or, when the member
// did it, from the member to the shop, and to the member what they ordered. The order
// stands when no mail can be sent.
func (m *Mall) tell(ctx context.Context, o store.Order, actor string, by order.Role, from netip.Addr) {
	ctx = context.WithoutCancel(ctx)
	err := func() error {
		shop, err := m.store.Shop(ctx, o.Shop)
		if err != nil {
			return err
		}
		member, err := m.store.MemberByID(ctx, o.Member)
		if err != nil {
			return err // who was erased gets no mail
		}
		known, err := m.Personal(member)
		if err != nil {
			return err
		}
		lines, err := m.store.Lines(ctx, o)
		if err != nil {
			return err
		}
		steps, err := m.store.Steps(ctx, o)
		if err != nil {
			return err
		}
		to := mailOfOrder{m: m, shop: shop, order: o, lines: lines}
		if len(steps) > 0 {
			to.note, to.n = steps[len(steps)-1].Note, len(steps)
		}
		if by == order.Member {
			if to.deliver, err = m.Deliver(o); err != nil {
				return err
			}
			to.name, to.lang, to.kind = known.Name, shop.Lang, "shop"
			to.from, to.login, to.to = member.Login, member.Login, named(shop.Name, shop.Addr)
			if err := to.send(ctx, from); err != nil || o.State != order.Accepted {
				return err
			}
		}
		if actor == "" || by != order.Shop {
			if actor, err = m.owner(ctx, shop.ID); err != nil {
				return err
			}
		}
		to.name, to.lang, to.kind = shop.Name, member.Lang, "member"
		to.from, to.login, to.to = shop.Addr, actor, named(known.Name, member.Login)
		return to.send(ctx, from)
	}()
	if err != nil {
		m.log.Error("mailing what became of an order", "order", o.Number, "state", string(o.State), "err", err)
	}
}

// owner is a login in whose name a shop's own mails are submitted.
func (m *Mall) owner(ctx context.Context, shop string) (string, error) {
	team, err := m.store.Team(ctx, shop)
	if err != nil {
		return "", err
	}
	for _, s := range team {
		if s.Role == store.RoleOwner {
			return s.Login, nil
		}
	}
	return "", fmt.Errorf("the shop has no owner: %w", store.ErrUnknown)
}

// mailOfOrder is a mail about an order.
type mailOfOrder struct {
	m               *Mall
	shop            store.Shop
	order           store.Order
	lines           []store.OrderLine
	n               int    // the order's steps
	note, deliver   string // of the last step; where the goods go
	kind            string // to whom: "member" or "shop"
	name, lang      string // of whose mail it is; of its reader
	from, login, to string
}

// send submits the mail as its login, into the conversation about the order, or that in
// which it was offered.
func (o mailOfOrder) send(ctx context.Context, from netip.Addr) error {
	m, w := o.m, words.In(o.lang)
	state := string(o.order.State)
	subject := w.Say("talk.mail."+o.kind+"."+state+".subject", "number", o.order.Number, "shop", o.shop.Name)
	var b strings.Builder
	b.WriteString(w.Say("talk.mail."+o.kind+"."+state, "number", o.order.Number, "shop", o.shop.Name, "name", o.name) +
		"\n\n")
	for _, l := range o.lines {
		fmt.Fprintf(&b, "%d × %s: %s\n", l.Quantity, l.Title,
			m.opts.Money(o.lang, o.order.Currency, l.Price*l.Quantity))
	}
	b.WriteString(w.Say("talk.mail.total", "money", m.opts.Money(o.lang, o.order.Currency, o.order.Total)) + "\n")
	for _, more := range []string{o.note, o.deliver} {
		if more != "" {
			b.WriteString("\n" + more + "\n")
		}
	}
	page := m.URL("orders", o.order.Number)
	if o.kind == "shop" {
		page = m.URL("console", o.shop.Slug, "orders", o.order.Number)
	} else if o.order.State == order.Accepted {
		b.WriteString("\n" + m.opts.Payments.HowTo(o.shop, o.order, o.lang) + "\n")
	}
	b.WriteString("\n" + page + "\n")
	text := b.String()
	about := m.topicID(About{Shop: o.shop, Order: o.order}, o.order.Member)
	if o.order.Inquiry != "" {
		if i, err := m.store.Inquiry(ctx, o.shop.ID, o.order.Inquiry); err == nil {
			if about = i.Mail; about == "" {
				a := About{Shop: o.shop, Topic: store.Topic{Goods: i.Goods}, Order: store.Order{ID: i.Ordered}}
				about = m.topicID(a, i.Member)
			}
		}
	}
	group := ""
	if o.from != o.login {
		group = o.from
	}
	if !from.IsValid() {
		from = netip.IPv6Loopback()
	}
	_, err := m.opts.Relay.Write(ctx, o.login, chatrelay.Writing{ID: fmt.Sprint("order ", o.order.ID, " ", o.n, " ",
		o.kind),
		Group: group, To: o.to, Subject: subject, Text: text, HTML: htmlOf(text, o.lang), From: from, Name: o.name,
		About: about})
	if errors.Is(err, chatrelay.ErrNoRoom) {
		err = nil // it is out
	}
	return err
}

// htmlOf is a text as a document, with its address as a link.
func htmlOf(text, lang string) string {
	var b strings.Builder
	b.WriteString(`<!doctype html><html lang="` + lang + `"><body style="font-family:system-ui,sans-serif;line-height:1.5">`)
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		part = html.EscapeString(part)
		if strings.HasPrefix(part, "http") && !strings.ContainsAny(part, " \n") {
			part = `<a href="` + part + `">` + part + `</a>`
		}
		b.WriteString("<p>" + strings.ReplaceAll(part, "\n", "<br>") + "</p>")
	}
	b.WriteString("</body></html>")
	return b.String()
}
