// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	pt "github.com/chmail/chmail/presence/presencetest"
)

// keySlot asks a server for the slot of a key.
func keySlot(t *testing.T, c *goredis.Client, key string) int {
	t.Helper()
	return int(pt.Must[int64](t)(c.ClusterKeySlot(t.Context(), key).Result()))
}

// owner returns which of the nodes has a slot.
func owner(nodes []*redisServer, slot int) int { return slot / 5462 }

// moveSlot moves a slot as redis-cli does, one key at a time and slowly.
func moveSlot(t *testing.T, from, to *redisServer, slot int) {
	t.Helper()
	ctx := t.Context()
	src, dst := from.client(), to.client()
	defer src.Close()
	defer dst.Close()
	srcID := pt.Must[string](t)(src.Do(ctx, "CLUSTER", "MYID").Text())
	dstID := pt.Must[string](t)(dst.Do(ctx, "CLUSTER", "MYID").Text())
	pt.OK(t, dst.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", srcID).Err())
	pt.OK(t, src.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", dstID).Err())
	for {
		keys := pt.Must[[]string](t)(src.ClusterGetKeysInSlot(ctx, slot, 1).Result())
		if len(keys) == 0 {
			break
		}
		pt.OK(t, src.Migrate(ctx, "127.0.0.1", fmt.Sprint(to.port), keys[0], 0, 5*time.Second).Err())
		time.Sleep(10 * time.Millisecond) // calls meet a slot that is half here and half there
	}
	pt.OK(t, dst.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", dstID).Err())
	pt.OK(t, src.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", dstID).Err())
}

// Slots move while calls run, a login's and the host's: no call fails, nobody's
// port changes, and a held port stays held.
func TestRedisClusterSlotMoved(t *testing.T) {
	t.Parallel()
	nodes, addrs := startCluster(t)
	ctx := t.Context()
	r := openRedis(t, Options{URL: "redis://" + addrs, Ranges: presence.HostRanges{{Host: pt.TestHost,
		Range: pt.Narrow(20)}}, Timeout: 5 * time.Second})
	gs := pt.Fill(t, r, 10)
	pt.OK(t, r.Hold(ctx, gs[0]))
	pt.OK(t, r.Connect(ctx, presence.Device{ID: "1", Login: "u0", Source: presence.Desk}))

	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var calls [4]atomic.Int64
	for i := range calls {
		wg.Go(func() {
			for running.Err() == nil {
				g := gs[int(calls[i].Add(1))%len(gs)]
				again, err := r.Grant(ctx, g.Login)
				if err == nil && again.Port != g.Port {
					err = fmt.Errorf("port %d, want %d", again.Port, g.Port)
				}
				_, err2 := r.GrantOf(ctx, g.Login)
				if err := errors.Join(err, err2, r.Connect(ctx,
					presence.Device{ID: "1", Login: "u0", Source: presence.Desk}), r.Hold(ctx, gs[0])); err != nil {
					t.Errorf("%s: %v", g.Login, err)
					return
				}
			}
		})
	}
	c := nodes[0].client()
	defer c.Close()
	for _, key := range []string{r.pointerKey("u0"), r.hostKeys(pt.TestHost)[0], r.pointerKey("u1")} {
		slot := keySlot(t, c, key)
		at := owner(nodes, slot)
		moveSlot(t, nodes[at], nodes[(at+1)%3], slot)
		for i := range calls { // the slot is met by everybody where it is now
			goal := calls[i].Load() + 4
			pt.Eventually(t, 10*time.Second, func() error {
				if n := calls[i].Load(); n < goal {
					return fmt.Errorf("caller %d began %d rounds, want %d", i, n, goal)
				}
				return nil
			})
		}
	}
	stop()
	wg.Wait()
	if g := pt.Must[presence.Grant](t)(r.GrantOf(ctx, "u0")); !g.Held || g.Port != gs[0].Port {
		t.Errorf("grant %+v, want %+v, held", g, gs[0])
	}
}

// One master hangs: calls for logins of the others go on, those for its own
// fail within the bound, and then at once.
func TestRedisClusterNodeHangs(t *testing.T) {
	t.Parallel()
	nodes, addrs := startCluster(t)
	ctx := t.Context()
	var logs pt.LogBook
	const timeout = 250 * time.Millisecond
	r := openRedis(t, Options{URL: "redis://" + addrs, Ranges: presence.HostRanges{{Host: pt.TestHost,
		Range: pt.Narrow(100)}}, Timeout: timeout, Log: logs.Logger()})
	c := nodes[0].client()
	defer c.Close()
	home := owner(nodes, keySlot(t, c, r.hostKeys(pt.TestHost)[0]))
	sick := (home + 1) % 3
	var hurt, well []string
	for i := range 40 {
		login := fmt.Sprint("u", i)
		pt.Eventually(t, 5*time.Second, func() error { _, err := r.Grant(ctx, login); return err })
		if owner(nodes, keySlot(t, c, r.pointerKey(login))) == sick {
			hurt = append(hurt, login)
		} else {
			well = append(well, login)
		}
	}
	if len(hurt) < 5 || len(well) < 5 {
		t.Fatalf("%d and %d logins", len(hurt), len(well))
	}

	nodes[sick].signal(syscall.SIGSTOP)
	defer nodes[sick].signal(syscall.SIGCONT)
	began := time.Now()
	_, err := r.Grant(ctx, hurt[0])
	pt.WantErr(t, err, presence.ErrUnavailable)
	if d := time.Since(began); d > timeout+slack {
		t.Errorf("the first call took %v", d)
	}
	// The heartbeat goroutine finds out which server it is.
	pt.Eventually(t, 5*time.Second, func() error {
		if logs.Count("does not answer") == 0 {
			return errors.New("the outage was not reported")
		}
		_, err := r.Grant(ctx, well[0])
		return err
	})
	for range 20 {
		for _, login := range well {
			if _, err := r.Grant(ctx, login); err != nil {
				t.Fatalf("%s, whose server is well: %v", login, err)
			}
		}
	}
	began = time.Now()
	for range 100 {
		_, err := r.Grant(ctx, hurt[0])
		pt.WantErr(t, err, presence.ErrUnavailable)
	}
	if d := time.Since(began); d > timeout+slack {
		t.Errorf("100 more calls took %v", d)
	}
	if n := logs.Count("does not answer"); n != 1 {
		t.Errorf("the outage was reported %d times: %v", n, &logs)
	}
	nodes[sick].signal(syscall.SIGCONT)
	pt.Eventually(t, 5*time.Second, func() error { _, err := r.Grant(ctx, hurt[0]); return err })
	if n := logs.Count("answers again"); n != 1 {
		t.Errorf("the end was reported %d times", n)
	}
}
