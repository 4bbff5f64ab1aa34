// SPDX-License-Identifier: GPL-3.0-or-later

package local

import (
	"container/list"
	"context"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// device is a connection of a login.
type device struct {
	presence.Device
	elem *list.Element
}

// Connect implements presence.Directory.
func (d *Directory) Connect(ctx context.Context, dev presence.Device) (err error) {
	defer d.meter.Done("connect", time.Now(), &err)
	if dev, err = shared.CheckDevice(dev); err != nil {
		return err
	}
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	now := time.Now()
	dev.Heartbeat = now
	u := d.renew(presence.Address{Login: dev.Login, IP: dev.IP, Host: dev.Host, Source: dev.Source, Seen: now}, now)
	old := u.devices[dev.ID]
	switch {
	case !dev.Connected.IsZero():
		dev.Connected = now.Add(-shared.Age(now, dev.Connected))
	case old != nil && now.Sub(old.Heartbeat) <= d.opt.TTL.Device:
		dev.Connected = old.Connected
	default:
		dev.Connected = now
	}
	if old != nil {
		old.Device = dev
		d.beats.MoveToBack(old.elem)
	} else {
		if len(u.devices) >= shared.MaxDevices {
			d.disconnect(u, oldestDevice(u.devices))
		}
		if u.devices == nil {
			u.devices = make(map[string]*device)
		}
		n := &device{Device: dev}
		n.elem = d.beats.PushBack(n)
		u.devices[dev.ID] = n
	}
	return nil
}

func oldestDevice(devices map[string]*device) *device {
	var oldest *device
	for _, d := range devices {
		if oldest == nil || d.Heartbeat.Before(oldest.Heartbeat) {
			oldest = d
		}
	}
	return oldest
}

// Disconnect implements presence.Directory.
func (d *Directory) Disconnect(ctx context.Context, login, id string) (err error) {
	defer d.meter.Done("disconnect", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if u := d.logins[login]; u != nil && u.devices[id] != nil {
		d.disconnect(u, u.devices[id])
	}
	return nil
}

func (d *Directory) disconnect(u *login, dev *device) {
	d.beats.Remove(dev.elem)
	delete(u.devices, dev.ID)
}

// Devices implements presence.Directory.
func (d *Directory) Devices(ctx context.Context, login string) (ds []presence.Device, err error) {
	defer d.meter.Done("devices", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	now := time.Now()
	if u := d.logins[login]; u != nil {
		for _, dev := range u.devices {
			if now.Sub(dev.Heartbeat) <= d.opt.TTL.Device {
				ds = append(ds, dev.Device)
			}
		}
	}
	shared.SortDevices(ds)
	return ds, nil
}

// AllDevices implements presence.Directory.
func (d *Directory) AllDevices(ctx context.Context, limit int) (ds []presence.Device, err error) {
	defer d.meter.Done("all_devices", time.Now(), &err)
	if err := d.lock(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	now := time.Now()
	for e := d.beats.Back(); e != nil; e = e.Prev() {
		dev := e.Value.(*device)
		if now.Sub(dev.Heartbeat) > d.opt.TTL.Device {
			break
		}
		ds = append(ds, dev.Device)
	}
	return shared.NewestDevices(ds, limit), nil
}
