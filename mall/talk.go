// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/pass"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
	"github.com/chmail/chmail/presence"
)

const (
	groupSource = "mall"           // of the relay's groups
	syncEvery   = 30 * time.Second // the shops' staff may have changed at another host
	maxEvents   = 10_000           // that wait to be noted; further ones are lost
	eventWait   = 10 * time.Second // to note one
	sameTalk    = time.Hour        // pressing again within it is no new inquiry
)

// TalkRelay is what talks with shops ask of the relay, which documents each.
type TalkRelay interface {
	Talk(ctx context.Context, m chat.Mail) (roomID, token string, err error)
	LinkInto(ctx context.Context, login, roomID string) (token string, err error)
	RoomOfMail(ctx context.Context, from, messageID string) (roomID string, err error)
	AnsweredIn(ctx context.Context, roomID, callee string, after time.Time) (time.Time, error)
	Write(ctx context.Context, login string, w chatrelay.Writing) (roomID string, err error)
	SetGroups(ctx context.Context, source string, groups map[string][]string) error
	SetGroupHours(hours map[string]chatrelay.Hours)
	OnEvent(f func(chatrelay.Event))
	ServeDevice(ctx context.Context, session chat.Session, d presence.Device, c carrier.Conn)
}

// About is what somebody asks a shop about.
type About struct {
	Shop  store.Shop
	Topic store.Topic // goods; may be empty
	Order store.Order // may be empty
}

// Subject is how a talk about it is named, in the language of its reader.
func (a About) Subject(lang string) string {
	switch {
	case a.Order.Number != "":
		return words.In(lang).Say("talk.aboutOrder", "number", a.Order.Number)
	case a.Topic.Title != "":
		return a.Topic.Title
	}
	return a.Shop.Name
}

// inquiry is the row of what a member asks.
func (a About) inquiry(member string) store.Inquiry {
	return store.Inquiry{Shop: a.Shop.ID, Member: member, Goods: a.Topic.Goods, Ordered: a.Order.ID}
}

// mailID names what a member and a shop talk about, as a Message-ID: a question about the
// same goes on in the same conversation.
func (m *Mall) mailID(what ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(what, "\x00")))
	return hex.EncodeToString(sum[:16]) + "@" + m.opts.Domain
}

func (m *Mall) topicID(a About, who string) string {
	return m.mailID("talk", a.Shop.ID, who, a.Topic.Goods, a.Order.ID)
}

// Question is what a member asks by mail.
type Question struct {
	ID, Subject, Text string // ID: of the form; posted again with it, the mail goes out once
	From              netip.Addr
}

// Ask mails a question of a member to a shop, as every mail of the member goes: from
// their own mailbox, through the submission, stamped. The conversation that opens has
// the question as its first message. Errors are those of chatrelay.Relay's Write.
func (m *Mall) Ask(ctx context.Context, member store.Member, a About, q Question) (store.Inquiry, error) {
	known, err := m.Personal(member)
	if err == nil {
		err = m.knowStaff(ctx, a.Shop)
	}
	if err != nil {
		return store.Inquiry{}, err
	}
	text := q.Text
	if a.Topic.Goods != "" {
		text += "\n\n" + a.Topic.Title + "\n" + m.URL("goods", a.Topic.Goods)
	}
	i := a.inquiry(member.ID)
	i.Subject, i.Question = clean.Subject(cmp.Or(q.Subject, a.Subject(member.Lang))), q.Text
	id := "ask " + a.Shop.ID + " " + q.ID
	i.Mail = chatrelay.WrittenID(member.Login, member.Login, id)
	i.Room, err = m.opts.Relay.Write(ctx, member.Login, chatrelay.Writing{ID: id,
		To: named(a.Shop.Name, a.Shop.Addr), Subject: i.Subject,
		Text: text, From: q.From, Name: known.Name, About: m.topicID(a, member.ID)})
	if err != nil && !errors.Is(err, chatrelay.ErrNoRoom) { // then the mail is out, without a link
		return store.Inquiry{}, err
	}
	if i.Room != "" {
		if before, err := m.store.InquiryIn(ctx, i.Room); err == nil && before.Mail == i.Mail {
			return before, nil // posted twice
		}
	}
	return m.store.AddInquiry(ctx, i)
}

// named is an address with a name, as a mail has it.
func named(name, addr string) string { return (&mail.Address{Name: name, Address: addr}).String() }

