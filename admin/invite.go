// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"time"
)

// Invitations are what lets people register who may not without one.
type Invitations interface {
	// Invite makes an invitation, good once and for so long, and returns the address of the
	// page at which it is used.
	Invite(ctx context.Context, life time.Duration) (link string, err error)
}

// Door is the web server of a server that runs.
type Door interface {
	Invite(life time.Duration) (link string, err error)
}

// Invite implements Invitations.
func (o *Owner) Invite(_ context.Context, life time.Duration) (string, error) {
	door, err := o.Parts.Door()
	if err != nil {
		return "", err
	}
	return door.Invite(life)
}

// Invite implements Invitations.
func (c *Client) Invite(ctx context.Context, life time.Duration) (string, error) {
	return ask[string](ctx, c, "/invite", inviteArgs{life}, nil, nil)
}
