// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/chmail/chmail/mall/order"
	"github.com/chmail/chmail/mall/store"
)

const leavingAtOnce = 100 // members whose accounts are taken away in one go

// Erase takes a member out of the mall, with the account that the mall made for them, its
// mail and its part of conversations. What shops got by mail is theirs. store.ErrWorks:
// they still work for a shop.
func (m *Mall) Erase(ctx context.Context, member string) error {
	ctx = context.WithoutCancel(ctx) // half of it is nobody's wish
	login, made, err := m.store.Erase(ctx, member)
	if err != nil {
		return err
	}
	m.log.Info("a member was erased", "member", member)
	if err := m.leave(ctx, store.Member{ID: member, Login: login, Made: made}); err != nil {
		m.log.Error("erasing a member goes on later", "member", member, "err", err)
	}
	return nil
}

// leave ends an erasure: the account goes, and the login is forgotten.
func (m *Mall) leave(ctx context.Context, member store.Member) error {
	if member.Made {
		if err := m.opts.Accounts.Remove(ctx, member.Login); err != nil {
			return fmt.Errorf("removing an erased member's account: %w", err)
		}
	}
	return m.store.EraseDone(ctx, member.ID)
}

// leaveAll ends the erasures that were cut off.
func (m *Mall) leaveAll(ctx context.Context) error {
	list, err := m.store.Leaving(ctx, leavingAtOnce)
	for _, member := range list {
		err = errors.Join(err, m.leave(ctx, member))
	}
	return err
}

// exported is a member's export.
type exported struct {
	Exported  time.Time       `json:"exported"`
	Member    string          `json:"member"`
	Login     string          `json:"login"`
	Since     time.Time       `json:"since"`
	Language  string          `json:"language"`
	Profile   store.Personal  `json:"profile"`
	Record    bool            `json:"record"`
	Publicity bool            `json:"publicity"`
	Consents  []exportedAgree `json:"consents"`
	Passkeys  []exportedNamed `json:"passkeys"`
	Sessions  []exportedLogin `json:"sessions"`
	Inquiries []exportedAsk   `json:"inquiries"`
	Orders    []exportedOrder `json:"orders"`
	Basket    []exportedGoods `json:"basket"`
	Bookmarks []exportedGoods `json:"bookmarks"`
	Uses      []exportedUse   `json:"uses"`
	Notes     []exportedNote  `json:"notes_of_shops"`
	Looks     []exportedLook  `json:"looks_at_you"`
	Campaigns []exportedMail  `json:"campaigns"`
}

type (
	exportedAgree struct {
		What    string    `json:"what"`
		Shop    string    `json:"shop,omitempty"`
		Given   bool      `json:"given"`
		At      time.Time `json:"at"`
		Address string    `json:"address"`
		Wording string    `json:"wording"`
	}
	exportedNamed struct {
		Name string    `json:"name"`
		Made time.Time `json:"made"`
	}
	exportedLogin struct {
		Began time.Time `json:"began"`
		Seen  time.Time `json:"seen"`
	}
	exportedAsk struct {
		At       time.Time `json:"at"`
		Shop     string    `json:"shop"`
		Goods    string    `json:"goods,omitempty"`
		Subject  string    `json:"subject"`
		Question string    `json:"question"`
		Answer   string    `json:"answer"`
		Answered time.Time `json:"answered,omitzero"`
	}
	exportedOrder struct {
		Number   string         `json:"number"`
		Shop     string         `json:"shop"`
		State    order.State    `json:"state"`
		Currency string         `json:"currency"`
		Total    int64          `json:"total"`
		Deliver  string         `json:"deliver"`
		At       time.Time      `json:"at"`
		Lines    []exportedLine `json:"lines"`
		Steps    []exportedStep `json:"steps"`
	}
	exportedLine struct {
		Title    string `json:"title"`
		Quantity int64  `json:"quantity"`
		Price    int64  `json:"price"`
	}
	exportedStep struct {
		At    time.Time   `json:"at"`
		State order.State `json:"state"`
		Note  string      `json:"note"`
	}
	exportedGoods struct {
		Goods    string    `json:"goods"`
		Variant  string    `json:"variant,omitempty"`
		Quantity int64     `json:"quantity,omitempty"`
		At       time.Time `json:"at"`
	}
	exportedUse struct {
		At    time.Time `json:"at"`
		What  string    `json:"what"`
		About string    `json:"about"`
	}
	exportedNote struct {
		At   time.Time `json:"at"`
		Shop string    `json:"shop"`
		Text string    `json:"text"`
	}
	exportedLook struct {
		At   time.Time `json:"at"`
		Role string    `json:"role"`
		Act  string    `json:"act"`
		Shop string    `json:"shop,omitempty"`
	}
	exportedMail struct {
		At      time.Time `json:"at"`
		Shop    string    `json:"shop"`
		Subject string    `json:"subject"`
		State   string    `json:"state"`
	}
)