// Way is the way into a talk: the address of the chat's page, for two minutes.
type Way struct {
	Room string `json:"room"`
	URL  string `json:"url"`
}

// ChatNow opens the talk of a member with a shop, or finds it, and returns the way in,
// by which the shop is rung.
func (m *Mall) ChatNow(ctx context.Context, member store.Member, a About) (Way, error) {
	i := a.inquiry(member.ID)
	i.Subject = a.Subject(member.Lang)
	before, err := m.store.InquiryAbout(ctx, i)
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		return Way{}, err
	}
	token := ""
	if before.Room != "" {
		i.Room = before.Room
		token, err = m.opts.Relay.LinkInto(ctx, member.Login, before.Room)
		if err != nil && !errors.Is(err, chat.ErrUnknown) {
			return Way{}, err
		}
	}
	if token == "" {
		known, err := m.Personal(member)
		if err != nil {
			return Way{}, err
		}
		who := chat.Person{Login: member.Login, Addr: member.Login, Name: known.Name}
		if i.Room, token, err = m.talk(ctx, a, who, m.topicID(a, member.ID), i.Subject); err != nil {
			return Way{}, err
		}
	}
	if before.Room != i.Room || time.Since(store.Time(before.Created)) > sameTalk {
		if _, err := m.store.AddInquiry(ctx, i); err != nil {
			return Way{}, err
		}
	}
	return m.way(i.Room, pass.Pass{Token: token, Login: member.Login, Do: pass.Ring}), nil
}

// ChatAsStranger opens a talk for somebody on the page of a shop elsewhere, who says
// who they are and has not proven it; frames are the shop's origins. ErrNotAllowed: the
// address is of this mall, whose people come in by their account.
func (m *Mall) ChatAsStranger(ctx context.Context, a About, who chat.Person, frames []string) (Way, error) {
	i := a.inquiry("")
	i.Subject = a.Subject(a.Shop.Lang)
	if shop, err := m.isShop(ctx, who.Addr); err != nil {
		return Way{}, err
	} else if _, domain, _ := strings.Cut(who.Addr, "@"); shop || strings.EqualFold(domain, m.opts.Domain) {
		return Way{}, ErrNotAllowed
	}
	var token string
	var err error
	if i.Room, token, err = m.talk(ctx, a, who, "", i.Subject); err != nil {
		return Way{}, err
	}
	if _, err := m.store.AddInquiry(ctx, i); err != nil {
		return Way{}, err
	}
	w := m.way(i.Room, pass.Pass{Token: token, Do: pass.Ring, Frames: frames})
	return w, nil
}

func (m *Mall) talk(ctx context.Context, a About, who chat.Person, id, subject string) (room, token string, err error) {
	if err := m.knowStaff(ctx, a.Shop); err != nil {
		return "", "", err
	}
	return m.opts.Relay.Talk(ctx, chat.Mail{MessageID: id,
		Sender:     chat.Person{Login: a.Shop.Addr, Addr: a.Shop.Addr, Name: a.Shop.Name},
		Recipients: []chat.Person{who}, Subject: subject})
}

// EnterTalk is the way of a login into a room that it is in, as when it answers a ring.
// store.ErrUnknown: it is not in it.
func (m *Mall) EnterTalk(ctx context.Context, login, room string) (Way, error) {
	token, err := m.opts.Relay.LinkInto(ctx, login, room)
	if errors.Is(err, chat.ErrUnknown) {
		err = store.ErrUnknown
	}
	if err != nil {
		return Way{}, fmt.Errorf("entering a talk: %w", err)
	}
	return m.way(room, pass.Pass{Token: token, Login: login, Do: pass.Enter}), nil
}

// way seals a pass. Pages of the mall may frame the chat's page, if nobody else.
func (m *Mall) way(room string, p pass.Pass) Way {
	if len(p.Frames) == 0 {
		p.Frames = []string{m.opts.Base.Scheme + "://" + m.opts.Base.Host}
	}
	base := m.opts.Chat.Scheme + "://" + m.opts.Chat.Host
	return Way{Room: room, URL: pass.Link(base, p.Token, p.Seal(m.passKey, time.Now()))}
}

