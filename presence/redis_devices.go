// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Connect implements Directory.
func (r *Redis) Connect(ctx context.Context, d Device) error {
	if err := checkDevice(d); err != nil {
		return err
	}
	return r.call(ctx, "connect", func(ctx context.Context) error {
		s := sighting{Source: d.Source, IP: d.IP, Host: cut(d.Host)}
		address := s.String()
		s.Name, s.Relay, s.Away = cut(d.Name), cut(d.Relay), d.Away
		since := int64(-1)
		if !d.Connected.IsZero() {
			since = ms(age(time.Now(), d.Connected))
		}
		_, err := r.run(ctx, step{connectScript, []string{r.addressKey(d.Login), r.devicesKey(d.Login)}, []any{
			address, ms(r.opt.TTL.Address), d.ID, s.String(), since, ms(r.opt.TTL.Device), maxDevices,
		}})
		if err == nil {
			r.recent.add(d.Login, time.Now())
		}
		return err
	})
}

// Disconnect implements Directory.
func (r *Redis) Disconnect(ctx context.Context, login, id string) error {
	return r.call(ctx, "disconnect", func(ctx context.Context) error {
		_, err := r.run(ctx, command("HDEL", r.devicesKey(login), id))
		return err
	})
}

func (r *Redis) devicesStep(login string) step {
	return step{devicesScript, []string{r.devicesKey(login)}, []any{ms(r.opt.TTL.Device)}}
}

// Devices implements Directory.
func (r *Redis) Devices(ctx context.Context, login string) (ds []Device, err error) {
	err = r.call(ctx, "devices", func(ctx context.Context) error {
		cmds, err := r.run(ctx, r.devicesStep(login))
		if err == nil {
			ds, err = parseDevices(login, cmds[0])
		}
		return err
	})
	sortDevices(ds)
	return ds, err
}

// parseDevices reads the reply of devices.lua.
func parseDevices(login string, cmd *redis.Cmd) (ds []Device, err error) {
	pairs, err := cmd.StringSlice()
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		beat, rest, _ := strings.Cut(pairs[i+1], " ")
		a, err1 := parseAddress(login, rest)
		at, err2 := strconv.ParseInt(beat, 10, 64)
		_, text, _ := strings.Cut(rest, " ")
		var s sighting
		if errors.Join(err1, err2, json.Unmarshal([]byte(text), &s)) != nil {
			continue
		}
		ds = append(ds, Device{ID: pairs[i], Login: login, Source: s.Source, IP: s.IP, Host: s.Host, Name: s.Name,
			Relay: s.Relay, Away: s.Away, Connected: a.Seen, Heartbeat: time.UnixMilli(at)})
	}
	return ds, nil
}

// AllDevices implements Directory. A connected device has heartbeats, so its
// login is among those of recentKey.
func (r *Redis) AllDevices(ctx context.Context, limit int) (ds []Device, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	err = r.listing(ctx, "all_devices", func(ctx context.Context) error {
		return r.eachRecent(ctx, maxRecent, func(logins []string) error {
			steps := make([]step, len(logins))
			for i, login := range logins {
				steps[i] = r.devicesStep(login)
			}
			cmds, err := r.run(ctx, steps...)
			if err != nil {
				return err
			}
			for i, cmd := range cmds {
				more, err := parseDevices(logins[i], cmd)
				if err != nil {
					return err
				}
				ds = append(ds, more...)
			}
			return nil
		})
	})
	return newestDevices(ds, limit), err
}