// Export writes all that the mall knows about a member, as JSON. Times are in UTC, money in
// the currency's smallest unit; goods and shops are their IDs in the mall.
func (m *Mall) Export(ctx context.Context, member store.Member, to io.Writer) error {
	known, err := m.store.KnownOf(ctx, member)
	if err != nil {
		return err
	}
	x := exported{Exported: time.Now().UTC(), Member: member.ID, Login: member.Login, Since: store.Time(member.Created),
		Language: member.Lang, Record: member.Record, Publicity: member.Publicity}
	if x.Profile, err = m.Personal(member); err != nil {
		return err
	}
	at := store.Time
	for _, c := range known.Consents {
		x.Consents = append(x.Consents, exportedAgree{c.What, c.Shop, c.Given, at(c.At), c.Addr, c.Wording})
	}
	for _, p := range known.Passkeys {
		x.Passkeys = append(x.Passkeys, exportedNamed{p.Name, at(p.Created)})
	}
	for _, s := range known.Sessions {
		x.Sessions = append(x.Sessions, exportedLogin{at(s.Created), at(s.Seen)})
	}
	for _, i := range known.Inquiries {
		x.Inquiries = append(x.Inquiries, exportedAsk{at(i.Created), i.Shop, i.Goods, i.Subject, i.Question, i.Answer,
			at(i.Answered)})
	}
	for _, o := range known.Orders {
		row := exportedOrder{Number: o.Number, Shop: o.Shop, State: o.State, Currency: o.Currency, Total: o.Total,
			At: at(o.Created)}
		if row.Deliver, err = m.Deliver(o); err != nil {
			return err
		}
		for _, l := range known.Lines {
			if l.Ordered == o.ID {
				row.Lines = append(row.Lines, exportedLine{l.Title, l.Quantity, l.Price})
			}
		}
		for _, e := range known.Steps {
			if e.Ordered == o.ID {
				row.Steps = append(row.Steps, exportedStep{at(e.At), e.State, e.Note})
			}
		}
		x.Orders = append(x.Orders, row)
	}
	for _, b := range known.Basket {
		x.Basket = append(x.Basket, exportedGoods{b.Goods, b.Variant, b.Quantity, at(b.Created)})
	}
	for _, b := range known.Bookmarks {
		x.Bookmarks = append(x.Bookmarks, exportedGoods{Goods: b.Goods, At: at(b.Created)})
	}
	for _, u := range known.Uses {
		x.Uses = append(x.Uses, exportedUse{at(u.At), u.What, u.About})
	}
	for _, n := range known.Notes {
		x.Notes = append(x.Notes, exportedNote{at(n.At), n.Shop, n.Text})
	}
	for _, a := range known.Looks {
		x.Looks = append(x.Looks, exportedLook{at(a.At), a.Role, a.Act, a.Shop})
	}
	for _, c := range known.Campaigns {
		x.Campaigns = append(x.Campaigns, exportedMail{at(c.At), c.Shop, c.Subject, c.State})
	}
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(x); err != nil {
		return fmt.Errorf("writing an export: %w", err)
	}
	return nil
}
