// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// step is a script, or a command where script is nil, with what it is called
// with. Its keys share a slot.
type step struct {
	script *redis.Script
	keys   []string
	args   []any // of a command all of it, the name first and then the key
}

// command is a step without a script.
func command(name, key string, args ...any) step {
	return step{keys: []string{key}, args: append([]any{name, key}, args...)}
}

// call runs one operation within the time a mail may wait for it.
func (r *Redis) call(ctx context.Context, op string, f func(context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	return r.listing(inner, op, f)
}

// listing runs one operation within the time its context gives.
func (r *Redis) listing(ctx context.Context, op string, f func(context.Context) error) (err error) {
	defer r.meter.done(op, time.Now(), &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-r.stop:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	default:
	}
	err = f(ctx)
	for _, known := range []error{nil, ErrUnknown, ErrNoPort, ErrUnavailable, ErrNameTaken, context.Canceled} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// tryAgain is how long to wait while a slot moves: for its other keys, or for
// the servers of the Cluster to agree where it is.
const tryAgain = 2 * time.Millisecond

// run runs steps in one round trip, or two where a server does not have a
// script yet. It returns the first error that is not redis.Nil. When a server
// does not answer, calls on its keys fail at once from here on.
func (r *Redis) run(ctx context.Context, steps ...step) ([]*redis.Cmd, error) {
	if err := r.reachable(ctx, steps...); err != nil {
		return make([]*redis.Cmd, len(steps)), err
	}
	began := time.Now()
	cmds := make([]*redis.Cmd, len(steps))
	todo := make([]int, len(steps))
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		r.send(ctx, steps, cmds, todo, (*redis.Script).EvalSha)
		if missing := failed(cmds, todo, "NOSCRIPT"); len(missing) > 0 {
			r.send(ctx, steps, cmds, missing, (*redis.Script).Eval)
		}
		if todo = failed(cmds, todo, "TRYAGAIN", "MOVED", "ASK"); len(todo) > 0 {
			select {
			case <-time.After(tryAgain):
			case <-ctx.Done():
				todo = nil
			}
		}
	}
	err := firstError(cmds...)
	if r.blames(err, time.Since(began)) {
		r.lost(steps)
	}
	return cmds, err
}

// send sends some of the steps and fills in their commands.
func (r *Redis) send(ctx context.Context, steps []step, cmds []*redis.Cmd, which []int,
	eval func(*redis.Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd) {
	type sender interface {
		redis.Scripter
		Do(ctx context.Context, args ...any) *redis.Cmd
	}
	each := func(c sender) {
		for _, i := range which {
			if s := steps[i]; s.script != nil {
				cmds[i] = eval(s.script, ctx, c, s.keys, s.args...)
			} else {
				cmds[i] = c.Do(ctx, s.args...)
			}
		}
	}
	if len(which) == 1 {
		each(r.client)
		return
	}
	// An error of the pipeline is also the error of a command.
	_, _ = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		each(p)
		return nil
	})
}

// failed returns which of the commands have an error of Redis with a prefix;
// they were not executed.
func failed(cmds []*redis.Cmd, which []int, prefixes ...string) (these []int) {
	for _, i := range which {
		for _, prefix := range prefixes {
			if redis.HasErrorPrefix(cmds[i].Err(), prefix) {
				these = append(these, i)
				break
			}
		}
	}
	return these
}

func firstError(cmds ...*redis.Cmd) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}

// blames says whether an error, after a time, says that a server is gone.
func (r *Redis) blames(err error, after time.Duration) bool {
	var reply redis.Error
	switch {
	case err == nil, errors.As(err, &reply), errors.Is(err, context.Canceled):
		return false // an answer, if not the one that is wanted, delays nobody
	case errors.Is(err, redis.ErrPoolTimeout):
		return false // too many calls at once
	case errors.Is(err, context.DeadlineExceeded) && after < r.opt.Timeout/4:
		return false // the caller had no time to wait for an answer
	}
	return true
}
