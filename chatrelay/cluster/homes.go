// SPDX-License-Identifier: GPL-3.0-or-later

package cluster

import (
	"context"
	"time"
)

// A room is served by one host, its home: the one that claimed it in the store
// and is alive. The store takes messages from the home alone, so whatever
// happens to a host loses, doubles and disorders nothing.

// Home is the living host that serves a room; empty: none does.
func (c *Cluster) Home(ctx context.Context, roomID string) (string, error) {
	if !c.Shared() {
		return c.opt.Self.Name, nil
	}
	return c.opt.Store.Home(ctx, roomID)
}

// Claim makes this host the home of a room, if no other is, and returns the
// home. The claim ends a while after the last one has left.
func (c *Cluster) Claim(ctx context.Context, roomID string) (home string, err error) {
	if !c.Shared() {
		return c.opt.Self.Name, nil
	}
	home, err = c.opt.Store.ClaimHome(ctx, roomID, c.opt.Self.Name)
	if err == nil && home == c.opt.Self.Name {
		c.Vacate(roomID)
	}
	return home, err
}

// Vacate notes that a claimed room may be left when nobody is there any more.
func (c *Cluster) Vacate(roomID string) {
	if !c.Shared() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.vacant) < maxVacant {
		c.vacant[roomID] = time.Now()
	}
}

// MoveOut gives a room to another host; an empty one: whoever claims it next.
func (c *Cluster) MoveOut(ctx context.Context, roomID, to string) error {
	err := c.opt.Store.LeaveHome(ctx, roomID, c.opt.Self.Name)
	if err == nil && to != "" {
		_, err = c.opt.Store.ClaimHome(ctx, roomID, to)
	}
	return err
}

// leaveVacant gives up the rooms in which nobody is any more.
func (c *Cluster) leaveVacant() {
	c.mu.Lock()
	var ids []string
	for id, since := range c.vacant {
		if time.Since(since) > c.opt.Vacant {
			delete(c.vacant, id)
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	for _, id := range ids {
		if c.opt.InUse(id) || c.ctx.Err() != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(c.ctx, callTimeout)
		if err := c.opt.Store.LeaveHome(ctx, id, c.opt.Self.Name); err != nil {
			c.opt.Log.Warn("leaving a room", "room", id, "err", err)
		}
		cancel()
	}
}
