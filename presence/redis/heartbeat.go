// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// roundTimeout bounds one round of the heartbeat goroutine, which restores
// everything when Redis lost it.
const roundTimeout = 10 * time.Second

// A host whose heartbeats stop for hostTTL is gone. That is shorter than the
// rest of any hold that is kept up, so a jump of Redis' clock that ends holds
// ends the host too, and the holds are made again before the next grant.
func (d *Directory) hostTTL() time.Duration   { return d.opt.TTL.Hold / 3 }
func (d *Directory) beatEvery() time.Duration { return min(presence.HeartbeatEvery, d.opt.TTL.Hold/10) }

// keep sends heartbeats until Close.
func (d *Directory) keep() {
	defer close(d.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.life.Done():
			return
		case <-timer.C:
		case <-d.wake:
		}
		next := retryEvery
		shared.Guard(d.opt.Log, "sending heartbeats to Redis", func() { next = d.beat(d.life) })
		timer.Reset(next)
	}
}

// beat sends a heartbeat, tells those who wait in awaitHost, and says when the
// next is due.
func (d *Directory) beat(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	back := d.probe(ctx)
	ctx = context.WithValue(ctx, exempt{}, back)
	if len(back) > 0 {
		d.whole = false // it may have lost something
	}
	err := d.announce(ctx)
	taken := errors.Is(err, presence.ErrNameTaken)
	d.report(err)
	if err != nil && !taken {
		// Other servers of a Cluster are of use without the hosts' own.
		own, _ := d.own()
		for _, h := range own {
			addr := d.node(ctx, d.hostKeys(h.Host)[0])
			back = slices.DeleteFunc(back, func(b string) bool { return b == addr })
		}
		d.found(back)
		return retryEvery
	}
	d.found(back)
	alive := d.tellAnswered(!taken)
	d.note(ctx)
	if d.outages.any.Load() || taken && !alive { // a rival may be the record of a machine that is no more
		return retryEvery
	}
	return d.beatEvery()
}

// tellAnswered tells those who wait in awaitHost that a heartbeat was taken, or
// refused, and says whether a rival is alive.
func (d *Directory) tellAnswered(ready bool) (alive bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = ready
	close(d.answered)
	d.answered = make(chan struct{})
	return d.rival.alive
}

// report logs when Redis begins to refuse heartbeats, as to a user without the
// rights, and when it takes them again.
func (d *Directory) report(err error) {
	var reply goredis.Error
	refuses := errors.As(err, &reply)
	if refuses != d.refuses {
		d.refuses = refuses
		d.opt.Log.Error("heartbeats to Redis", "ok", !refuses, "err", err)
	}
}

func (d *Directory) wakeHeartbeats() {
	select {
	case d.wake <- struct{}{}:
	default: // it is awake already
	}
}

// announce makes sure that Redis knows this process' hosts, with all their grants.
func (d *Directory) announce(ctx context.Context) error {
	if len(d.opt.Ranges) == 0 {
		return nil
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	own, _ := d.own()
	mode := "beat"
	if !d.known {
		mode = "look"
	}
	there, err := d.heartbeat(ctx, own, mode)
	if err != nil || (d.known && d.whole && there) {
		return err
	}
	for _, h := range own {
		if !d.known {
			if err := d.hostGrants(ctx, h.Host, d.memory.learn); err != nil {
				return err
			}
		}
		for page := range slices.Chunk(d.memory.all(h.Host), pageSize) {
			if err := d.restore(ctx, h.Host, page); err != nil {
				return err
			}
		}
	}
	if _, err := d.heartbeat(ctx, own, "announce"); err != nil {
		return err
	}
	if !d.known && d.journal != nil {
		d.journal.setPrimary(own[0].Host)
	}
	d.known, d.whole = true, true
	return nil
}

// note writes the entries that listings read. Grants do not need them, so that a
// failure stops nothing: they are written with a later heartbeat.
func (d *Directory) note(ctx context.Context) {
	if len(d.opt.Ranges) > 0 && d.refused() == nil {
		own, _ := d.own()
		args := []any{d.keyLease(), maxHosts}
		for _, h := range own {
			args = append(args, h.Host)
		}
		_, _ = d.run(ctx, step{hostsScript, []string{d.hostsKey()}, args})
	}
	_ = d.noteRecent(ctx)
}

// heartbeat sends one for each host and says whether Redis knows them all.
func (d *Directory) heartbeat(ctx context.Context, own presence.HostRanges, mode string) (there bool, err error) {
	left := ""
	if _, leaving := d.own(); leaving {
		left = " left"
	}
	steps := make([]step, len(own))
	for i, h := range own {
		args := []any{mode, h.Range.String(), d.opt.ID, ms(time.Since(d.started)), ms(d.hostTTL()), d.keyLease(),
			left}
		for _, port := range h.Range.Bad() {
			args = append(args, port)
		}
		steps[i] = d.hostStep(beatScript, h.Host, args...)
	}
	cmds, err := d.run(ctx, steps...)
	if err != nil {
		return false, err
	}
	there = true
	for i, cmd := range cmds {
		reply, err := cmd.StringSlice()
		if err != nil || len(reply) == 0 {
			return false, errors.Join(err, errReply)
		}
		switch reply[0] {
		case "taken":
			return false, d.taken(own[i].Host, reply[len(reply)-1])
		case "gone":
			there = false
		}
	}
	d.unrivalled()
	return there, nil
}

// awaitHost waits until the heartbeat goroutine has made sure that Redis knows
// this host, and returns errAgain then.
func (d *Directory) awaitHost(ctx context.Context) error {
	d.mu.Lock()
	answered := d.answered
	d.mu.Unlock()
	d.wakeHeartbeats()
	select {
	case <-answered:
		return cmp.Or(d.refused(), errAgain)
	case <-d.life.Done():
		return fmt.Errorf("%w: closed", presence.ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("%w: restoring the grants: %w", presence.ErrUnavailable, ctx.Err())
	}
}

// restore makes remembered grants of a host again where Redis lost them, and
// the pointers to them. Those on a server of a Cluster that does not answer are
// made when it is back, as everything is restored then.
func (d *Directory) restore(ctx context.Context, host string, page []remembered) error {
	now := time.Now()
	args := []any{d.keyLease(), d.opt.ID}
	var pointers []step
	for _, m := range page {
		args = append(args, m.port, m.login, ms(shared.Age(now, m.granted)), ms(shared.Age(now, m.used)),
			max(0, ms(m.heldUntil.Sub(now))))
		if p := d.pointerStep(m.login, "", host); d.reachable(ctx, p) == nil {
			pointers = append(pointers, p)
		}
	}
	if _, err := d.hostRun(ctx, restoreScript, host, args...); err != nil {
		return err
	}
	_, _ = d.run(ctx, pointers...)
	return nil
}
