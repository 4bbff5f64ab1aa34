// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"github.com/chmail/chmail/internal/safely"
)

// pusher sends pushes. newPusher starts its senders, Close ends them.
type pusher struct {
	opt     pusherOptions
	client  *http.Client
	queue   *queue
	ctx     context.Context
	cancel  context.CancelFunc
	senders sync.WaitGroup
}

// newPusher returns a running pusher.
func newPusher(opt pusherOptions) (*pusher, error) {
	if opt.Contact == "" {
		return nil, errors.New("starting push: the operator's contact is needed")
	}
	p := &pusher{opt: opt, client: newClient(opt.TLS, opt.Anywhere)}
	p.queue = newQueue(p.report)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for range senders {
		p.senders.Go(p.sender)
	}
	return p, nil
}

// Close ends the pushes under way, drops those that wait, and returns when
// every goroutine of the pusher has ended. Closing again is harmless.
func (p *pusher) Close() {
	p.cancel()
	p.senders.Wait()
	p.queue.close()
	p.client.CloseIdleConnections()
}

// PublicKey is Keys.Public of the pusher's keys.
func (p *pusher) PublicKey() string { return p.opt.Keys.Public() }

func (p *pusher) sender() {
	for {
		j := p.queue.take(p.ctx)
		if j == nil {
			return
		}
		p.send(j)
	}
}

// send tries a job and gives it back to the queue, also when that panics.
func (p *pusher) send(j *job) {
	var (
		again bool
		wait  time.Duration
	)
	defer func() { p.queue.done(j, again, wait) }()
	defer safely.Recover(p.opt.Log, "push")
	again, wait = p.try(j.push)
}

// try sends once and says whether to try again, and after how long.
func (p *pusher) try(u *push) (again bool, wait time.Duration) {
	if !time.Now().Before(u.until) {
		p.report(u, fmt.Errorf("%w: too late", ErrGivenUp))
		return false, 0
	}
	u.tried++
	wait, err := p.post(u)
	switch {
	case p.ctx.Err() != nil && err != nil:
		err = ErrClosed
	case err == nil:
	case errors.Is(err, ErrGone):
		p.forget(u)
	case errors.Is(err, ErrRefused) || permanent(err):
	case u.tried >= tries || !time.Now().Add(wait).Before(u.until):
		err = fmt.Errorf("%w after %d tries: %w", ErrGivenUp, u.tried, err)
	default:
		retriesTotal.Inc()
		return true, wait
	}
	p.report(u, err)
	return false, 0
}

// post makes one request. With an error that is worth another try comes the
// wait before it.
func (p *pusher) post(u *push) (wait time.Duration, err error) {
	// The check is made here as well as by who put the subscription: it may be
	// an old one, and the library trusts the keys.
	if err := u.sub.Check(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	ctx, cancel := context.WithTimeout(p.ctx, sendTimeout)
	defer cancel()
	// The library appends to the payload, which several pushes share.
	res, err := webpush.SendNotificationWithContext(ctx, slices.Clip(u.payload),
		&webpush.Subscription{Endpoint: u.sub.Endpoint,
			Keys: webpush.Keys{Auth: u.sub.Keys.Auth, P256dh: u.sub.Keys.P256dh}},
		&webpush.Options{
			HTTPClient:      p.client,
			Subscriber:      p.opt.Contact,
			Topic:           u.note.topic(),
			TTL:             int(max(time.Until(u.until), time.Second) / time.Second),
			Urgency:         u.note.urgency(),
			VAPIDPublicKey:  p.opt.Keys.Public(),
			VAPIDPrivateKey: p.opt.Keys.secret(),
		})
	if err != nil {
		return backoff[u.tried-1], hideURL(err)
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // so that the connection can be used again
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code == http.StatusNotFound || code == http.StatusGone:
		return 0, ErrGone
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		wait = retryAfter(res.Header.Get("Retry-After"), time.Now())
		return max(wait, backoff[u.tried-1]), fmt.Errorf("the push service answered %d", code)
	default:
		return 0, fmt.Errorf("%w: it answered %d", ErrRefused, code)
	}
}

// retryAfter reads the field of RFC 9110 section 10.2.3; 0 if it has no sense.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// forget removes a subscription that its service no longer knows.
func (p *pusher) forget(u *push) {
	ctx, cancel := context.WithTimeout(p.ctx, sendTimeout)
	defer cancel()
	if err := p.opt.Store.DropSubscription(ctx, "", u.sub.Endpoint); err != nil {
		p.opt.Log.Warn("forgetting a push subscription", "login", u.login, "err", err)
	}
}

// report counts, logs and passes on how a push ended.
func (p *pusher) report(u *push, err error) {
	outcome := "sent"
	switch {
	case err == nil:
	case errors.Is(err, ErrReplaced):
		outcome = "replaced"
	case errors.Is(err, ErrGone):
		outcome = "gone"
	case errors.Is(err, ErrClosed):
		outcome = "closed"
	default:
		outcome = "failed"
		p.opt.Log.Warn("sending a push", "login", u.login, "room", u.note.Room, "kind", u.note.Kind, "err", err)
	}
	pushesTotal.WithLabelValues(u.note.Kind, outcome).Inc()
	p.opt.Report(u.login, u.note, err)
}
