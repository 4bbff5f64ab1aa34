// SPDX-License-Identifier: GPL-3.0-or-later

package presence

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

	"github.com/redis/go-redis/v9"
)

// sighting is what an address or a device holds beside its times.
type sighting struct {
	Source Source     `json:"s"`
	IP     netip.Addr `json:"i"`
	Host   string     `json:"h,omitempty"`
	Name   string     `json:"n,omitempty"`
	Relay  string     `json:"r,omitempty"`
	Away   bool       `json:"w,omitempty"`
}

func (s sighting) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings
	}
	return string(b)
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// Renew implements Directory.
func (r *Redis) Renew(ctx context.Context, a Address) error {
	if err := checkLogin(a.Login); err != nil {
		return err
	}
	return r.call(ctx, "renew", func(ctx context.Context) error {
		_, err := r.run(ctx, step{renewScript, []string{r.addressKey(a.Login)}, []any{
			ms(age(time.Now(), a.Seen)),
			sighting{Source: a.Source, IP: a.IP, Host: cut(a.Host)}.String(),
			ms(r.opt.TTL.Address),
		}})
		if err == nil {
			r.recent.add(a.Login, a.Seen)
		}
		return err
	})
}

// Lookup implements Directory.
func (r *Redis) Lookup(ctx context.Context, login string) (a Address, err error) {
	err = r.call(ctx, "lookup", func(ctx context.Context) error {
		cmds, err := r.run(ctx, command("GET", r.addressKey(login)))
		if err != nil {
			return err
		}
		v, err := cmds[0].Text()
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("looking up %s: %w", login, ErrUnknown)
		}
		a, err = parseAddress(login, v)
		return err
	})
	return a, err
}

// parseAddress reads "seen json".
func parseAddress(login, v string) (Address, error) {
	seen, rest, _ := strings.Cut(v, " ")
	at, err1 := strconv.ParseInt(seen, 10, 64)
	var s sighting
	if err := errors.Join(err1, json.Unmarshal([]byte(rest), &s)); err != nil {
		return Address{}, fmt.Errorf("reading the address of %s: %w", login, err)
	}
	return Address{Login: login, IP: s.IP, Host: s.Host, Source: s.Source, Seen: time.UnixMilli(at)}, nil
}

// Addresses implements Directory. It reads the logins of recentKey.
func (r *Redis) Addresses(ctx context.Context, limit int) (as []Address, err error) {
	err = r.listing(ctx, "addresses", func(ctx context.Context) error {
		return r.eachRecent(ctx, limit, func(logins []string) error {
			steps := make([]step, len(logins))
			for i, login := range logins {
				steps[i] = command("GET", r.addressKey(login))
			}
			cmds, err := r.run(ctx, steps...)
			if err != nil {
				return err
			}
			for i, cmd := range cmds {
				v, err := cmd.Text()
				if err != nil {
					continue // expired
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
	slices.SortFunc(as, func(a, b Address) int { return b.Seen.Compare(a.Seen) })
	return as[:min(max(0, limit), len(as))], nil
}
