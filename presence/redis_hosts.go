// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxHosts bounds the relay hosts of one Redis.
const maxHosts = 1000

// hostsKey is the zset of the relay hosts, also those whose grants outlive them.
func (r *Redis) hostsKey() string { return r.opt.Prefix + ":{hosts}" }

// rival is another process under this one's name.
type rival struct {
	host, id string
	beat     time.Time // of its record when it was first seen
	alive    bool      // its record was renewed since
}

// candidates are all hosts that this process may have.
func (o RedisOptions) candidates() (slots, error) {
	all := slices.Clone(o.Ranges)
	if len(all) == 0 {
		return nil, nil
	}
	for _, name := range o.Names {
		if !strings.EqualFold(name, all[0].Host) {
			all = append(all, HostRange{name, all[0].Range})
		}
	}
	return checkRanges(all)
}

// own returns this process' hosts and whether it is leaving.
func (r *Redis) own() (hosts slots, leaving bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ranges), r.left
}

// RelayHost implements Directory.
func (r *Redis) RelayHost() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ranges) == 0 {
		return ""
	}
	r.settled = true
	return r.ranges[0].Host
}

// settle chooses the primary name, unless it is settled: one that this process
// has already, else the first that no live process has.
func (r *Redis) settle(ctx context.Context) error {
	r.mu.Lock()
	settled, current := r.settled, ""
	if len(r.ranges) > 0 {
		current = r.ranges[0].Host
	}
	r.mu.Unlock()
	if settled {
		return nil
	}
	names := []string{current, r.opt.Ranges[0].Host}
	for _, name := range r.opt.Names {
		names = append(names, strings.ToLower(name))
	}
	records, err := r.records(ctx, names)
	if err != nil {
		return err
	}
	best := slices.IndexFunc(records, func(h Host) bool { return h.ID == r.opt.ID })
	if best < 0 {
		best = max(0, slices.IndexFunc(records, func(h Host) bool { return h.ID == "" }))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.settled {
		r.ranges[0].Host = names[best]
	}
	return nil
}

// taken notes who has the name of one of this process' hosts.
func (r *Redis) taken(host, record string) error {
	other, _, err := parseHost(host, record)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rival.host != host || r.rival.id != other.ID {
		r.rival = rival{host: host, id: other.ID, beat: other.Heartbeat}
		r.opt.Log("another relay host has this one's name; nothing is granted until its record expires", "host", host, "id", other.ID)
	}
	r.rival.alive = !other.Heartbeat.Equal(r.rival.beat)
	return fmt.Errorf("%s: %w", host, ErrNameTaken)
}

// unrivalled notes that this process has its names.
func (r *Redis) unrivalled() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rival.id != "" {
		r.opt.Log("this relay host has its name now", "host", r.rival.host)
	}
	r.rival, r.settled = rival{}, true
}

// refused is the error of who may not grant ports.
func (r *Redis) refused() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rival.id != "" {
		return fmt.Errorf("%s: %w", r.rival.host, ErrNameTaken)
	}
	return nil
}

// Ready waits for the first answer of Redis, or the end of ctx, and returns
// ErrNameTaken when another process has the name of one of this one's hosts.
// While that may be the record of a machine that was replaced, which expires, it
// waits until ctx ends.
func (r *Redis) Ready(ctx context.Context) error {
	if len(r.opt.Ranges) == 0 {
		return nil
	}
	for {
		r.mu.Lock()
		ready, alive, beaten := r.ready, r.rival.alive, r.beaten
		r.mu.Unlock()
		switch {
		case ready:
			return nil
		case alive:
			return r.refused()
		}
		select {
		case <-beaten:
		case <-r.stop:
			return fmt.Errorf("%w: closed", ErrUnavailable)
		case <-ctx.Done():
			return r.refused()
		}
	}
}

// records reads the records of hosts; one that is gone has no ID.
func (r *Redis) records(ctx context.Context, names []string) ([]Host, error) {
	steps := make([]step, len(names))
	for i, name := range names {
		steps[i] = command("GET", r.hostKeys(name)[0])
	}
	cmds, err := r.run(ctx, steps...)
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, len(names))
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
func parseHost(name, record string) (h Host, left bool, err error) {
	f := strings.Fields(record)
	if len(f) < 4 {
		return h, false, fmt.Errorf("reading the record of %s: %w", name, errReply)
	}
	started, err1 := strconv.ParseInt(f[2], 10, 64)
	beat, err2 := strconv.ParseInt(f[3], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return h, false, fmt.Errorf("reading the record of %s: %w", name, err)
	}
	return Host{Name: name, ID: f[1], Ports: f[0], Started: time.UnixMilli(started), Heartbeat: time.UnixMilli(beat)},
		len(f) > 4, nil
}

// allHosts are the names of hostsKey.
func (r *Redis) allHosts(ctx context.Context) ([]string, error) {
	cmds, err := r.run(ctx, command("ZRANGE", r.hostsKey(), 0, -1))
	if err != nil {
		return nil, err
	}
	return cmds[0].StringSlice()
}

// Hosts implements Directory.
func (r *Redis) Hosts(ctx context.Context) (hs []Host, err error) {
	err = r.call(ctx, "hosts", func(ctx context.Context) error {
		names, err := r.allHosts(ctx)
		if err != nil || len(names) == 0 {
			return err
		}
		hs, err = r.records(ctx, names)
		return err
	})
	hs = slices.DeleteFunc(hs, func(h Host) bool { return h.ID == "" })
	slices.SortFunc(hs, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return hs, err
}

// Leave implements Directory. When Redis does not answer, the keeper says it
// later.
func (r *Redis) Leave(ctx context.Context) error {
	r.mu.Lock()
	r.left = true
	r.mu.Unlock()
	return r.call(ctx, "leave", func(ctx context.Context) error {
		if err := r.refused(); err != nil {
			return err
		}
		own, _ := r.own()
		_, err := r.heartbeat(ctx, own, "beat")
		return err
	})
}

// farewell removes the records of hosts that left, so that their names are free.
func (r *Redis) farewell() {
	own, left := r.own()
	if !left || r.refused() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.opt.Timeout)
	defer cancel()
	_, _ = r.heartbeat(ctx, own, "end") // else they expire
}
