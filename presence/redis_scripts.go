// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"embed"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// Every multi-key step is one script on one slot.
var (
	grantScript   = loadScript("time", "host", "grant")
	peekScript    = loadScript("time", "host", "peek")
	listScript    = loadScript("time", "host", "list")
	holdScript    = loadScript("time", "host", "hold")
	blockScript   = loadScript("time", "host", "block")
	dropScript    = loadScript("time", "host", "drop")
	beatScript    = loadScript("time", "host", "beat")
	restoreScript = loadScript("time", "host", "restore")
	renewScript   = loadScript("time", "address", "renew")
	connectScript = loadScript("time", "address", "connect")
	devicesScript = loadScript("time", "devices")
	pointerScript = loadScript("pointer")
)

// loadScript joins preludes and a script.
func loadScript(names ...string) *redis.Script {
	var b strings.Builder
	for _, name := range names {
		text, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			panic(err) // the files are part of the program
		}
		b.Write(text)
	}
	return redis.NewScript(b.String())
}

// step is a script with what it is called with.
type step struct {
	script *redis.Script
	keys   []string
	args   []any
}

// run runs scripts and plain commands in one round trip, or two where a server
// does not have a script yet. It returns the first error that is not redis.Nil.
func (r *Redis) run(ctx context.Context, steps []step, plain func(redis.Pipeliner)) ([]*redis.Cmd, error) {
	if len(steps) == 1 && plain == nil {
		s := steps[0]
		cmd := s.script.Run(ctx, r.client, s.keys, s.args...)
		return []*redis.Cmd{cmd}, firstError(cmd)
	}
	cmds := make([]*redis.Cmd, len(steps))
	// An error of the pipeline is also the error of a command.
	others, _ := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, s := range steps {
			cmds[i] = s.script.EvalSha(ctx, p, s.keys, s.args...)
		}
		if plain != nil {
			plain(p)
		}
		return nil
	})
	var missing []int
	for i, cmd := range cmds {
		if redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			missing = append(missing, i)
		}
	}
	if len(missing) > 0 {
		_, _ = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, i := range missing {
				s := steps[i]
				cmds[i] = s.script.Eval(ctx, p, s.keys, s.args...)
			}
			return nil
		})
	}
	if len(others) > len(steps) {
		if err := firstError(others[len(steps):]...); err != nil {
			return cmds, err
		}
	}
	return cmds, firstError(cmds...)
}

func firstError[C redis.Cmder](cmds ...C) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}
