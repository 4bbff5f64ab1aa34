// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
)

// step is a call of a script, or a command where script is nil. Its keys share a
// slot.
type step struct {
	script *script
	keys   []string
	args   []any // of a command all of it, the name first and then the key
}

// cmd is how the client sends it, a script by its hash or as its text.
func (s step) cmd(ctx context.Context, text bool) *goredis.Cmd {
	if s.script == nil {
		return goredis.NewCmd(ctx, s.args...)
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
	return goredis.NewCmd(ctx, append(args, s.args...)...)
}

// command is a step without a script.
func command(name, key string, args ...any) step {
	return step{keys: []string{key}, args: append([]any{name, key}, args...)}
}

// call runs one operation within the time a mail or a chat may wait for it.
func (d *Directory) call(ctx context.Context, op string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.opt.Timeout)
	defer cancel()
	return d.listing(ctx, op, f)
}

// listing runs one operation of an administrator, of any number of round trips,
// within the time its context gives.
func (d *Directory) listing(ctx context.Context, op string, f func(context.Context) error) (err error) {
	defer d.meter.Done(op, time.Now(), &err)
	if d.life.Err() != nil {
		return fmt.Errorf("%w: closed", presence.ErrUnavailable)
	}
	if err = ctx.Err(); err == nil {
		err = f(ctx)
	}
	for _, known := range []error{nil, presence.ErrUnknown, presence.ErrNoPort, presence.ErrUnavailable,
		presence.ErrNameTaken, context.Canceled} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", presence.ErrUnavailable, err)
}

// tryAgain is how long to wait while a slot moves: for its other keys, or for
// the servers of the Cluster to agree where it is.
const tryAgain = 2 * time.Millisecond

// run runs steps in one round trip, or two where a server does not have a
// script yet. It returns a command for every step, also with an error, which is
// the first that is not goredis.Nil. When a server does not answer, calls on its
// keys fail at once from here on.
func (d *Directory) run(ctx context.Context, steps ...step) ([]*goredis.Cmd, error) {
	cmds := make([]*goredis.Cmd, len(steps))
	if err := d.reachable(ctx, steps...); err != nil {
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
		d.send(ctx, steps, cmds, todo, false)
		if missing := failed(cmds, todo, "NOSCRIPT"); len(missing) > 0 {
			d.send(ctx, steps, cmds, missing, true)
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
	if d.blames(err, time.Since(began)) {
		d.lost(steps)
	}
	return cmds, err
}

// send sends some of the steps and fills in their commands.
func (d *Directory) send(ctx context.Context, steps []step, cmds []*goredis.Cmd, which []int, text bool) {
	sent := make([]*goredis.Cmd, len(which))
	for n, i := range which {
		sent[n] = steps[i].cmd(ctx, text)
		cmds[i] = sent[n]
	}
	if len(sent) == 1 {
		_ = d.client.Process(ctx, sent[0])
		return
	}
	// An error of the pipeline is also the error of a command.
	_, _ = d.client.Pipelined(ctx, func(p goredis.Pipeliner) error {
		for _, cmd := range sent {
			_ = p.Process(ctx, cmd)
		}
		return nil
	})
}

// failure is a command that was not sent.
func failure(ctx context.Context, err error) *goredis.Cmd {
	cmd := goredis.NewCmd(ctx)
	cmd.SetErr(err)
	return cmd
}

// failed returns which of the commands have an error of Redis with a prefix;
// they were not executed.
func failed(cmds []*goredis.Cmd, which []int, prefixes ...string) (these []int) {
	for _, i := range which {
		err := cmds[i].Err()
		has := func(prefix string) bool { return goredis.HasErrorPrefix(err, prefix) }
		if err != nil && !errors.Is(err, goredis.Nil) && slices.ContainsFunc(prefixes, has) {
			these = append(these, i)
		}
	}
	return these
}

func firstError(cmds ...*goredis.Cmd) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return err
		}
	}
	return nil
}

// blames says whether an error, after a time, says that a server is gone.
func (d *Directory) blames(err error, after time.Duration) bool {
	var reply goredis.Error
	switch {
	case err == nil, errors.As(err, &reply), errors.Is(err, context.Canceled):
		return false // an answer, if not the one that is wanted, delays nobody
	case errors.Is(err, goredis.ErrPoolTimeout):
		return false // too many calls at once
	case errors.Is(err, context.DeadlineExceeded) && after < d.opt.Timeout/4:
		return false // the caller had no time to wait for an answer
	}
	return true
}
