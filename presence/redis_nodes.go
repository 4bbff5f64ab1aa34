// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// outages is the servers that do not answer: calls on their keys fail at once,
// while those on other masters of a Cluster go on. The keeper asks them again.
type outages struct {
	any atomic.Bool

	mu   sync.Mutex
	down map[string]bool // by address, "" is the only server or the whole Cluster; true when it was logged
}

// exempt is the key, in the context of the keeper, of the servers that answer
// again, which it restores before anybody else calls them.
type exempt struct{}

// node is the address of the master that has a key.
func (r *Redis) node(ctx context.Context, key string) string {
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return ""
	}
	master, err := cluster.MasterForKey(ctx, key) // asks nobody once the Cluster is known
	if err != nil {
		return ""
	}
	return master.Options().Addr
}

// reachable is ErrUnavailable when a server that steps need does not answer.
func (r *Redis) reachable(ctx context.Context, steps ...step) error {
	if !r.outages.any.Load() {
		return nil
	}
	back, _ := ctx.Value(exempt{}).([]string)
	lost := func(addr string) bool { return r.isDown(addr) && !slices.Contains(back, addr) }
	if lost("") { // nothing is known of a Cluster either
		return fmt.Errorf("%w: Redis did not answer", ErrUnavailable)
	}
	for _, s := range steps {
		if addr := r.node(ctx, s.keys[0]); lost(addr) {
			return fmt.Errorf("%w: Redis at %s did not answer", ErrUnavailable, addr)
		}
	}
	return nil
}

func (r *Redis) isDown(addr string) bool {
	r.outages.mu.Lock()
	defer r.outages.mu.Unlock()
	_, down := r.outages.down[addr]
	return down
}

// lost notes that one of the servers of some steps did not answer. Which one,
// the keeper finds out at once.
func (r *Redis) lost(steps []step) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	for _, s := range steps {
		addr := r.node(ctx, s.keys[0])
		r.outages.mu.Lock()
		if _, there := r.outages.down[addr]; !there {
			r.outages.down[addr] = false
		}
		r.outages.any.Store(true)
		r.outages.mu.Unlock()
	}
	r.wakeKeeper()
}

// probe asks the servers that were lost and returns those that answer.
func (r *Redis) probe(ctx context.Context) (back []string) {
	if !r.outages.any.Load() {
		return nil
	}
	r.outages.mu.Lock()
	asked := make(map[string]error)
	for addr := range r.outages.down {
		asked[addr] = nil
	}
	r.outages.mu.Unlock()
	if _, whole := asked[""]; whole {
		asked[""] = r.client.Ping(ctx).Err()
	}
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		var mu sync.Mutex
		// Who is no master any more is not asked, and not missed.
		_ = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
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
	r.outages.mu.Lock()
	defer r.outages.mu.Unlock()
	for addr, err := range asked {
		switch logged := r.outages.down[addr]; {
		case err == nil:
			back = append(back, addr)
		case !logged && ctx.Err() == nil:
			r.outages.down[addr] = true
			r.opt.Log("Redis does not answer; going on without it", "server", addr, "error", err)
		}
	}
	return back
}

// found ends the outage of servers.
func (r *Redis) found(addrs []string) {
	r.outages.mu.Lock()
	defer r.outages.mu.Unlock()
	for _, addr := range addrs {
		if r.outages.down[addr] {
			r.opt.Log("Redis answers again", "server", addr)
		}
		delete(r.outages.down, addr)
	}
	r.outages.any.Store(len(r.outages.down) > 0)
}
