// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Connect implements Directory.
func (l *Local) Connect(ctx context.Context, d Device) (err error) {
	defer l.meter.done("connect", time.Now(), &err)
	if err := checkDevice(d); err != nil {
		return err
	}
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	now := time.Now()
	d.Host, d.Name, d.Heartbeat = cut(d.Host), cut(d.Name), now
	u := l.renew(Address{Login: d.Login, IP: d.IP, Host: d.Host, Source: d.Source, Seen: now}, now)
	old := u.devices[d.ID]
	switch {
	case !d.Connected.IsZero():
		d.Connected = now.Add(-age(now, d.Connected))
	case old != nil && now.Sub(old.Heartbeat) <= l.opt.TTL.Device:
		d.Connected = old.Connected
	default:
		d.Connected = now
	}
	if old != nil {
		old.Device = d
		l.beats.MoveToBack(old.elem)
	} else {
		if len(u.devices) >= maxDevices {
			l.disconnect(u, oldestDevice(u.devices))
		}
		if u.devices == nil {
			u.devices = make(map[string]*device)
		}
		n := &device{Device: d}
		n.elem = l.beats.PushBack(n)
		u.devices[d.ID] = n
	}
	l.markDevice(deviceKey{d.Login, d.ID})
	return nil
}

func checkDevice(d Device) error {
	if d.ID == "" || len(d.ID) > maxText {
		return fmt.Errorf("connecting a device of %s: its id has not 1 to %d bytes", d.Login, maxText)
	}
	return checkLogin(d.Login)
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

// Disconnect implements Directory.
func (l *Local) Disconnect(ctx context.Context, login, id string) (err error) {
	defer l.meter.done("disconnect", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.mu.Unlock()
	if u := l.logins[login]; u != nil && u.devices[id] != nil {
		l.disconnect(u, u.devices[id])
	}
	return nil
}

func (l *Local) disconnect(u *login, d *device) {
	l.beats.Remove(d.elem)
	delete(u.devices, d.ID)
	l.markDevice(deviceKey{d.Login, d.ID})
}

// Devices implements Directory.
func (l *Local) Devices(ctx context.Context, login string) (ds []Device, err error) {
	defer l.meter.done("devices", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	defer l.mu.Unlock()
	now := time.Now()
	if u := l.logins[login]; u != nil {
		for _, d := range u.devices {
			if now.Sub(d.Heartbeat) <= l.opt.TTL.Device {
				ds = append(ds, d.Device)
			}
		}
	}
	sortDevices(ds)
	return ds, nil
}

// sortDevices puts the device that connected first in front.
func sortDevices(ds []Device) {
	slices.SortFunc(ds, func(a, b Device) int {
		return cmp.Or(a.Connected.Compare(b.Connected), cmp.Compare(a.ID, b.ID))
	})
}

// AllDevices implements Directory.
func (l *Local) AllDevices(ctx context.Context, limit int) (ds []Device, err error) {
	defer l.meter.done("all_devices", time.Now(), &err)
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	for e := l.beats.Back(); e != nil; e = e.Prev() {
		d := e.Value.(*device)
		if now.Sub(d.Heartbeat) > l.opt.TTL.Device {
			break
		}
		ds = append(ds, d.Device)
	}
	l.mu.Unlock()
	return newestDevices(ds, limit), nil
}

// newestDevices returns the devices that connected last, at most limit.
func newestDevices(ds []Device, limit int) []Device {
	slices.SortFunc(ds, func(a, b Device) int {
		return cmp.Or(b.Connected.Compare(a.Connected), cmp.Compare(a.Login, b.Login), cmp.Compare(a.ID, b.ID))
	})
	return ds[:min(max(0, limit), len(ds))]
}
