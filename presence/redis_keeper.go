// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// keeperTimeout bounds one round of the keeper, which restores everything when
// Redis lost it.
const keeperTimeout = 10 * time.Second

// A host whose heartbeats stop for hostTTL is gone. That is shorter than the
// rest of any hold that is kept up, so a jump of Redis' clock that ends holds
// ends the host too, and the keeper makes the holds again before the next grant.
func (r *Redis) hostTTL() time.Duration   { return r.opt.TTL.Hold / 3 }
func (r *Redis) beatEvery() time.Duration { return min(HeartbeatEvery, r.opt.TTL.Hold/10) }

// keep is the keeper; it ends with Close.
func (r *Redis) keep() {
	defer close(r.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // ends with the keeper
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-timer.C:
		case <-r.kick:
		}
		timer.Reset(r.beat(ctx))
	}
}

// beat sends a heartbeat, tells those who wait in awaitHost, and says when the
// next is due.
func (r *Redis) beat(ctx context.Context) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, keeperTimeout)
	defer cancel()
	back := r.probe(ctx)
	ctx = context.WithValue(ctx, exempt{}, back)
	if len(back) > 0 {
		r.whole = false // it may have lost something
	}
	err := r.announce(ctx)
	taken := errors.Is(err, ErrNameTaken)
	r.report(err)
	if err != nil && !taken {
		// Other servers of a Cluster are of use without the hosts' own.
		own, _ := r.own()
		for _, h := range own {
			addr := r.node(ctx, r.hostKeys(h.Host)[0])
			back = slices.DeleteFunc(back, func(b string) bool { return b == addr })
		}
		r.found(back)
		return retryEvery
	}
	r.found(back)
	r.mu.Lock()
	r.ready = !taken
	close(r.beaten)
	r.beaten = make(chan struct{})
	alive := r.rival.alive
	r.mu.Unlock()
	r.note(ctx)
	if r.outages.any.Load() || taken && !alive { // a rival may be the record of a machine that is no more
		return retryEvery
	}
	return r.beatEvery()
}

// report logs when Redis begins to refuse heartbeats, as to a user without the
// rights, and when it takes them again.
func (r *Redis) report(err error) {
	var reply redis.Error
	refuses := errors.As(err, &reply)
	if refuses != r.refuses {
		r.refuses = refuses
		r.opt.Log("heartbeats to Redis", "ok", !refuses, "error", err)
	}
}

func (r *Redis) wakeKeeper() {
	select {
	case r.kick <- struct{}{}:
	default: // it is awake already
	}
}

// announce makes sure that Redis knows this process' hosts, with all their grants.
func (r *Redis) announce(ctx context.Context) error {
	if len(r.opt.Ranges) == 0 {
		return nil
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	own, _ := r.own()
	mode := "beat"
	if !r.known {
		mode = "look"
	}
	there, err := r.heartbeat(ctx, own, mode)
	if err != nil || (r.known && r.whole && there) {
		return err
	}
	for _, h := range own {
		if !r.known {
			if err := r.hostGrants(ctx, h.Host, r.memory.learn); err != nil {
				return err
			}
		}
		for page := range slices.Chunk(r.memory.all(h.Host), redisPage) {
			if err := r.restore(ctx, h.Host, page); err != nil {
				return err
			}
		}
	}
	if _, err := r.heartbeat(ctx, own, "announce"); err != nil {
		return err
	}
	if !r.known && r.journal != nil {
		r.journal.setPrimary(own[0].Host)
	}
	r.known, r.whole = true, true
	return nil
}

// note writes what listings read. Grants do not need it, so that its failure
// stops nothing: it is written with a later heartbeat.
func (r *Redis) note(ctx context.Context) {
	if len(r.opt.Ranges) > 0 && r.refused() == nil {
		own, _ := r.own()
		args := []any{r.keyLease(), maxHosts}
		for _, h := range own {
			args = append(args, h.Host)
		}
		_, _ = r.run(ctx, step{hostsScript, []string{r.hostsKey()}, args})
	}
	_ = r.noteRecent(ctx)
}

// heartbeat sends one for each host and says whether Redis knows them all.
func (r *Redis) heartbeat(ctx context.Context, own slots, mode string) (there bool, err error) {
	left := ""
	if _, leaving := r.own(); leaving {
		left = " left"
	}
	steps := make([]step, len(own))
	for i, h := range own {
		args := []any{mode, h.Range.String(), r.opt.ID, ms(time.Since(r.started)), ms(r.hostTTL()), r.keyLease(), left}
		for _, port := range h.Range.bad() {
			args = append(args, port)
		}
		steps[i] = r.hostStep(beatScript, h.Host, args...)
	}
	cmds, err := r.run(ctx, steps...)
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
			return false, r.taken(own[i].Host, reply[len(reply)-1])
		case "gone":
			there = false
		}
	}
	r.unrivalled()
	return there, nil
}

// awaitHost waits until the keeper has made sure that Redis knows this host.
func (r *Redis) awaitHost(ctx context.Context) error {
	r.mu.Lock()
	beaten := r.beaten
	r.mu.Unlock()
	r.wakeKeeper()
	select {
	case <-beaten:
		return r.refused()
	case <-r.stop:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("%w: restoring the grants: %w", ErrUnavailable, ctx.Err())
	}
}

// restore makes remembered grants of a host again where Redis lost them, and
// the pointers to them. Those on a server of a Cluster that does not answer are
// made when it is back, as everything is restored then.
func (r *Redis) restore(ctx context.Context, host string, page []remembered) error {
	now := time.Now()
	args := []any{r.keyLease(), r.opt.ID}
	var pointers []step
	for _, m := range page {
		args = append(args, m.port, m.login, ms(age(now, m.granted)), ms(age(now, m.used)),
			max(0, ms(m.heldUntil.Sub(now))))
		if p := r.pointerStep(m.login, "", host); r.reachable(ctx, p) == nil {
			pointers = append(pointers, p)
		}
	}
	if _, err := r.hostRun(ctx, restoreScript, host, args...); err != nil {
		return err
	}
	_, _ = r.run(ctx, pointers...)
	return nil
}
