// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// sighting is the content of an address or a device, without its times.
type sighting struct {
	Source presence.Source `json:"s"`
	IP     netip.Addr      `json:"i"`
	Host   string          `json:"h,omitempty"`
	Name   string          `json:"n,omitempty"`
	Relay  string          `json:"r,omitempty"`
	Away   bool            `json:"w,omitempty"`
	Direct netip.AddrPort  `json:"d,omitzero"`
}

func (s sighting) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings
	}
	return string(b)
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// Renew implements presence.Directory.
func (d *Directory) Renew(ctx context.Context, a presence.Address) error {
	a, err := shared.CheckAddress(a)
	if err != nil {
		return err
	}
	return d.call(ctx, "renew", func(ctx context.Context) error {
		_, err := d.run(ctx, step{renewScript, []string{d.addressKey(a.Login)}, []any{
			ms(shared.Age(time.Now(), a.Seen)),
			sighting{Source: a.Source, IP: a.IP, Host: a.Host}.String(),
			ms(d.opt.TTL.Address),
		}})
		if err == nil {
			d.recent.add(a.Login, a.Seen)
		}
		return err
	})
}

// Lookup implements presence.Directory.
func (d *Directory) Lookup(ctx context.Context, login string) (a presence.Address, err error) {
	err = d.call(ctx, "lookup", func(ctx context.Context) error {
		cmds, err := d.run(ctx, command("GET", d.addressKey(login)))
		if err != nil {
			return err
		}
		v, err := cmds[0].Text()
		if errors.Is(err, goredis.Nil) {
			return fmt.Errorf("looking up %s: %w", login, presence.ErrUnknown)
		}
		a, err = parseAddress(login, v)
		return err
	})
	return a, err
}

// parseAddress reads "seen json".
func parseAddress(login, v string) (presence.Address, error) {
	seen, rest, _ := strings.Cut(v, " ")
	at, err1 := strconv.ParseInt(seen, 10, 64)
	var s sighting
	if err := errors.Join(err1, json.Unmarshal([]byte(rest), &s)); err != nil {
		return presence.Address{}, fmt.Errorf("reading the address of %s: %w", login, err)
	}
	return presence.Address{Login: login, IP: s.IP, Host: s.Host, Source: s.Source, Seen: time.UnixMilli(at)}, nil
}

// Addresses implements presence.Directory. It reads the logins of recentKey.
func (d *Directory) Addresses(ctx context.Context, limit int) (as []presence.Address, err error) {
	err = d.listing(ctx, "addresses", func(ctx context.Context) error {
		return d.eachRecent(ctx, limit, func(logins []string) error {
			steps := make([]step, len(logins))
			for i, login := range logins {
				steps[i] = command("GET", d.addressKey(login))
			}
			cmds, err := d.run(ctx, steps...)
			if err != nil {
				return err
			}
			for i, cmd := range cmds {
				v, err := cmd.Text()
				if errors.Is(err, goredis.Nil) {
					continue // expired
				}
				if err != nil {
					return err
				}
				if a, err := parseAddress(logins[i], v); err == nil {
					as = append(as, a)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(as, func(a, b presence.Address) int { return b.Seen.Compare(a.Seen) })
	return as[:min(max(0, limit), len(as))], nil
}
