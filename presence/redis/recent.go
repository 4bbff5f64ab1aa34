// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/presence/internal/shared"
)

// maxRecent bounds the logins that listings know of: those seen last.
const maxRecent = 100_000

// recents is the logins that this process saw since they were last written to
// recentKey. That is done with every heartbeat, so that listings of other
// processes lag behind by one. Beyond maxRecent, logins are left out.
type recents struct {
	mu   sync.Mutex
	seen map[string]time.Time

	// writing is held while they are written: a listing that found none left
	// must not read before those that the heartbeat took have arrived.
	writing sync.Mutex
}

func (c *recents) add(login string, seen time.Time) {
	if seen.IsZero() {
		seen = time.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make(map[string]time.Time)
	}
	if old, there := c.seen[login]; seen.After(old) && (there || len(c.seen) < maxRecent) {
		c.seen[login] = seen
	}
}

// take empties it.
func (c *recents) take() map[string]time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// recentKey is the zset of the logins seen last.
func (d *Directory) recentKey() string { return d.opt.Prefix + ":{recent}" }

// noteRecent writes the logins that this process saw.
func (d *Directory) noteRecent(ctx context.Context) error {
	d.recent.writing.Lock()
	defer d.recent.writing.Unlock()
	seen := d.recent.take()
	now := time.Now()
	args := make([]any, 0, 2*len(seen))
	for login, at := range seen {
		args = append(args, login, ms(shared.Age(now, at)))
	}
	for page := range slices.Chunk(args, 2*pageSize) {
		_, err := d.run(ctx, step{recentScript, []string{d.recentKey()},
			append([]any{ms(d.opt.TTL.Address), maxRecent}, page...)})
		if err != nil {
			for login, at := range seen {
				d.recent.add(login, at)
			}
			return err
		}
	}
	return nil
}

// eachRecent calls f with the logins seen last, a page at a time, at most limit.
func (d *Directory) eachRecent(ctx context.Context, limit int, f func(logins []string) error) error {
	if limit <= 0 {
		return ctx.Err()
	}
	if err := d.noteRecent(ctx); err != nil {
		return err
	}
	cmds, err := d.run(ctx, command("ZREVRANGE", d.recentKey(), 0, limit-1))
	if err != nil {
		return err
	}
	logins, err := cmds[0].StringSlice()
	if err != nil {
		return err
	}
	for page := range slices.Chunk(logins, pageSize) {
		if err := f(page); err != nil {
			return err
		}
	}
	return nil
}
