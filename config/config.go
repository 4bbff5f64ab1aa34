// SPDX-License-Identifier: GPL-3.0-or-later

// Package config reads and checks CHmail's configuration, which is written in
// maddy's own syntax, and writes the one that a new server starts with.
//
// Read parses a file and refuses what would lose mail or not start at all;
// Register makes modules of its blocks for the commands, without listening on
// anything; Inspect and DNS look for what is probably not meant; Template renders
// maddy.conf.example, quickstart's files and the
// demo's.
package config

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/foxcpp/maddy"
	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

// File is a parsed configuration.
type File struct {
	Path  string
	Nodes []config.Node
}

// Read parses the configuration and checks what can be known without starting
// anything. Every problem names the file, the line and the directive.
func Read(path string) (*File, error) {
	f, err := Parse(path)
	if err != nil {
		return nil, err
	}
	return f, f.check().Err()
}

// Parse reads the configuration, whatever it says.
func Parse(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	undefined, err := checkVariables(bytes.NewReader(text), path)
	if err == nil {
		err = undefined.Err() // before what the parser makes of their absence
	}
	if err != nil {
		return nil, err
	}
	nodes, err := parser.Read(bytes.NewReader(text), path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return &File{Path: path, Nodes: nodes}, nil
}

// global is a directive outside of all blocks, joined by spaces.
func (f *File) global(name string) string { return value(config.Node{Children: f.Nodes}, name) }

// value returns the arguments of a directive within a block, joined by spaces.
func value(n config.Node, name string) string {
	for _, child := range n.Children {
		if child.Name == name {
			return strings.Join(child.Args, " ")
		}
	}
	return ""
}

// Domains are the mail domains that the configuration names, in lower case:
// what a pipeline has a `destination` for, chat.rooms' local_domains, and the `domains` of
// chmail.addresses, which may have others (chmaild domain). It is empty where only tables
// know them.
func (f *File) Domains() []string {
	found := make(map[string]bool)
	var visit func(string, []config.Node)
	visit = func(block string, nodes []config.Node) {
		for _, n := range nodes {
			if n.Name == "destination" || n.Name == "local_domains" ||
				n.Name == "domains" && block == "chmail.addresses" {
				for _, arg := range n.Args {
					if domain := strings.ToLower(arg[strings.LastIndexByte(arg, '@')+1:]); domain != "postmaster" {
						found[domain] = true
					}
				}
			}
			visit(n.Name, n.Children)
		}
	}
	visit("", f.Nodes)
	return slices.Sorted(maps.Keys(found))
}

// Folder is what a directive of the first block of a name says, below the state
// directory where it is relative, and whether there is such a block.
func (f *File) Folder(block, directive, standard string) (path string, there bool) {
	if path, there = f.Value(block, directive, standard); there && !filepath.IsAbs(path) {
		path = filepath.Join(config.StateDirectory, path)
	}
	return path, there
}

// Value is what a directive of the first block of a name says, and whether there is such
// a block.
func (f *File) Value(block, directive, standard string) (value string, there bool) {
	i := slices.IndexFunc(f.Nodes, func(n config.Node) bool { return n.Name == block })
	if i < 0 {
		return "", false
	}
	value = standard
	for _, d := range f.Nodes[i].Children {
		if d.Name == directive && len(d.Args) == 1 {
			value = d.Args[0]
		}
	}
	return value, true
}

// writable makes the folder if it does not exist and tries a file in it.
func writable(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%s is not an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	probe, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return err
	}
	probe.Close()
	return os.Remove(probe.Name())
}

// advice says what to do about a folder that cannot be written.
func advice(dir string) string {
	info, err := os.Stat(dir)
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() {
		return "give it to the account that runs chmaild, or name another folder"
	}
	name := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid))
	if owner, err := user.LookupId(name); err == nil {
		name = owner.Username
	}
	return "it belongs to " + name + ": run chmaild as that user, with `sudo -u " + name + " chmaild …`"
}

// RemoveStaleSockets removes the Unix sockets in runtime_dir that a killed
// server left; maddy would take them for those of a server that runs.
func (f *File) RemoveStaleSockets() error {
	for _, n := range f.Nodes {
		if n.Name != "runtime_dir" || len(n.Args) != 1 {
			continue
		}
		sockets, err := filepath.Glob(filepath.Join(n.Args[0], "*.sock"))
		if err != nil {
			return fmt.Errorf("looking for stale sockets: %w", err)
		}
		for _, path := range sockets {
			if c, err := net.Dial("unix", path); err == nil {
				c.Close() // somebody listens
			} else if err := os.Remove(path); err != nil {
				return fmt.Errorf("removing a stale socket: %w", err)
			}
		}
	}
	return nil
}

// Registered are the blocks of a configuration as modules of maddy, not yet read.
type Registered struct {
	Globals           map[string]any
	Endpoints, Blocks []maddy.ModInfo
}

// Register makes modules of the blocks, for one command, without running the server:
// nothing listens. The process's working directory becomes the state directory, as in
// the server. End it with hooks.EventShutdown.
func (f *File) Register() (r Registered, err error) {
	module.NoRun = true
	globals, blocks, err := maddy.ReadGlobals(f.Nodes)
	if err != nil {
		return r, err
	}
	if err := maddy.InitDirs(); err != nil {
		return r, err
	}
	r.Globals = globals
	r.Endpoints, r.Blocks, err = maddy.RegisterModules(globals, blocks)
	return r, err
}

// One returns the only top-level block whose module is a T, initialised; name
// chooses among several.
func One[T any](mods []maddy.ModInfo, name, what string) (T, error) {
	var none T
	var found []string
	for _, m := range mods {
		if _, ok := m.Instance.(T); ok && (name == "" || m.Instance.InstanceName() == name) {
			found = append(found, m.Instance.InstanceName())
		}
	}
	switch {
	case len(found) == 0:
		return none, fmt.Errorf("the configuration has no %s%s", what, named(name))
	case len(found) > 1:
		return none, fmt.Errorf("the configuration has several of %s (%s): choose one by its name",
			what, strings.Join(found, ", "))
	}
	inst, err := module.GetInstance(found[0])
	if err != nil {
		return none, err
	}
	return inst.(T), nil
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return " named " + name
}
