// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/chmail/go-smtp"
	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/module"
)

// repair makes a submitted header what RFC 6409 section 8 wants, and refuses one
// that says another writer than who is signed in.
func (s *session) repair(h *textproto.Header, meta *module.MsgMetadata) error {
	charset := charsetIn(h)
	from, exact, err := oneFrom(h, charset)
	if err != nil {
		return err
	}
	if err := s.mayWrite("From", from); err != nil {
		return err
	}
	for _, key := range []string{"Resent-From", "Resent-Sender"} { // who sends a mail again, RFC 5322 section 3.6.6
		for _, v := range h.Values(key) {
			list, _, err := mailboxes(v, charset)
			if err != nil {
				return refusal(550, 5, 6, 0, key+" has no address that can be read: "+err.Error())
			}
			if err := s.mayWrite(key, list...); err != nil {
				return err
			}
		}
	}
	if !exact {
		h.Set("From", format([]*mail.Address{from}))
	}
	for _, key := range []string{"To", "Cc", "Reply-To"} {
		repairList(h, key, charset)
	}
	for _, key := range []string{"Bcc", "Resent-Bcc", "Sender", "Return-Path"} {
		h.Del(key)
	}
	removeResults(h, s.srv.opts.Hostname)
	if dates := h.Values("Date"); len(dates) != 1 || !isDate(dates[0]) {
		h.Set("Date", time.Now().Format(time.RFC1123Z))
	}
	if ids := h.Values("Message-Id"); len(ids) != 1 || !isMessageID.MatchString(ids[0]) {
		h.Del("Message-Id")
		h.AddRaw([]byte("Message-ID: <" + meta.ID + "." + strconv.FormatInt(time.Now().UnixNano(), 36) + "@" +
			s.srv.opts.Hostname + ">\r\n"))
	}
	return nil
}

