// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// GrantOf implements Directory.
func (r *Redis) GrantOf(ctx context.Context, login string) (g Grant, err error) {
	err = r.call(ctx, "grant_of", func(ctx context.Context) error {
		cmds, err := r.run(ctx, command("GET", r.pointerKey(login)))
		if err != nil {
			return err
		}
		at, err := cmds[0].Text()
		if err == nil {
			g, err = r.peek(ctx, at, "login", login)
		}
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("looking up the grant of %s: %w", login, ErrUnknown)
		}
		return err
	})
	return g, err
}

// peek reads one grant; redis.Nil when there is none.
func (r *Redis) peek(ctx context.Context, host, by string, value any) (Grant, error) {
	cmds, err := r.run(ctx, r.peekStep(host, by, value))
	if err != nil {
		return Grant{}, err
	}
	text, err := cmds[0].Text()
	if err != nil {
		return Grant{}, err
	}
	return parseGrant(host, text)
}

// Resolve implements Directory.
func (r *Redis) Resolve(ctx context.Context, host string, port int) (login string, err error) {
	err = r.call(ctx, "resolve", func(ctx context.Context) error {
		g, err := r.peek(ctx, host, "port", port)
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("resolving port %d of %s: %w", port, host, ErrUnknown)
		}
		login = g.Login
		return err
	})
	return login, err
}

// Hold implements Directory. It renews the lease. Also while Redis does not
// answer, this process grants the port to nobody else; not before, as the port
// may have been taken over.
func (r *Redis) Hold(ctx context.Context, g Grant) error {
	err := r.use(ctx, "hold", g, r.opt.TTL.Hold)
	if !errors.Is(err, ErrUnknown) {
		r.memory.hold(g.Login, placeOf(g), r.opt.TTL.Hold)
	}
	return err
}

// Release implements Directory.
func (r *Redis) Release(ctx context.Context, g Grant) error {
	r.memory.hold(g.Login, placeOf(g), 0)
	return r.use(ctx, "release", g, 0)
}

func (r *Redis) use(ctx context.Context, op string, g Grant, hold time.Duration) error {
	return r.call(ctx, op, func(ctx context.Context) error {
		own, _ := r.own()
		for range maxRaces {
			cmd, err := r.hostRun(ctx, holdScript, g.Host, g.Login, g.Port, ms(hold), r.keyLease())
			if err != nil {
				return err
			}
			switch what, _ := cmd.Text(); {
			case what == "ok":
				return nil
			case what == "nohost" && own.has(g.Host):
				if err := r.awaitHost(ctx); err != nil {
					return err
				}
			default:
				if what == "none" {
					r.memory.drop(g.Login, placeOf(g))
				}
				return fmt.Errorf("using port %d of %s for %s: %w", g.Port, g.Host, g.Login, ErrUnknown)
			}
		}
		return fmt.Errorf("using port %d of %s: its host is not announced: %w", g.Port, g.Host, ErrUnavailable)
	})
}

// Block implements Directory.
func (r *Redis) Block(ctx context.Context, g Grant) error {
	return r.call(ctx, "block", func(ctx context.Context) error { return r.block(ctx, g, nil) })
}

func (r *Redis) block(ctx context.Context, g Grant, why error) error {
	cmd, err := r.hostRun(ctx, blockScript, g.Host, g.Login, g.Port, ms(r.opt.TTL.Blocked), r.keyLease())
	if err != nil {
		return err
	}
	r.memory.drop(g.Login, placeOf(g))
	if what, _ := cmd.Text(); what != "ok" {
		return fmt.Errorf("blocking port %d of %s: %w", g.Port, g.Host, ErrUnknown)
	}
	r.meter.blocked.Inc()
	r.opt.Log("port cannot be had and is skipped", "host", g.Host, "port", g.Port, "for", r.opt.TTL.Blocked, "error", why)
	return nil
}

// Grants implements Directory: the grants of every relay host, by port.
func (r *Redis) Grants(ctx context.Context, limit int) (gs []Grant, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	err = r.listing(ctx, "grants", func(ctx context.Context) error {
		hosts, err := r.allHosts(ctx)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if err := r.hostGrants(ctx, host, func(g Grant) { gs = append(gs, g) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return byPort(gs, limit), nil // a scan may give an entry twice while others come and go
}

// hostGrants calls f with every live grant of a host, perhaps twice.
func (r *Redis) hostGrants(ctx context.Context, host string, f func(Grant)) error {
	cursor := "0"
	for {
		cmd, err := r.hostRun(ctx, listScript, host, cursor, redisPage, ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold))
		if err != nil {
			return err
		}
		page, err := cmd.Slice()
		if err != nil || len(page) != 2 {
			return errors.Join(err, errReply)
		}
		list, _ := page[1].([]any)
		for _, v := range list {
			text, _ := v.(string)
			g, err := parseGrant(host, text)
			if err != nil {
				return err
			}
			f(g)
		}
		if cursor, _ = page[0].(string); cursor == "0" || cursor == "" {
			return nil
		}
	}
}
