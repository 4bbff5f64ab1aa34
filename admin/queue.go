// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"

	"github.com/chmail/chmail/mta/queue"
)

// Queues are what a command can do with outgoing mail that waits.
type Queues interface {
	// Queued lists the mails that wait, or those for a domain.
	Queued(ctx context.Context, domain string) ([]queue.Mail, error)
	ShowQueued(ctx context.Context, id string) (QueuedMail, error)
	// ChangeQueued retries, holds, releases or drops the mail of an ID, those for a domain,
	// or queue.All, and says how many.
	ChangeQueued(ctx context.Context, what queue.Action, which string) (int, error)
	// Suppressed lists the addresses that refused mail for good.
	Suppressed(ctx context.Context) ([]queue.Suppressed, error)
	Unsuppress(ctx context.Context, address string) error
}

// QueuedMail is a mail that waits, with its header.
type QueuedMail struct {
	queue.Mail
	Header string `json:"header"`
}

// Queue is a *queue.Queue.
type Queue interface {
	List(domain string) []queue.Mail
	Show(id string) (queue.Mail, string, error)
	Do(what queue.Action, which string) (int, error)
	Suppressed() []queue.Suppressed
	Unsuppress(address string) error
}

// Queued implements Queues.
func (o *Owner) Queued(_ context.Context, domain string) ([]queue.Mail, error) {
	q, err := o.Parts.Queue()
	if err != nil {
		return nil, err
	}
	return q.List(domain), nil
}

// ShowQueued implements Queues.
func (o *Owner) ShowQueued(_ context.Context, id string) (QueuedMail, error) {
	q, err := o.Parts.Queue()
	if err != nil {
		return QueuedMail{}, err
	}
	m, header, err := q.Show(id)
	return QueuedMail{m, header}, err
}

// ChangeQueued implements Queues.
func (o *Owner) ChangeQueued(_ context.Context, what queue.Action, which string) (int, error) {
	q, err := o.Parts.Queue()
	if err != nil {
		return 0, err
	}
	return q.Do(what, which)
}

// Suppressed implements Queues.
func (o *Owner) Suppressed(context.Context) ([]queue.Suppressed, error) {
	q, err := o.Parts.Queue()
	if err != nil {
		return nil, err
	}
	return q.Suppressed(), nil
}

// Unsuppress implements Queues.
func (o *Owner) Unsuppress(_ context.Context, address string) error {
	q, err := o.Parts.Queue()
	if err != nil {
		return err
	}
	return q.Unsuppress(address)
}

type queueArgs struct {
	Of     string // an ID, a domain or an address
	Action queue.Action
}

// Queued implements Queues.
func (c *Client) Queued(ctx context.Context, domain string) ([]queue.Mail, error) {
	return ask[[]queue.Mail](ctx, c, "/queue/list", queueArgs{Of: domain}, nil, nil)
}

// ShowQueued implements Queues.
func (c *Client) ShowQueued(ctx context.Context, id string) (QueuedMail, error) {
	return ask[QueuedMail](ctx, c, "/queue/show", queueArgs{Of: id}, nil, nil)
}

// ChangeQueued implements Queues.
func (c *Client) ChangeQueued(ctx context.Context, what queue.Action, which string) (int, error) {
	return ask[int](ctx, c, "/queue/change", queueArgs{Of: which, Action: what}, nil, nil)
}

// Suppressed implements Queues.
func (c *Client) Suppressed(ctx context.Context) ([]queue.Suppressed, error) {
	return ask[[]queue.Suppressed](ctx, c, "/suppress/list", none{}, nil, nil)
}

// Unsuppress implements Queues.
func (c *Client) Unsuppress(ctx context.Context, address string) error {
	_, err := ask[none](ctx, c, "/suppress/remove", queueArgs{Of: address}, nil, nil)
	return err
}