// ServeDevice makes a page of the mall ring for a login while its connection lasts.
func (m *Mall) ServeDevice(ctx context.Context, v Visitor, name string, c carrier.Conn) {
	d := presence.Device{ID: "mall-" + newSecret()[:22], Login: v.Login, Source: presence.Desk, IP: c.RemoteIP(),
		Name:      name,
		Connected: time.Now()}
	m.opts.Relay.ServeDevice(ctx, v.Session, d, c)
}

// Talked is what became of an inquiry.
type Talked struct {
	Inquiry store.Inquiry
	What    string // TalkRung, TalkTaken, TalkAnswered
	Attempt string // ID of the call, of the first two; it comes once for each
}

// What becomes of inquiries.
const (
	TalkRung     = "rung"     // the shop was rung
	TalkTaken    = "taken"    // it took the call
	TalkAnswered = "answered" // it said something for the first time, in the chat or by mail
)

// talks are what the mall hears of the relay.
type talks struct {
	mu     sync.Mutex
	groups map[string][]string        // the shops' addresses and staff, as the relay has them
	hours  map[string]chatrelay.Hours // and when they are open
	hear   []func(context.Context, Talked)
	seen   map[string]bool // attempts and what became of them
	events chan chatrelay.Event
}

// OnTalk makes f hear of what becomes of inquiries, for figures and advertisements. It is
// called before Listen.
func (m *Mall) OnTalk(f func(context.Context, Talked)) { m.talks.hear = append(m.talks.hear, f) }

// Listen tells the relay who works for which shop, notes which inquiries were answered, and
// does what is to be done from time to time, until ctx ends. Each of these has a goroutine
// of its own, so that a slow erasure, say, does not hold up what the relay tells.
func (m *Mall) Listen(ctx context.Context) {
	if err := m.SyncShops(ctx); err != nil {
		m.log.Error("telling the relay who works for which shop", "err", err)
	}
	m.opts.Relay.OnEvent(m.hear)
	shops, erasures, day := time.NewTicker(syncEvery), time.NewTicker(syncEvery), time.NewTicker(24*time.Hour)
	defer shops.Stop()
	defer erasures.Stop()
	defer day.Stop()
	var jobs sync.WaitGroup
	defer jobs.Wait()
	jobs.Go(func() { forEach(ctx, m.log, "noting what became of an inquiry", m.talks.events, m.note) })
	jobs.Go(func() { forEach(ctx, m.log, "recording what members look at", m.uses, m.record) })
	jobs.Go(func() {
		forEach(ctx, m.log, "telling the relay who works for which shop", shops.C,
			func(ctx context.Context, _ time.Time) {
				if err := m.SyncShops(ctx); err != nil && ctx.Err() == nil {
					m.log.Warn("telling the relay who works for which shop", "err", err)
				}
			})
	})
	jobs.Go(func() {
		forEach(ctx, m.log, "ending erasures", erasures.C, func(ctx context.Context, _ time.Time) {
			if err := m.leaveAll(ctx); err != nil && ctx.Err() == nil {
				m.log.Warn("erasures go on later", "err", err)
			}
		})
	})
	m.forgetOld(ctx, time.Now())
	forEach(ctx, m.log, "removing what is too old", day.C, m.forgetOld)
}

// forEach does what comes, one after the other, until ctx ends. A panic ends one only.
func forEach[T any](ctx context.Context, log *slog.Logger, job string, in <-chan T, do func(context.Context, T)) {
	one := func(what T) {
		defer safely.Recover(log, job)
		do(ctx, what)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case what := <-in:
			one(what)
		}
	}
}

// forgetOld removes what is kept for a time only.
func (m *Mall) forgetOld(ctx context.Context, now time.Time) {
	err := errors.Join(m.store.ForgetAudit(ctx, now), m.store.ForgetSessions(ctx, now), m.store.ForgetUses(ctx, now),
		m.store.ForgetRegistrations(ctx, now), m.store.ForgetAdvertDays(ctx, now), m.store.ClearLog(ctx))
	if err != nil && ctx.Err() == nil {
		m.log.Warn("removing what is too old", "err", err)
	}
}

