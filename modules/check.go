// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/foxcpp/maddy"
	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/hooks"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
)

// Checked is what Check found.
type Checked struct {
	config.Problems `json:"problems"`
	Beside          bool `json:"beside"` // a server runs: what keeps files was not opened
}

// connecting bounds an attempt to reach what the configuration refers to.
const connecting = 5 * time.Second

// reachable is a block that needs another service.
type reachable interface {
	reach(context.Context) error
}

// Check reads every block and endpoint as the server would, with what they refer to, and
// closes it again. Nothing listens, and beside a server that runs, what keeps files is not
// opened. Offline, no other machine is asked. A block that refers to one that cannot be
// read is left out: each mistake is told once.
func Check(ctx context.Context, f *config.File, offline bool) (found Checked, err error) {
	all, err := f.Register()
	if err != nil {
		found.add(f, err, maddyconfig.Node{File: f.Path})
		return found, nil
	}
	asksNobody = offline
	client, claim, err := admin.Connect(ctx, adminSocket(), maddyconfig.StateDirectory, admin.Choice{})
	if err != nil {
		return found, err
	}
	if client != nil {
		defer client.Close()
		opensNothing, found.Beside = true, true
	} else {
		defer claim.Close()
	}
	defer hooks.RunHooks(hooks.EventShutdown)

	c := checker{file: f, found: &found,
		done: map[string]bool{}, wrong: map[string]bool{}, mods: map[string]maddy.ModInfo{}}
	for _, m := range all.Blocks {
		for _, name := range config.Names(m.Cfg) {
			c.mods[name] = m
		}
	}
	for _, e := range all.Endpoints {
		if c.refers(e.Cfg) && slices.Contains(ownEndpoints, e.Instance.Name()) {
			c.try(e.Cfg, func() error { return e.Instance.Init(maddyconfig.NewMap(all.Globals, e.Cfg)) })
		}
		if !found.Beside {
			c.listen(e.Cfg)
		}
	}
	for _, m := range all.Blocks {
		name := m.Instance.InstanceName()
		if !c.done[name] {
			found.add(f, fmt.Errorf("nothing refers to %s: remove the block, or name it where it belongs", name), m.Cfg)
		}
		if r, ok := m.Instance.(reachable); ok && c.done[name] && !c.wrong[name] && !offline {
			ctx, cancel := context.WithTimeout(ctx, connecting)
			if err := r.reach(ctx); err != nil {
				found.Problems = append(found.Problems, config.Problem{Warning: true,
					File: m.Cfg.File, Line: m.Cfg.Line, Text: fmt.Sprintf("%s: %v", m.Instance.Name(), err)})
			}
			cancel()
		}
	}
	return found, nil
}

// checker reads blocks, each after those that it refers to.
type checker struct {
	file        *config.File
	found       *Checked
	mods        map[string]maddy.ModInfo // by each of their names
	done, wrong map[string]bool          // by the first
}

// refers reads what a node and those in it refer to, and says whether all of it is well.
func (c *checker) refers(n maddyconfig.Node) bool {
	well := true
	for _, name := range config.Referred(n) {
		m, ok := c.mods[name]
		if !ok {
			continue // said already
		}
		name = m.Instance.InstanceName()
		if !c.done[name] {
			c.done[name] = true
			c.wrong[name] = !c.refers(m.Cfg) || !c.try(m.Cfg, func() error {
				_, err := module.GetInstance(name)
				return err
			})
		}
		well = well && !c.wrong[name]
	}
	return well
}

// try reads a block. A panic is a problem of it, too.
func (c *checker) try(n maddyconfig.Node, read func() error) bool {
	err := func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("it cannot be read: %v", r)
			}
		}()
		return read()
	}()
	if err != nil {
		c.found.add(c.file, err, n)
	}
	return err == nil
}

// listen tries whether the addresses of an endpoint are free. Who may not listen on low
// ports learns nothing.
func (c *checker) listen(n maddyconfig.Node) {
	for _, a := range n.Args {
		e, err := maddyconfig.ParseEndpoint(a)
		if err != nil || e.Scheme == "unix" || e.Port == "0" {
			continue
		}
		l, err := net.Listen(e.Network(), e.Address())
		if err == nil {
			l.Close()
		} else if !isPermission(err) {
			c.found.add(c.file, fmt.Errorf("%s: %w: another program has it, or this machine has not", n.Name, err), n)
		}
	}
}

// placed is an error that says in which line it arose.
var placed = regexp.MustCompile(`(?s)^(.+?):(\d+)(?::| -) ?(.*)$`)

// add notes an error that arose from a node. maddy's say where, or name the file alone.
func (c *Checked) add(f *config.File, err error, n maddyconfig.Node) {
	p := config.Problem{File: n.File, Line: n.Line, Text: err.Error()}
	p.Warning = unreachable(err) // the server starts without it, and waits
	if m := placed.FindStringSubmatch(p.Text); m != nil && m[1] == n.File {
		p.Line, _ = strconv.Atoi(m[2])
		p.Text = m[3]
	}
	for inner := range f.All() {
		if inner.Line == p.Line && inner.File == p.File && !strings.Contains(p.Text, inner.Name) {
			p.Text = inner.Name + ": " + p.Text // maddy's errors of values do not name the directive
		}
	}
	if !slices.Contains(c.Problems, p) {
		c.Problems = append(c.Problems, p)
	}
}

// isPermission says whether the system kept this user from listening.
func isPermission(err error) bool { return errors.Is(err, os.ErrPermission) }