// mayWrite says whether the login may write from the addresses of a field.
func (s *session) mayWrite(key string, list ...*mail.Address) error {
	for _, a := range list {
		err := s.mayUse(a.Address)
		if refused, ok := err.(*gosmtp.SMTPError); ok {
			return refusal(550, 5, 7, 1, key+": "+refused.Message)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isMessageID is what RFC 5322 section 3.6.4 has, without its rarer forms.
var isMessageID = regexp.MustCompile(`^\s*<[^<>\s@]+@[^<>\s@]+>\s*$`)

func isDate(v string) bool {
	_, err := mail.ParseDate(v)
	return err == nil
}

// charsetIn is the charset of a message's text, if its header names one.
func charsetIn(h *textproto.Header) string {
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return params["charset"]
}

// oneFrom is the one address of the one From field.
func oneFrom(h *textproto.Header, charset string) (from *mail.Address, exact bool, err error) {
	refuse := func(why string) error {
		return refusal(550, 5, 6, 0, "A message has one From field with one address: "+why)
	}
	fields := h.Values("From")
	if len(fields) != 1 {
		return nil, false, refuse("this one has " + strconv.Itoa(len(fields)) + " such fields")
	}
	list, exact, err := mailboxes(fields[0], charset)
	if err != nil {
		return nil, false, refuse(err.Error())
	}
	if len(list) != 1 {
		return nil, false, refuse("this one has " + strconv.Itoa(len(list)) + " addresses")
	}
	return list[0], exact && !strings.Contains(fields[0], ";"), nil // a group is read by few
}

// repairList writes a list of addresses anew that not everybody can read. One that
// nobody can read stays.
func repairList(h *textproto.Header, key, charset string) {
	var all []*mail.Address
	changed := false
	for _, v := range h.Values(key) {
		list, exact, err := mailboxes(v, charset)
		if err != nil {
			return
		}
		changed = changed || !exact
		all = append(all, list...)
	}
	if changed {
		h.Set(key, format(all))
	}
}

// inspect looks at a header that comes from outside: it has one writer, and says
// nothing that only this server may say.
func (s *session) inspect(h *textproto.Header, tx *transaction, body buffer.Buffer) error {
	if !h.Has("From") && tx.from != "" { // as a scanner sends; nobody else can have written it
		h.Add("From", (&mail.Address{Address: tx.from}).String())
	}
	from, exact, err := oneFrom(h, charsetIn(h))
	if err != nil {
		return err
	}
	if !exact {
		if err := readAs(h, "From", from.Address); err != nil {
			return err
		}
	}
	h.Del("Return-Path")
	removeResults(h, s.srv.opts.Hostname)
	if claims := chmailFields(h); len(claims) > 0 && !s.vouched(*h, body, claims) {
		for _, key := range claims {
			h.Del(key)
		}
	}
	return nil
}

// readAs gives a field a value for the pipeline, which could not read it otherwise,
// and leaves its octets as they came: DKIM signatures of others cover them. DMARC
// would take a From that it cannot read for one without a policy.
func readAs(h *textproto.Header, key, addr string) error {
	var fields [][]byte
	for f := h.Fields(); f.Next(); {
		raw, err := f.Raw()
		if err != nil {
			return fmt.Errorf("reading field %s: %w", f.Key(), err)
		}
		fields = append(fields, raw)
	}
	*h = textproto.Header{}
	for _, raw := range slices.Backward(fields) { // each is added on top
		name, old, _ := bytes.Cut(raw, []byte(":"))
		if !strings.EqualFold(string(name), key) {
			h.AddRaw(raw)
			continue
		}
		room := len(old) - len(crlf)
		value := asRead(addr, room)
		if value == "" {
			return refusal(550, 5, 6, 0, "From: its address cannot be read")
		}
		// The value is taken from the octets when they are added, and the octets are
		// written as they are later.
		field := fmt.Appendf(nil, "%s:%s%s\r\n", name, value, strings.Repeat(" ", room-len(value)))
		h.AddRaw(field)
		copy(field, raw)
	}
	return nil
}

// asRead is an address in a form of at most so many octets that net/mail reads; where
// that has no room for its local part, which DMARC does not look at, without it.
func asRead(addr string, octets int) string {
	domain := addr[strings.LastIndexByte(addr, '@'):]
	quoted := (&mail.Address{Address: addr}).String()
	for _, v := range []string{"<" + addr + ">", quoted, "<x" + domain + ">", "x" + domain} {
		if _, err := mail.ParseAddress(v); err == nil && len(v) <= octets {
			return v
		}
	}
	return ""
}

// removeResults removes what claims to be this server's own verdict (RFC 8601 section 5).
func removeResults(h *textproto.Header, hostname string) {
	for f := h.FieldsByKey("Authentication-Results"); f.Next(); {
		if id := authservID(f.Value()); id == "" || strings.EqualFold(id, hostname) {
			f.Del()
		}
	}
}

// authservID is whose verdict a field is; "" if nobody's.
func authservID(v string) string {
	s := scanner{rest: strings.TrimSpace(v)}
	for strings.HasPrefix(s.rest, "(") {
		if _, ok := s.comment(); !ok {
			return ""
		}
		s.rest = strings.TrimSpace(s.rest)
	}
	if strings.HasPrefix(s.rest, `"`) {
		id, _ := s.quoted()
		return strings.TrimRight(id, ".")
	}
	if i := strings.IndexAny(s.rest, " \t;(/"); i >= 0 {
		s.rest = s.rest[:i]
	}
	return strings.TrimRight(s.rest, ".")
}

// chmailFields are the names of a header's CHmail-* fields.
func chmailFields(h *textproto.Header) []string {
	var all []string
	for f := h.Fields(); f.Next(); {
		if key := f.Key(); len(key) >= 7 && strings.EqualFold(key[:7], "CHmail-") && !slices.Contains(all, key) {
			all = append(all, key)
		}
	}
	return all
}

// vouched says whether the domain of CHmail-Login has signed the CHmail-* fields.
func (s *session) vouched(h textproto.Header, body buffer.Buffer, claims []string) bool {
	_, domain, ok := strings.Cut(h.Get("CHmail-Login"), "@")
	if !ok || !h.Has("DKIM-Signature") || s.srv.opts.Resolver == nil {
		return false
	}
	for _, key := range claims {
		if h.FieldsByKey(key).Len() != 1 {
			return false
		}
	}
	var head strings.Builder
	if err := textproto.WriteHeader(&head, h); err != nil {
		return false
	}
	r, err := body.Open()
	if err != nil {
		s.log.Error("reading a message again", "err", err)
		return false
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(s.conn.ctx, verifyTime)
	defer cancel()
	verified, err := dkim.VerifyWithOptions(io.MultiReader(strings.NewReader(head.String()), r), &dkim.VerifyOptions{
		LookupTXT:        func(name string) ([]string, error) { return s.srv.opts.Resolver.LookupTXT(ctx, name) },
		MaxVerifications: 5,
	})
	if err != nil {
		s.log.Debug("verifying who wrote CHmail-* fields", "err", err)
	}
	return slices.ContainsFunc(verified, func(v *dkim.Verification) bool {
		unsigned := func(key string) bool {
			is := func(signed string) bool { return strings.EqualFold(signed, key) }
			return !slices.ContainsFunc(v.HeaderKeys, is)
		}
		return v.Err == nil && strings.EqualFold(v.Domain, strings.TrimSpace(domain)) &&
			!slices.ContainsFunc(claims, unsigned)
	})
}
