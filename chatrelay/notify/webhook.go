// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
	"github.com/chmail/chmail/internal/seal"
)

// The formats of a webhook.
const (
	HookJSON       = "json"
	HookNtfy       = "ntfy"
	HookMattermost = "mattermost"
)

const (
	hookQueue   = 256 // alarms of one webhook that wait; further ones are dropped
	hookTimeout = 10 * time.Second
	hookTooLate = 10 * time.Minute // after the alarm; then it is given up
)

// hookTries are the waits before each try.
var hookTries = []time.Duration{0, time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}

// Webhook is a URL that is told of every alarm.
type Webhook struct {
	URL    string   // https, or http at loopback
	Format string   // HookJSON, HookNtfy or HookMattermost
	Secret string   // json: signs the body (HMAC-SHA-256); ntfy: its access token
	For    []string // logins whose alarms it is told of; empty: everybody's
}

// Check errs if the webhook cannot be called safely: what it is told, and its
// secret, must not cross a network in the clear.
func (w Webhook) Check() error {
	u, err := url.Parse(w.URL)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return errors.New("the address of a webhook is https://HOST/PATH")
	case u.User != nil:
		return errors.New("a webhook's address holds no password; give `secret`")
	case u.Scheme != "https" && !(u.Scheme == "http" && loopbackHost(u.Hostname())):
		return errors.New("a webhook is https, or http at loopback")
	case !slices.Contains([]string{HookJSON, HookNtfy, HookMattermost}, w.Format):
		return fmt.Errorf("the format of a webhook is %s, %s or %s", HookNtfy, HookMattermost, HookJSON)
	case w.Format == HookMattermost && w.Secret != "":
		return errors.New("a Mattermost webhook has its secret in its address")
	}
	return nil
}

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// hook is a webhook that runs. Its goroutine makes one call after the other, so
// a webhook that hangs delays only itself.
type hook struct {
	Webhook
	n      *Notifier
	queue  chan hookAlarm
	client *http.Client
}

// hookAlarm is an alarm on its way to a webhook.
type hookAlarm struct {
	note   Note
	from   chat.Person
	logins []string
}

func newHook(w Webhook, n *Notifier) *hook {
	dialer := &net.Dialer{Timeout: hookTimeout / 2}
	return &hook{Webhook: w, n: n, queue: make(chan hookAlarm, hookQueue), client: &http.Client{
		Timeout:       hookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: hookTimeout / 2,
			MaxIdleConns: 1, MaxResponseHeaderBytes: 16 << 10},
	}}
}

// tell queues an alarm of logins, if the webhook is told of one of them. It
// never waits.
func (h *hook) tell(logins []string, note Note, from chat.Person) {
	if len(h.For) > 0 {
		logins = slices.DeleteFunc(slices.Clone(logins), func(l string) bool { return !slices.Contains(h.For, l) })
	}
	if len(logins) == 0 {
		return
	}
	select {
	case h.queue <- hookAlarm{note, from, logins}:
	default:
		hooksTotal.WithLabelValues("dropped").Inc()
	}
}

func (h *hook) run() {
	defer h.client.CloseIdleConnections()
	for {
		select {
		case a := <-h.queue:
			h.deliver(a)
		case <-h.n.ctx.Done():
			return
		}
	}
}

// deliver calls the webhook until it takes the alarm.
func (h *hook) deliver(a hookAlarm) {
	defer safely.Recover(h.n.opt.Log, "webhook")
	var err error
	for _, wait := range hookTries {
		if time.Since(a.note.At)+wait > hookTooLate {
			break
		}
		select {
		case <-time.After(wait):
		case <-h.n.ctx.Done():
			return
		}
		var again bool
		if again, err = h.call(a); err == nil {
			hooksTotal.WithLabelValues("sent").Inc()
			h.n.alarmTaken(a.note)
			return
		}
		if !again {
			break
		}
		hooksTotal.WithLabelValues("retried").Inc()
	}
	hooksTotal.WithLabelValues("failed").Inc()
	h.n.opt.Log.Warn("calling a webhook", "room", a.note.Room, "err", err)
}

// call makes one request; again says whether an error is worth another try.
func (h *hook) call(a hookAlarm) (again bool, err error) {
	ctx, cancel := context.WithTimeout(h.n.ctx, hookTimeout)
	defer cancel()
	req, err := h.request(ctx, a)
	if err != nil {
		return false, err
	}
	res, err := h.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the address may be a secret
		}
		return true, err
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // so that the connection can be used again
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return false, nil
	}
	again = res.StatusCode == http.StatusTooManyRequests ||
		res.StatusCode == http.StatusRequestTimeout || res.StatusCode >= 500
	return again, fmt.Errorf("it answered %d", res.StatusCode)
}

// request writes the alarm in the webhook's format. It tells who called whom
// about what, and nothing of the conversation.
func (h *hook) request(ctx context.Context, a hookAlarm) (*http.Request, error) {
	link := h.n.opt.WebBase + a.note.URL
	title := oneLine(webhookTitle(a.from, a.logins))
	subject := oneLine(a.note.Subject)
	kind, body := "application/json", []byte(nil)
	var err error
	switch h.Format {
	case HookNtfy:
		kind, body = "text/plain; charset=utf-8", []byte(subject)
	case HookMattermost:
		body, err = json.Marshal(map[string]string{"username": "CHmail", "text": "**" + plainMarkdown(title) + "**\n" +
			plainMarkdown(subject) + "\n[" + webhookLink() + "](" + link + ")"})
	default:
		body, err = json.Marshal(struct {
			Event   string      `json:"event"`
			Attempt string      `json:"attempt"`
			Room    string      `json:"room"`
			Logins  []string    `json:"logins"`
			From    chat.Person `json:"from"`
			Subject string      `json:"subject"`
			URL     string      `json:"url"`
			At      time.Time   `json:"at"`
		}{"alarm", a.note.Attempt, a.note.Room, a.logins, a.from, a.note.Subject, link, a.note.At})
	}
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "CHmail")
	switch {
	case h.Format == HookNtfy:
		req.Header.Set("Title", mime.QEncoding.Encode("utf-8", title)) // ntfy decodes RFC 2047 words
		req.Header.Set("Priority", "high")
		req.Header.Set("Click", link)
		if h.Secret != "" {
			req.Header.Set("Authorization", "Bearer "+h.Secret)
		}
	case h.Format == HookJSON && h.Secret != "":
		at := strconv.FormatInt(time.Now().Unix(), 10)
		sum := seal.Key(h.Secret).Sum(append([]byte(at+"."), body...))
		req.Header.Set("CHmail-Timestamp", at)
		req.Header.Set("CHmail-Signature", "sha256="+hex.EncodeToString(sum))
	}
	return req, nil
}

// plainMarkdown keeps a stranger's words from being markup, a mention or a link.
func plainMarkdown(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case strings.ContainsRune("\\`*_{}[]()#+-.!|<>~:", c):
			b.WriteByte('\\')
		case c == '@':
			b.WriteString("@\u200b")
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
