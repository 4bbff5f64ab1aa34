// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/idna"
)

// check finds what keeps the server from starting, or would lose mail, and can be
// seen without opening anything but the folders.
func (f *File) check() (ps Problems) {
	shared, drops := f.named("storage.imapsql"), f.named("storage.maildrop")
	for _, n := range f.Nodes {
		if (n.Name == "state_dir" || n.Name == "runtime_dir") && len(n.Args) == 1 {
			if err := writable(n.Args[0]); err != nil {
				ps.errorf(n, "%s cannot be used: %v; %s", n.Name, err, advice(n.Args[0]))
			}
		}
		if storage := value(n, "storage"); n.Name == "imap" && drops[strings.TrimPrefix(storage, "&")] {
			ps.errorf(n, "imap cannot serve storage %s, a storage.maildrop: write chmail.imap in its place", storage)
		}
	}
	for n := range f.All() {
		checkBlock(&ps, n)
		if n.Name == "deliver_to" && len(n.Args) == 1 && strings.HasPrefix(n.Args[0], "&") && shared[n.Args[0][1:]] {
			// What its database cannot do just now would be answered 554.
			ps.errorf(n, "deliver_to %s: a storage.imapsql refuses mail for good when its database is busy; "+
				"write deliver_to deferring %[1]s", n.Args[0])
		}
	}
	f.checkReferences(&ps)
	f.checkAddresses(&ps)
	f.checkDomains(&ps)
	return ps
}

// named are the names of the blocks of a module.
func (f *File) named(name string) map[string]bool {
	names := make(map[string]bool)
	for _, n := range f.Nodes {
		if n.Name == name {
			for _, called := range append([]string{n.Name}, n.Args...) {
				names[called] = true
			}
		}
	}
	return names
}

// All are the blocks and everything in them.
func (f *File) All() iter.Seq[config.Node] { return all(f.Nodes) }

func all(nodes []config.Node) iter.Seq[config.Node] {
	return func(yield func(config.Node) bool) { walk(nodes, yield) }
}

func walk(nodes []config.Node, yield func(config.Node) bool) bool {
	for _, n := range nodes {
		if !yield(n) || !walk(n.Children, yield) {
			return false
		}
	}
	return true
}

func checkBlock(ps *Problems, n config.Node) {
	names := append([]string{n.Name}, n.Args...)
	if slices.Contains(names, "auth.ldap") || n.Name == "auth" && slices.Contains(n.Args, "ldap") {
		// CVE-2026-40193, mended only in maddy 0.9.3.
		ps.errorf(n, "auth.ldap of this maddy lets a login be forged (CVE-2026-40193): "+
			"use auth.accounts, auth.external or auth.dovecot_sasl")
	}
	if n.Name == "storage.imapsql" && value(n, "driver") == "sqlite3" {
		// Deliveries beside expunges otherwise fail with "database is locked",
		// some of them for good.
		if !strings.Contains(value(n, "dsn"), "_txlock=immediate") {
			ps.errorf(n, `the dsn of storage.imapsql on SQLite must say _txlock=immediate: `+
				`dsn "file:imapsql.db?_txlock=immediate&_synchronous=FULL"`)
		}
		if value(n, "sqlite3_busy_timeout") == "" {
			ps.errorf(n, "storage.imapsql on SQLite needs sqlite3_busy_timeout 60000 (milliseconds)")
		}
	}
	if n.Name == "storage.imapsql" && value(n, "driver") == "postgres" && value(n, "msg_store") == "" {
		// Another machine would find the index of mail whose bodies it has not.
		ps.errorf(n, "storage.imapsql on PostgreSQL must say where bodies are: "+
			"msg_store fs /shared/messages, which all machines see, or msg_store s3 { … }")
	}
}

// reference is an argument that names a block.
var reference = regexp.MustCompile(`^&[\p{L}\p{N}_.-]+$`)

// references are the blocks that a node names itself.
func references(n config.Node) (names []string) {
	if n.Name == "entry" || n.Name == "password" || n.Name == "auth" && slices.Contains(n.Args, "plain") {
		return nil // texts
	}
	for _, a := range n.Args {
		if reference.MatchString(a) {
			names = append(names, a[1:])
		}
	}
	return names
}

// Referred are the blocks that a node and those in it name.
func Referred(n config.Node) (names []string) {
	for n := range all([]config.Node{n}) {
		names = append(names, references(n)...)
	}
	return names
}

func isEndpoint(n config.Node) bool { return module.GetEndpoint(n.Name) != nil }

