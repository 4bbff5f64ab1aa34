// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// Connect implements presence.Directory.
func (d *Directory) Connect(ctx context.Context, dev presence.Device) error {
	dev, err := shared.CheckDevice(dev)
	if err != nil {
		return err
	}
	return d.call(ctx, "connect", func(ctx context.Context) error {
		s := sighting{Source: dev.Source, IP: dev.IP, Host: dev.Host}
		address := s.String()
		s.Name, s.Relay, s.Away, s.Direct = dev.Name, dev.Relay, dev.Away, dev.Direct
		since := int64(-1)
		if !dev.Connected.IsZero() {
			since = ms(shared.Age(time.Now(), dev.Connected))
		}
		_, err := d.run(ctx, step{connectScript, []string{d.addressKey(dev.Login), d.devicesKey(dev.Login)}, []any{
			address, ms(d.opt.TTL.Address), dev.ID, s.String(), since, ms(d.opt.TTL.Device), shared.MaxDevices,
		}})
		if err == nil {
			d.recent.add(dev.Login, time.Now())
		}
		return err
	})
}

// Disconnect implements presence.Directory.
func (d *Directory) Disconnect(ctx context.Context, login, id string) error {
	return d.call(ctx, "disconnect", func(ctx context.Context) error {
		_, err := d.run(ctx, command("HDEL", d.devicesKey(login), id))
		return err
	})
}

func (d *Directory) devicesStep(login string) step {
	return step{devicesScript, []string{d.devicesKey(login)}, []any{ms(d.opt.TTL.Device)}}
}

// Devices implements presence.Directory.
func (d *Directory) Devices(ctx context.Context, login string) (ds []presence.Device, err error) {
	err = d.call(ctx, "devices", func(ctx context.Context) error {
		cmds, err := d.run(ctx, d.devicesStep(login))
		if err == nil {
			ds, err = parseDevices(login, cmds[0])
		}
		return err
	})
	shared.SortDevices(ds)
	return ds, err
}

// parseDevices reads the reply of devices.lua.
func parseDevices(login string, cmd *goredis.Cmd) (ds []presence.Device, err error) {
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
		ds = append(ds, presence.Device{ID: pairs[i], Login: login, Source: s.Source, IP: s.IP, Host: s.Host,
			Name: s.Name, Relay: s.Relay, Away: s.Away, Direct: s.Direct, Connected: a.Seen, Heartbeat: time.UnixMilli(at)})
	}
	return ds, nil
}

// AllDevices implements presence.Directory. A connected device has heartbeats, so its
// login is among those of recentKey.
func (d *Directory) AllDevices(ctx context.Context, limit int) (ds []presence.Device, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	err = d.listing(ctx, "all_devices", func(ctx context.Context) error {
		return d.eachRecent(ctx, maxRecent, func(logins []string) error {
			steps := make([]step, len(logins))
			for i, login := range logins {
				steps[i] = d.devicesStep(login)
			}
			cmds, err := d.run(ctx, steps...)
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
	return shared.NewestDevices(ds, limit), err
}
