// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
)

// outages is the servers that do not answer: calls on their keys fail at once,
// while those on other masters of a Cluster go on. The heartbeat goroutine asks
// them again.
type outages struct {
	any atomic.Bool

	mu   sync.Mutex
	down map[string]bool // by address, "" is the only server or the whole Cluster; true when it was logged
}

// exempt is the key, in the context of the heartbeat goroutine, of the servers
// that answer again. It restores them before anybody else calls them.
type exempt struct{}

// node is the address of the master that has a key.
func (d *Directory) node(ctx context.Context, key string) string {
	cluster, ok := d.client.(*goredis.ClusterClient)
	if !ok {
		return ""
	}
	master, err := cluster.MasterForKey(ctx, key) // asks nobody once the Cluster is known
	if err != nil {
		return ""
	}
	return master.Options().Addr
}

// reachable returns ErrUnavailable when a server that holds the keys of one of
// the steps does not answer.
func (d *Directory) reachable(ctx context.Context, steps ...step) error {
	if !d.outages.any.Load() {
		return nil
	}
	back, _ := ctx.Value(exempt{}).([]string)
	lost := func(addr string) bool { return d.isDown(addr) && !slices.Contains(back, addr) }
	if lost("") { // nothing is known of a Cluster either
		return fmt.Errorf("%w: Redis did not answer", presence.ErrUnavailable)
	}
	for _, s := range steps {
		if addr := d.node(ctx, s.keys[0]); lost(addr) {
			return fmt.Errorf("%w: Redis at %s did not answer", presence.ErrUnavailable, addr)
		}
	}
	return nil
}

func (d *Directory) isDown(addr string) bool {
	d.outages.mu.Lock()
	defer d.outages.mu.Unlock()
	_, down := d.outages.down[addr]
	return down
}

// lost notes that one of the servers that hold the keys of the steps did not
// answer. The heartbeat goroutine finds out at once which of them.
func (d *Directory) lost(steps []step) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for _, s := range steps {
		addr := d.node(ctx, s.keys[0])
		d.outages.mu.Lock()
		if _, there := d.outages.down[addr]; !there {
			d.outages.down[addr] = false
		}
		d.outages.any.Store(true)
		d.outages.mu.Unlock()
	}
	d.wakeHeartbeats()
}

// probe asks the servers that were lost and returns those that answer.
func (d *Directory) probe(ctx context.Context) (back []string) {
	if !d.outages.any.Load() {
		return nil
	}
	d.outages.mu.Lock()
	asked := make(map[string]error)
	for addr := range d.outages.down {
		asked[addr] = nil
	}
	d.outages.mu.Unlock()
	if _, whole := asked[""]; whole {
		asked[""] = d.client.Ping(ctx).Err()
	}
	if cluster, ok := d.client.(*goredis.ClusterClient); ok {
		var mu sync.Mutex
		// A server that is no master any more is not asked, and not missed.
		_ = cluster.ForEachMaster(ctx, func(ctx context.Context, c *goredis.Client) error {
			addr := c.Options().Addr
			mu.Lock()
			_, ask := asked[addr]
			mu.Unlock()
			if ask {
				err := c.Ping(ctx).Err()
				mu.Lock()
				asked[addr] = err
				mu.Unlock()
			}
			return nil
		})
	}
	d.outages.mu.Lock()
	defer d.outages.mu.Unlock()
	for addr, err := range asked {
		switch logged := d.outages.down[addr]; {
		case err == nil:
			back = append(back, addr)
		case !logged && ctx.Err() == nil:
			d.outages.down[addr] = true
			d.opt.Log.Warn("Redis does not answer; going on without it", "addr", addr, "err", err)
		}
	}
	return back
}

// found ends the outage of servers.
func (d *Directory) found(addrs []string) {
	d.outages.mu.Lock()
	defer d.outages.mu.Unlock()
	for _, addr := range addrs {
		if d.outages.down[addr] {
			d.opt.Log.Info("Redis answers again", "addr", addr)
		}
		delete(d.outages.down, addr)
	}
	d.outages.any.Store(len(d.outages.down) > 0)
}
