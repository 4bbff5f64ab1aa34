// SPDX-License-Identifier: GPL-3.0-or-later

// Package config reads and checks CHmail's configuration, which is written in
// maddy's own syntax, and writes the one that a new server starts with.
//
// Read parses a file and refuses what would lose mail or not start at all;
// Admin opens single blocks of it for the admin commands without listening on
// anything; Template renders maddy.conf.example, quickstart's files and the
// demo's.
package config

import (
	"errors"
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
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer in.Close()
	nodes, err := parser.Read(in, path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	f := &File{Path: path, Nodes: nodes}
	return f, f.check()
}

func (f *File) check() error {
	var problems []error
	shared := make(map[string]bool) // names of the storage.imapsql blocks
	drops := make(map[string]bool)  // and of the storage.maildrop blocks
	for _, n := range f.Nodes {
		if n.Name == "storage.maildrop" {
			for _, name := range append([]string{n.Name}, n.Args...) {
				drops[name] = true
			}
		}
		if n.Name == "storage.imapsql" {
			for _, name := range append([]string{n.Name}, n.Args...) {
				shared[name] = true
			}
		}
	}
	for _, n := range f.Nodes {
		problems = append(problems, checkDeliveries(n, shared)...)
		if (n.Name == "state_dir" || n.Name == "runtime_dir") && len(n.Args) == 1 {
			if err := writable(n.Args[0]); err != nil {
				problems = append(problems, config.NodeErr(n, "%s cannot be used: %v; %s",
					n.Name, err, advice(n.Args[0])))
			}
		}
		problems = append(problems, checkBlock(n)...)
		if storage := value(n, "storage"); n.Name == "imap" && drops[strings.TrimPrefix(storage, "&")] {
			problems = append(problems, config.NodeErr(n, "imap cannot serve storage %s, a storage.maildrop:"+
				" write chmail.imap in its place", storage))
		}
	}
	return errors.Join(problems...)
}

func checkBlock(n config.Node) []error {
	var problems []error
	names := append([]string{n.Name}, n.Args...)
	if slices.Contains(names, "auth.ldap") || n.Name == "auth" && slices.Contains(n.Args, "ldap") {
		// CVE-2026-40193, mended only in maddy 0.9.3.
		problems = append(problems, config.NodeErr(n,
			"auth.ldap of this maddy lets a login be forged (CVE-2026-40193): "+
				"use auth.accounts, auth.external or auth.dovecot_sasl"))
	}
	if n.Name == "storage.imapsql" && value(n, "driver") == "sqlite3" {
		// Deliveries beside expunges otherwise fail with "database is locked",
		// some of them for good.
		if !strings.Contains(value(n, "dsn"), "_txlock=immediate") {
			problems = append(problems, config.NodeErr(n,
				`the dsn of storage.imapsql on SQLite must say _txlock=immediate: `+
					`dsn "file:imapsql.db?_txlock=immediate&_synchronous=FULL"`))
		}
		if value(n, "sqlite3_busy_timeout") == "" {
			problems = append(problems, config.NodeErr(n,
				"storage.imapsql on SQLite needs sqlite3_busy_timeout 60000 (milliseconds)"))
		}
	}
	if n.Name == "storage.imapsql" && value(n, "driver") == "postgres" && value(n, "msg_store") == "" {
		// Another machine would find the index of mail whose bodies it has not.
		problems = append(problems, config.NodeErr(n, "storage.imapsql on PostgreSQL must say where bodies are: "+
			"msg_store fs /shared/messages, which all machines see, or msg_store s3 { … }"))
	}
	for _, child := range n.Children {
		problems = append(problems, checkBlock(child)...)
	}
	return problems
}

// checkDeliveries refuses deliveries to a storage.imapsql itself: what its
// database cannot do just now would be answered 554, and the mail be lost.
func checkDeliveries(n config.Node, shared map[string]bool) []error {
	var problems []error
	if n.Name == "deliver_to" && len(n.Args) == 1 && strings.HasPrefix(n.Args[0], "&") && shared[n.Args[0][1:]] {
		problems = append(problems, config.NodeErr(n, "deliver_to %s: a storage.imapsql refuses mail for good "+
			"when its database is busy; write deliver_to deferring %[1]s", n.Args[0]))
	}
	for _, child := range n.Children {
		problems = append(problems, checkDeliveries(child, shared)...)
	}
	return problems
}

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
// what a pipeline has a `destination` for, and chat.rooms' local_domains. It is
// empty where only tables know them.
func (f *File) Domains() []string {
	found := make(map[string]bool)
	var visit func([]config.Node)
	visit = func(nodes []config.Node) {
		for _, n := range nodes {
			if n.Name == "destination" || n.Name == "local_domains" {
				for _, arg := range n.Args {
					if domain := strings.ToLower(arg[strings.LastIndexByte(arg, '@')+1:]); domain != "postmaster" {
						found[domain] = true
					}
				}
			}
			visit(n.Children)
		}
	}
	visit(f.Nodes)
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

// Admin registers the modules of the configuration for one command, without
// running the server: nothing listens. The process's working directory becomes
// the state directory, as in the server. End it with hooks.EventShutdown.
func (f *File) Admin() ([]maddy.ModInfo, error) {
	module.NoRun = true
	globals, blocks, err := maddy.ReadGlobals(f.Nodes)
	if err != nil {
		return nil, err
	}
	if err := maddy.InitDirs(); err != nil {
		return nil, err
	}
	_, mods, err := maddy.RegisterModules(globals, blocks)
	return mods, err
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
