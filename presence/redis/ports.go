// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// GrantOf implements presence.Directory.
func (d *Directory) GrantOf(ctx context.Context, login string) (g presence.Grant, err error) {
	err = d.call(ctx, "grant_of", func(ctx context.Context) error {
		cmds, err := d.run(ctx, command("GET", d.pointerKey(login)))
		if err != nil {
			return err
		}
		at, err := cmds[0].Text()
		if err == nil {
			g, err = d.peek(ctx, at, "login", login)
		}
		if errors.Is(err, goredis.Nil) {
			return fmt.Errorf("looking up the grant of %s: %w", login, presence.ErrUnknown)
		}
		return err
	})
	return g, err
}

// peek reads one grant; goredis.Nil when there is none.
func (d *Directory) peek(ctx context.Context, host, by string, value any) (presence.Grant, error) {
	cmds, err := d.run(ctx, d.peekStep(host, by, value))
	if err != nil {
		return presence.Grant{}, err
	}
	text, err := cmds[0].Text()
	if err != nil {
		return presence.Grant{}, err
	}
	return parseGrant(host, text)
}

// Resolve implements presence.Directory.
func (d *Directory) Resolve(ctx context.Context, host string, port int) (login string, err error) {
	err = d.call(ctx, "resolve", func(ctx context.Context) error {
		g, err := d.peek(ctx, host, "port", port)
		if errors.Is(err, goredis.Nil) {
			return fmt.Errorf("resolving port %d of %s: %w", port, host, presence.ErrUnknown)
		}
		login = g.Login
		return err
	})
	return login, err
}

// Hold implements presence.Directory. It renews the lease. Also while Redis does not
// answer, this process grants the port to nobody else; not before, as the port
// may have been taken over.
func (d *Directory) Hold(ctx context.Context, g presence.Grant) error {
	err := d.use(ctx, "hold", g, d.opt.TTL.Hold)
	if !errors.Is(err, presence.ErrUnknown) {
		d.memory.hold(g.Login, placeOf(g), d.opt.TTL.Hold)
	}
	return err
}

// Release implements presence.Directory.
func (d *Directory) Release(ctx context.Context, g presence.Grant) error {
	d.memory.hold(g.Login, placeOf(g), 0)
	return d.use(ctx, "release", g, 0)
}

func (d *Directory) use(ctx context.Context, op string, g presence.Grant, hold time.Duration) error {
	return d.call(ctx, op, func(ctx context.Context) error {
		own, _ := d.own()
		for range maxRaces {
			cmd, err := d.hostRun(ctx, holdScript, g.Host, g.Login, g.Port, ms(hold), d.keyLease())
			if err != nil {
				return err
			}
			switch what, _ := cmd.Text(); {
			case what == "ok":
				return nil
			case what == "nohost" && own.Has(g.Host):
				if err := d.awaitHost(ctx); !errors.Is(err, errAgain) {
					return err
				}
			default:
				if what == "none" {
					d.memory.drop(g.Login, placeOf(g))
				}
				return fmt.Errorf("using port %d of %s for %s: %w", g.Port, g.Host, g.Login, presence.ErrUnknown)
			}
		}
		return fmt.Errorf("using port %d of %s: its host is not announced: %w", g.Port, g.Host,
			presence.ErrUnavailable)
	})
}

// Block implements presence.Directory.
func (d *Directory) Block(ctx context.Context, g presence.Grant) error {
	return d.call(ctx, "block", func(ctx context.Context) error { return d.block(ctx, g, nil) })
}

func (d *Directory) block(ctx context.Context, g presence.Grant, why error) error {
	cmd, err := d.hostRun(ctx, blockScript, g.Host, g.Login, g.Port, ms(d.opt.TTL.Blocked), d.keyLease())
	if err != nil {
		return err
	}
	d.memory.drop(g.Login, placeOf(g))
	if what, _ := cmd.Text(); what != "ok" {
		return fmt.Errorf("blocking port %d of %s: %w", g.Port, g.Host, presence.ErrUnknown)
	}
	d.meter.Blocked.Inc()
	d.opt.Log.Warn("port cannot be had and is skipped", "relay", g.Host, "port", g.Port, "for", d.opt.TTL.Blocked,
		"err", why)
	return nil
}

// Grants implements presence.Directory: the grants of every relay host, by port.
func (d *Directory) Grants(ctx context.Context, limit int) (gs []presence.Grant, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	err = d.listing(ctx, "grants", func(ctx context.Context) error {
		hosts, err := d.allHosts(ctx)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if err := d.hostGrants(ctx, host, func(g presence.Grant) { gs = append(gs, g) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return shared.GrantsByPort(gs, limit), nil // a scan may give an entry twice while others come and go
}

// hostGrants calls f with every live grant of a host, perhaps twice.
func (d *Directory) hostGrants(ctx context.Context, host string, f func(presence.Grant)) error {
	cursor := "0"
	for {
		cmd, err := d.hostRun(ctx, listScript, host, cursor, pageSize, ms(d.opt.TTL.Grant), ms(d.opt.TTL.Hold))
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