// SyncShops makes the staff of every open shop its group, which is rung in its opening
// hours. Whoever changes staff, hours or a shop's state calls it.
func (m *Mall) SyncShops(ctx context.Context) error {
	groups, err := m.store.StaffedShops(ctx)
	var open map[string]store.Hours
	if err == nil {
		open, err = m.store.ShopHours(ctx)
	}
	if err != nil {
		return err
	}
	hours := make(map[string]chatrelay.Hours, len(open))
	for addr, h := range open {
		hours[addr] = h
	}
	m.talks.mu.Lock()
	sameStaff := m.talks.groups != nil && maps.EqualFunc(m.talks.groups, groups, slices.Equal)
	sameHours := maps.Equal(m.talks.hours, hours)
	m.talks.mu.Unlock()
	if !sameStaff {
		if err := m.opts.Relay.SetGroups(ctx, groupSource, groups); err != nil {
			return err
		}
	}
	if !sameHours {
		m.opts.Relay.SetGroupHours(hours)
	}
	m.talks.mu.Lock()
	m.talks.groups, m.talks.hours = groups, hours
	m.talks.mu.Unlock()
	return nil
}

// knowStaff makes the relay know who works for a shop that has just been opened, perhaps
// at another host.
func (m *Mall) knowStaff(ctx context.Context, shop store.Shop) error {
	if m.StaffOf(shop.Addr) != nil {
		return nil
	}
	return m.SyncShops(ctx)
}

// StaffOf are the logins to whom the mails of a shop's address go; none: it is no
// shop's.
func (m *Mall) StaffOf(addr string) []string {
	m.talks.mu.Lock()
	defer m.talks.mu.Unlock()
	return m.talks.groups[strings.ToLower(addr)]
}

// speaksFor says whether somebody is any shop, or works for one.
func (m *Mall) speaksFor(login string) bool {
	m.talks.mu.Lock()
	defer m.talks.mu.Unlock()
	if _, shop := m.talks.groups[login]; shop {
		return true
	}
	for _, staff := range m.talks.groups {
		if slices.Contains(staff, login) {
			return true
		}
	}
	return false
}

// hear takes what concerns a shop from the relay. It never waits.
func (m *Mall) hear(e chatrelay.Event) {
	switch {
	case e.Attempt != nil && m.StaffOf(e.Callee.Login) != nil &&
		(e.Attempt.State == attempt.Ringing || e.Attempt.State == attempt.Answered):
	case e.Message != nil && m.speaksFor(e.By.Login):
	default:
		return
	}
	select {
	case m.talks.events <- e:
	default:
		m.log.Warn("what became of an inquiry was not noted: too much happens at once", "room", e.Room)
	}
}

// note notes what the relay told of an inquiry's room.
func (m *Mall) note(ctx context.Context, e chatrelay.Event) {
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	i, err := m.store.InquiryIn(ctx, e.Room)
	if errors.Is(err, store.ErrUnknown) && (e.Attempt != nil || e.Message.Kind != chat.KindMail) {
		i, err = m.store.CampaignTalk(ctx, e.Room) // a campaign's own mail is no talk yet
	}
	if errors.Is(err, store.ErrUnknown) {
		return
	}
	var shop store.Shop
	if err == nil {
		shop, err = m.store.Shop(ctx, i.Shop)
	}
	t := Talked{Inquiry: i}
	first := false
	switch {
	case err != nil:
	case e.Attempt == nil:
		if e.By.Login != shop.Addr && !slices.Contains(m.StaffOf(shop.Addr), e.By.Login) {
			return // a customer, who works for another shop
		}
		t.What = TalkAnswered
		first, err = m.store.Answered(ctx, i, time.Now())
	case e.Attempt.State == attempt.Ringing:
		t.What, t.Attempt = TalkRung, e.Attempt.ID
		_, err = m.store.Rung(ctx, i, e.Attempt.Started)
		first = m.firstOf(t)
	default:
		t.What, t.Attempt = TalkTaken, e.Attempt.ID
		first = m.firstOf(t)
	}
	if err != nil {
		m.log.Warn("noting what became of an inquiry", "room", e.Room, "err", err)
		return
	}
	if first {
		for _, f := range m.talks.hear {
			f(ctx, t)
		}
	}
}

// firstOf says whether a call's state comes for the first time. The relay tells of one
// several times, but not long after.
func (m *Mall) firstOf(t Talked) bool {
	key := t.What + t.Attempt
	if m.talks.seen[key] {
		return false
	}
	if len(m.talks.seen) >= maxEvents {
		clear(m.talks.seen)
	}
	m.talks.seen[key] = true
	return true
}
