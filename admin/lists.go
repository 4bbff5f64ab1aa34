// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"

	"github.com/chmail/chmail/presence"
)

// listLimit bounds what Who and Grants read.
const listLimit = 100_000

// Hosts implements Lists: the relay hosts that are up.
func (o *Owner) Hosts(ctx context.Context) ([]presence.Host, error) {
	d, err := o.Parts.Presence()
	if err != nil {
		return nil, err
	}
	hosts, err := d.Hosts(ctx)
	return notNil(hosts), err
}

// Grants implements Lists: the granted ports.
func (o *Owner) Grants(ctx context.Context) ([]Granted, error) {
	d, err := o.Parts.Presence()
	if err != nil {
		return nil, err
	}
	grants, err := d.Grants(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	hosts, err := d.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	alive := make(map[string]bool)
	for _, h := range hosts {
		alive[h.Name] = true
	}
	list := make([]Granted, len(grants))
	for i, g := range grants {
		list[i] = Granted{g, alive[g.Host]}
	}
	return list, nil
}

// Who implements Lists: where logins were seen last, their ports and devices.
func (o *Owner) Who(ctx context.Context) ([]Seen, error) {
	d, err := o.Parts.Presence()
	if err != nil {
		return nil, err
	}
	addresses, err := d.Addresses(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	devices, err := d.AllDevices(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	grants, err := d.Grants(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	list := make([]Seen, len(addresses))
	at := make(map[string]*Seen)
	for i, a := range addresses {
		list[i] = Seen{Address: a, Devices: []presence.Device{}}
		at[a.Login] = &list[i]
	}
	for _, d := range devices {
		if e := at[d.Login]; e != nil {
			e.Devices = append(e.Devices, d)
		}
	}
	for _, g := range grants {
		// A host that left may still have a grant that was made again elsewhere.
		if e := at[g.Login]; e != nil && (e.Grant == nil || g.Renewed.After(e.Grant.Renewed)) {
			e.Grant = &g
		}
	}
	return list, nil
}

// notNil lets an empty list be [] in JSON.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
