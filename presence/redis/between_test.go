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
	pt "github.com/chmail/chmail/presence/presencetest"
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

// callsBetween are calls of a directory where a and b have ports and b has a
// device; the pointer to the grant of a is gone.
var callsBetween = map[string]func(context.Context, *Directory) error{
	"Grant, its pointer gone": func(ctx context.Context, d *Directory) error { return second(d.Grant(ctx, "a")) },
	"Grant, new":              func(ctx context.Context, d *Directory) error { return second(d.Grant(ctx, "new")) },
	"Grant, full":             func(ctx context.Context, d *Directory) error { return second(d.Grant(ctx, "late")) },
	"GrantOf":                 func(ctx context.Context, d *Directory) error { return second(d.GrantOf(ctx, "b")) },
	"Resolve": func(ctx context.Context, d *Directory) error {
		return second(d.Resolve(ctx, pt.TestHost, 20000))
	},
	"Lookup":     func(ctx context.Context, d *Directory) error { return second(d.Lookup(ctx, "b")) },
	"Addresses":  func(ctx context.Context, d *Directory) error { return second(d.Addresses(ctx, 9)) },
	"Devices":    func(ctx context.Context, d *Directory) error { return second(d.Devices(ctx, "b")) },
	"AllDevices": func(ctx context.Context, d *Directory) error { return second(d.AllDevices(ctx, 9)) },
	"Grants":     func(ctx context.Context, d *Directory) error { return second(d.Grants(ctx, 9)) },
	"Hosts":      func(ctx context.Context, d *Directory) error { return second(d.Hosts(ctx)) },
	"Leave":      func(ctx context.Context, d *Directory) error { return d.Leave(ctx) },
	"Publish": func(ctx context.Context, d *Directory) error {
		return d.Publish(ctx, "", []byte("x"))
	},
	"Renew": func(ctx context.Context, d *Directory) error {
		return d.Renew(ctx, presence.Address{Login: "b"})
	},
	"Connect": func(ctx context.Context, d *Directory) error {
		return d.Connect(ctx, presence.Device{Login: "b", ID: "1"})
	},
	"Disconnect": func(ctx context.Context, d *Directory) error { return d.Disconnect(ctx, "b", "2") },
	"Block":      func(ctx context.Context, d *Directory) error { return d.Block(ctx, notOfB) },
	"Hold":       func(ctx context.Context, d *Directory) error { return d.Hold(ctx, notOfB) },
	"Release":    func(ctx context.Context, d *Directory) error { return d.Release(ctx, notOfB) },
}

// notOfB is a port that b does not have.
var notOfB = presence.Grant{Login: "b", Host: pt.TestHost, Port: 1}

func second[T any](_ T, err error) error { return err }

// Redis is lost between any two round trips of a call: the call fails, and
// does not panic.
func TestRedisLostBetween(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	c := s.client()
	defer c.Close()
	for name, call := range callsBetween {
		for trips := int64(1); trips <= 4; trips++ {
			t.Run(fmt.Sprint(name, " after ", trips), func(t *testing.T) {
				ctx := t.Context()
				o := Options{URL: s.url(), Prefix: newPrefix(), Timeout: time.Second,
					Ranges: presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(2)},
						{Host: pt.OtherHost, Range: pt.Narrow(2)}}}
				if name == "Grant, full" {
					o.Ranges = presence.HostRanges{{Host: pt.TestHost, Range: pt.Narrow(1)},
						{Host: pt.OtherHost, Range: pt.Narrow(1)}}
				}
				r := openRedis(t, o)
				pt.OK(t, r.Ready(ctx))
				pt.MustGrant(t, r, "a")
				pt.MustGrant(t, r, "b")
				pt.OK(t, r.Connect(ctx, presence.Device{Login: "b", ID: "1", Source: presence.Desk}))
				pt.OK(t, c.Del(ctx, r.pointerKey("a")).Err())
				cut := &cutter{r: r}
				cut.left.Store(trips)
				r.client.AddHook(cut)
				err := call(ctx, r)
				if err != nil && !errors.Is(err, presence.ErrUnavailable) && !errors.Is(err, presence.ErrUnknown) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}
