// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// maxHosts bounds the relay hosts of one Redis.
const maxHosts = 1000

// hostsKey is the zset of the relay hosts, also those whose grants outlive them.
func (d *Directory) hostsKey() string { return d.opt.Prefix + ":{hosts}" }

// rival is another process under this one's name.
type rival struct {
	host, id string
	beat     time.Time // of its record when it was first seen
	alive    bool      // its record was renewed since
}

// own returns this process' hosts and whether it is leaving.
func (d *Directory) own() (hosts presence.HostRanges, leaving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.ranges), d.left
}

// RelayHost implements presence.Directory.
func (d *Directory) RelayHost() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ranges) == 0 {
		return ""
	}
	d.settled = true
	return d.ranges[0].Host
}

// settle chooses the primary name, unless it is settled: one that this process
// has already, else the first that no live process has.
func (d *Directory) settle(ctx context.Context) error {
	d.mu.Lock()
	settled, current := d.settled, ""
	if len(d.ranges) > 0 {
		current = d.ranges[0].Host
	}
	d.mu.Unlock()
	if settled {
		return nil
	}
	names := []string{current, d.opt.Ranges[0].Host}
	for _, name := range d.opt.Names {
		names = append(names, strings.ToLower(name))
	}
	records, err := d.records(ctx, names)
	if err != nil {
		return err
	}
	best := slices.IndexFunc(records, func(h presence.Host) bool { return h.ID == d.opt.ID })
	if best < 0 {
		best = max(0, slices.IndexFunc(records, func(h presence.Host) bool { return h.ID == "" }))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.settled {
		d.ranges[0].Host = names[best]
	}
	return nil
}

// taken notes the process that has the name of one of this process' hosts.
func (d *Directory) taken(host, record string) error {
	other, _, err := parseHost(host, record)
	if err != nil {
		return err
	}
	d.mu.Lock()
	news := d.rival.host != host || d.rival.id != other.ID
	if news {
		d.rival = rival{host: host, id: other.ID, beat: other.Heartbeat}
	}
	d.rival.alive = !other.Heartbeat.Equal(d.rival.beat)
	d.mu.Unlock()
	if news {
		d.opt.Log.Error("another relay host has this one's name; nothing is granted until its record expires",
			"relay", host, "id", other.ID)
	}
	return fmt.Errorf("%s: %w", host, presence.ErrNameTaken)
}

// unrivalled notes that this process has its names.
func (d *Directory) unrivalled() {
	d.mu.Lock()
	before := d.rival
	d.rival, d.settled = rival{}, true
	d.mu.Unlock()
	if before.id != "" {
		d.opt.Log.Info("this relay host has its name now", "relay", before.host)
	}
}

// refused is the error of a process that may not grant ports.
func (d *Directory) refused() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rival.id != "" {
		return fmt.Errorf("%s: %w", d.rival.host, presence.ErrNameTaken)
	}
	return nil
}

// startWait is how long a start waits for Redis to say whether this process may
// have its names.
const startWait = 2 * time.Second

// Start waits a moment for Redis to say whether this process may have its
// names; without an answer it goes on. When another process has one of them,
// Start waits until its record would have expired, as that of a machine that was
// replaced does, and then returns ErrNameTaken.
func (d *Directory) Start() error {
	ready := func(wait time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		return d.Ready(ctx)
	}
	err := ready(startWait)
	if errors.Is(err, presence.ErrNameTaken) {
		wait := d.hostTTL() + startWait
		d.opt.Log.Warn("waiting whether the relay host of this name is alive", "relay", d.RelayHost(), "for", wait)
		err = ready(wait)
	}
	return err
}

// Ready waits for the first answer of Redis, or the end of ctx, and returns
// ErrNameTaken when another process has the name of one of this one's hosts.
// While that may be the record of a machine that was replaced, which expires, it
// waits until ctx ends.
func (d *Directory) Ready(ctx context.Context) error {
	if len(d.opt.Ranges) == 0 {
		return nil
	}
	for {
		d.mu.Lock()
		ready, alive, answered := d.ready, d.rival.alive, d.answered
		d.mu.Unlock()
		switch {
		case ready:
			return nil
		case alive:
			return d.refused()
		}
		select {
		case <-answered:
		case <-d.life.Done():
			return fmt.Errorf("%w: closed", presence.ErrUnavailable)
		case <-ctx.Done():
			return d.refused()
		}
	}
}

// records reads the records of hosts; one that is gone has no ID.
func (d *Directory) records(ctx context.Context, names []string) ([]presence.Host, error) {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = command("GET", d.hostKeys(name)[0])
	}
	cmds, err := d.run(ctx, steps...)
	if err != nil {
		return nil, err
	}
	hosts := make([]presence.Host, len(names))
	for i, cmd := range cmds {
		text, err := cmd.Text()
		if err != nil {
			continue
		}
		if h, left, err := parseHost(names[i], text); err == nil && !left {
			hosts[i] = h
		}
	}
	return hosts, nil
}

// parseHost reads a record: "lo-hi id started heartbeat", then "left" perhaps.
func parseHost(name, record string) (h presence.Host, left bool, err error) {
	f := strings.Fields(record)
	if len(f) < 4 {
		return h, false, fmt.Errorf("reading the record of %s: %w", name, errReply)
	}
	started, err1 := strconv.ParseInt(f[2], 10, 64)
	beat, err2 := strconv.ParseInt(f[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return h, false, fmt.Errorf("reading the record of %s: %w", name, err)
	}
	return presence.Host{Name: name, ID: f[1], Ports: f[0], Started: time.UnixMilli(started),
			Heartbeat: time.UnixMilli(beat)},
		len(f) > 4, nil
}

// allHosts are the names of hostsKey.
func (d *Directory) allHosts(ctx context.Context) ([]string, error) {
	cmds, err := d.run(ctx, command("ZRANGE", d.hostsKey(), 0, -1))
	if err != nil {
		return nil, err
	}
	return cmds[0].StringSlice()
}

// Hosts implements presence.Directory.
func (d *Directory) Hosts(ctx context.Context) (hs []presence.Host, err error) {
	err = d.call(ctx, "hosts", func(ctx context.Context) error {
		names, err := d.allHosts(ctx)
		if err != nil || len(names) == 0 {
			return err
		}
		hs, err = d.records(ctx, names)
		return err
	})
	hs = slices.DeleteFunc(hs, func(h presence.Host) bool { return h.ID == "" })
	shared.SortHosts(hs)
	return hs, err
}

// Leave implements presence.Hosts. When Redis does not answer, a later heartbeat
// says it.
func (d *Directory) Leave(ctx context.Context) error {
	d.mu.Lock()
	d.left = true
	d.mu.Unlock()
	return d.call(ctx, "leave", func(ctx context.Context) error {
		if err := d.refused(); err != nil {
			return err
		}
		own, _ := d.own()
		_, err := d.heartbeat(ctx, own, "beat")
		return err
	})
}

// farewell removes the records of hosts that left, so that their names are free.
func (d *Directory) farewell() {
	own, left := d.own()
	if !left || d.refused() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.opt.Timeout)
	defer cancel()
	_, _ = d.heartbeat(ctx, own, "end") // else they expire
}
