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

// step is a script, or a command where script is nil, with what it is called
// with. Its keys share a slot.
type step struct {
	script *script
	keys   []string
	args   []any // of a command all of it, the name first and then the key
}

// cmd is how the client sends it, a script by its hash or as its text.
func (s step) cmd(ctx context.Context, text bool) *redis.Cmd {
	if s.script == nil {
		return redis.NewCmd(ctx, s.args...)
	}
	args := make([]any, 0, 3+len(s.keys)+len(s.args))
	if text {
		args = append(args, "eval", s.script.text, len(s.keys))
	} else {
		args = append(args, "evalsha", s.script.hash, len(s.keys))
	}
	for _, key := range s.keys {
		args = append(args, key)
	}
	return redis.NewCmd(ctx, append(args, s.args...)...)
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
// script yet. It returns a command for every step, also with an error, which is
// the first that is not redis.Nil. When a server does not answer, calls on its
// keys fail at once from here on.
func (r *Redis) run(ctx context.Context, steps ...step) ([]*redis.Cmd, error) {
	cmds := make([]*redis.Cmd, len(steps))
	if err := r.reachable(ctx, steps...); err != nil {
		for i := range cmds {
			cmds[i] = failure(ctx, err)
		}
		return cmds, err
	}
	began := time.Now()
	todo := make([]int, len(steps))
	for i := range todo {
		todo[i] = i
	}
	for len(todo) > 0 {
		r.send(ctx, steps, cmds, todo, false)
		if missing := failed(cmds, todo, "NOSCRIPT"); len(missing) > 0 {
			r.send(ctx, steps, cmds, missing, true)
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
func (r *Redis) send(ctx context.Context, steps []step, cmds []*redis.Cmd, which []int, text bool) {
	sent := make([]*redis.Cmd, len(which))
	for n, i := range which {
		sent[n] = steps[i].cmd(ctx, text)
		cmds[i] = sent[n]
	}
	switch {
	case r.shares(ctx):
		if !r.share(ctx, sent) {
			for _, i := range which {
				cmds[i] = failure(ctx, ctx.Err())
			}
		}
	case len(sent) == 1:
		_ = r.client.Process(ctx, sent[0])
	default:
		// An error of the pipeline is also the error of a command.
		_, _ = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, cmd := range sent {
				_ = p.Process(ctx, cmd)
			}
			return nil
		})
	}
}

// failure is a command that was not sent.
func failure(ctx context.Context, err error) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// failed returns which of the commands have an error of Redis with a prefix;
// they were not executed.
func failed(cmds []*redis.Cmd, which []int, prefixes ...string) (these []int) {
	for _, i := range which {
		err := cmds[i].Err()
		if err != nil && err != redis.Nil && slices.ContainsFunc(prefixes, func(prefix string) bool { return redis.HasErrorPrefix(err, prefix) }) {
			these = append(these, i)
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
