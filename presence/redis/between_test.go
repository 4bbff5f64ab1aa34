// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/presencetest"
)

// cutter is a hook of the client: after a number of round trips the server
// counts as lost, and pings find it so.
type cutter struct {
	r    *Directory
	left atomic.Int64 // round trips until then
}

func (c *cutter) after(ctx context.Context, err error) error {
	if c.left.Add(-1) == 0 {
		c.r.lost([]step{command("GET", "any")})
	}
	return err
}

func (c *cutter) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *cutter) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		if cmd.Name() == "ping" && c.left.Load() <= 0 {
			err := errors.New("no answer")
			cmd.SetErr(err)
			return err
		}
		return c.after(ctx, next(ctx, cmd))
	}
}

func (c *cutter) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error { return c.after(ctx, next(ctx, cmds)) }
}

// Redis is lost between any two round trips of a call: the call fails, and
// does not panic.
func TestRedisLostBetween(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	c := s.client()
	defer c.Close()
	calls := map[string]func(context.Context, *Directory) error{
		"Grant, its pointer gone": func(ctx context.Context, r *Directory) error {
			_, err := r.Grant(ctx, "a")
			return err
		},
		"Grant, new": func(ctx context.Context, r *Directory) error { _, err := r.Grant(ctx, "new"); return err },
		"GrantOf":    func(ctx context.Context, r *Directory) error { _, err := r.GrantOf(ctx, "b"); return err },
		"Resolve": func(ctx context.Context, r *Directory) error {
			_, err := r.Resolve(ctx, presencetest.TestHost, 20000)
			return err
		},
		"Lookup":     func(ctx context.Context, r *Directory) error { _, err := r.Lookup(ctx, "b"); return err },
		"Addresses":  func(ctx context.Context, r *Directory) error { _, err := r.Addresses(ctx, 9); return err },
		"Devices":    func(ctx context.Context, r *Directory) error { _, err := r.Devices(ctx, "b"); return err },
		"AllDevices": func(ctx context.Context, r *Directory) error { _, err := r.AllDevices(ctx, 9); return err },
		"Grants":     func(ctx context.Context, r *Directory) error { _, err := r.Grants(ctx, 9); return err },
		"Hosts":      func(ctx context.Context, r *Directory) error { _, err := r.Hosts(ctx); return err },
		"Leave":      func(ctx context.Context, r *Directory) error { return r.Leave(ctx) },
		"Publish":    func(ctx context.Context, r *Directory) error { return r.Publish(ctx, "", []byte("x")) },
		"Renew":      func(ctx context.Context, r *Directory) error { return r.Renew(ctx, presence.Address{Login: "b"}) },
		"Connect": func(ctx context.Context, r *Directory) error {
			return r.Connect(ctx, presence.Device{Login: "b", ID: "1"})
		},
		"Disconnect": func(ctx context.Context, r *Directory) error { return r.Disconnect(ctx, "b", "2") },
		"Block": func(ctx context.Context, r *Directory) error {
			return r.Block(ctx, presence.Grant{Login: "b", Host: presencetest.TestHost, Port: 1})
		},
		"Hold": func(ctx context.Context, r *Directory) error {
			return r.Hold(ctx, presence.Grant{Login: "b", Host: presencetest.TestHost, Port: 1})
		},
		"Release": func(ctx context.Context, r *Directory) error {
			return r.Release(ctx, presence.Grant{Login: "b", Host: presencetest.TestHost, Port: 1})
		},
		"Grant, full": func(ctx context.Context, r *Directory) error { _, err := r.Grant(ctx, "late"); return err },
	}
	for name, call := range calls {
		for trips := int64(1); trips <= 4; trips++ {
			t.Run(fmt.Sprint(name, " after ", trips), func(t *testing.T) {
				ctx := t.Context()
				o := Options{URL: s.url(), Prefix: newPrefix(), Timeout: time.Second,
					Ranges: presence.HostRanges{{Host: presencetest.TestHost, Range: presencetest.Narrow(2)}, {Host: presencetest.OtherHost, Range: presencetest.Narrow(2)}}}
				if name == "Grant, full" {
					o.Ranges = presence.HostRanges{{Host: presencetest.TestHost, Range: presencetest.Narrow(1)}, {Host: presencetest.OtherHost, Range: presencetest.Narrow(1)}}
				}
				r := openRedis(t, o)
				presencetest.OK(t, r.Ready(ctx))
				presencetest.MustGrant(t, r, "a")
				presencetest.MustGrant(t, r, "b")
				presencetest.OK(t, r.Connect(ctx, presence.Device{Login: "b", ID: "1", Source: presence.Desk}))
				presencetest.OK(t, c.Del(ctx, r.pointerKey("a")).Err())
				cut := &cutter{r: r}
				cut.left.Store(trips)
				r.client.AddHook(cut)
				if err := call(ctx, r); err != nil && !errors.Is(err, presence.ErrUnavailable) && !errors.Is(err, presence.ErrUnknown) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}