// Names are the names of a top-level block.
func Names(n config.Node) []string {
	if len(n.Args) == 0 {
		return []string{n.Name}
	}
	return n.Args
}

func (f *File) checkReferences(ps *Problems) {
	var names []string
	for _, n := range f.Nodes {
		if !isEndpoint(n) {
			names = append(names, Names(n)...)
		}
	}
	for n := range f.All() {
		for _, name := range references(n) {
			if !slices.Contains(names, name) {
				ps.errorf(n, "%s: there is no block named %s%s", n.Name, name, meant(name, names))
			}
		}
	}
}

// checkAddresses looks at what the endpoints listen on.
func (f *File) checkAddresses(ps *Problems) {
	type taken struct {
		endpoint config.Endpoint
		node     config.Node
	}
	var all []taken
	for _, n := range f.Nodes {
		if !isEndpoint(n) {
			continue
		}
		if len(n.Args) == 0 && n.Name != "guard" {
			ps.errorf(n, "%s has no address: write for example %s tcp://127.0.0.1:8080", n.Name, n.Name)
		}
		for _, a := range n.Args {
			e, err := config.ParseEndpoint(a)
			if err != nil {
				ps.errorf(n, "%s: %s: %v; an address is for example tls://0.0.0.0:443", n.Name, a, err)
				continue
			}
			if port, err := strconv.Atoi(e.Port); e.Scheme != "unix" && (err != nil || port < 0 || port > 65535) {
				ps.errorf(n, "%s: %s: a port is a number up to 65535", n.Name, a)
				continue
			}
			for _, other := range all {
				if collide(e, other.endpoint) {
					ps.errorf(n, "%s: %s is taken by %s in line %d: give it another port", n.Name, a,
						other.node.Name, other.node.Line)
				}
			}
			all = append(all, taken{e, n})
		}
	}
}

// collide says whether the system gives only one of two addresses.
func collide(a, b config.Endpoint) bool {
	if a.Scheme == "unix" || b.Scheme == "unix" {
		return a.Scheme == b.Scheme && a.Path == b.Path
	}
	if a.Port != b.Port || a.Port == "0" {
		return false
	}
	every := func(host string) bool {
		ip := net.ParseIP(host)
		return host == "" || ip != nil && ip.IsUnspecified()
	}
	return a.Host == b.Host || every(a.Host) || every(b.Host)
}

// checkDomains looks at what should be names of hosts and domains.
func (f *File) checkDomains(ps *Problems) {
	for n := range f.All() {
		switch n.Name {
		case "destination", "source", "local_domains", "domains", "hostname", "autogenerated_msg_domain":
			for _, a := range n.Args {
				domain := a[strings.LastIndexByte(a, '@')+1:]
				if err := Domain(domain); err != nil && a != "postmaster" {
					ps.errorf(n, "%s: %v", n.Name, err)
				}
			}
		}
	}
}

// lenient takes the names of hosts that exist, such as those with an underscore.
var lenient = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.CheckHyphens(false))

// Domain says what is wrong with the name of a domain or host.
func Domain(name string) error {
	if net.ParseIP(strings.TrimPrefix(strings.Trim(name, "[]"), "IPv6:")) != nil {
		return nil
	}
	if _, err := lenient.ToASCII(name); err != nil || name == "" || strings.ContainsAny(name, " /:@,") ||
		strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
		return fmt.Errorf("%q is no name of a domain: write one such as mall.example", name)
	}
	return nil
}

// variable is a use or, where an equals sign follows, a definition.
var variable = regexp.MustCompile(`\$\(([^()\s]*)\)(\s+=\s)?`)

// checkVariables finds those that are used and not defined above: the parser takes them
// for nothing at all, also where another file defines them. path is only the name in what
// it says.
func checkVariables(in io.Reader, path string) (ps Problems, err error) {
	var defined []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for i := 1; lines.Scan(); i++ {
		for _, m := range variable.FindAllStringSubmatch(withoutComment(lines.Text()), -1) {
			if m[2] != "" {
				defined = append(defined, m[1])
			} else if !slices.Contains(defined, m[1]) {
				ps = append(ps, Problem{File: path, Line: i,
					Text: fmt.Sprintf("$(%s) is not defined above%s", m[1], meant(m[1], defined))})
			}
		}
	}
	return ps, lines.Err()
}

// withoutComment cuts what follows a # outside of quotes.
func withoutComment(line string) string {
	quoted := false
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"' && (i == 0 || line[i-1] != '\\'):
			quoted = !quoted
		case c == '#' && !quoted:
			return line[:i]
		}
	}
	return line
}
