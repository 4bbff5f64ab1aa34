// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/redis"
)

// Protection is a reputation.Keeper as a block of the configuration. It holds at every
// endpoint of the server, and there is one block.
//
//	guard {
//	    dry_run       no          # yes: what would be done to whom is logged and counted, and not done
//	    allow         10.0.0.0/8  # addresses that are always let in; default: none
//	    ban           1h          # how long the first ban of an address is; each further one is twice as long, up to 24h
//	    max_addresses 1048576     # that are remembered, of 80 octets each
//	    path          guard.json  # bans and rules of administrators, relative to the state directory
//	    presence      &presence   # a presence.redis, through which hosts share bans and rules; default: path
//	}
type Protection struct {
	base
	keeper *reputation.Keeper
}

var _ module.Module = (*Protection)(nil)

// theProtection is this process's; nil: there is no block.
var theProtection atomic.Pointer[reputation.Keeper]

// reputations are what the endpoints ask.
func reputations() *reputation.Table {
	if k := theProtection.Load(); k != nil {
		return k.Table
	}
	return nil
}

// Init reads the block.
func (m *Protection) Init(cfg *config.Map) error {
	var (
		opts      reputation.Options
		allow     []string
		path      string
		directory presence.Directory
	)
	cfg.Bool("dry_run", false, false, &opts.DryRun)
	cfg.StringList("allow", false, false, nil, &allow)
	cfg.Duration("ban", false, false, reputation.DefaultBan, &opts.Ban)
	cfg.Int("max_addresses", false, false, reputation.DefaultMax, &opts.Max)
	cfg.String("path", false, false, "guard.json", &path)
	cfg.Custom("presence", false, false, absent[presence.Directory],
		reference[presence.Directory]("presence"), &directory)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	fail := func(format string, args ...any) error { return config.NodeErr(cfg.Block, "guard: "+format, args...) }
	for _, text := range allow {
		p, err := reputation.ParsePrefix(text)
		if err != nil {
			return fail("allow: %v", err)
		}
		opts.Allow = append(opts.Allow, p)
	}
	if opts.Ban < time.Minute || opts.Ban > 24*time.Hour {
		return fail("ban must be 1m to 24h")
	}
	if opts.Max < 1000 || opts.Max > 100_000_000 {
		return fail("max_addresses must be 1000 to 100000000")
	}
	opts.Log = m.log()
	var store reputation.Store = reputation.File(inState(path))
	if directory != nil {
		p, ok := directory.(*Presence)
		if !ok || !p.shared() {
			return fail("presence must be a presence.redis")
		}
		if !module.NoRun {
			store = sharedRules{p}
		}
	}
	if module.NoRun {
		return nil
	}
	m.keeper = reputation.Open(opts, store, gateways())
	if !theProtection.CompareAndSwap(nil, m.keeper) {
		return errors.Join(fail("there is one already"), m.keeper.Close())
	}
	return nil
}

// Close stores the bans that were not stored yet.
func (m *Protection) Close() error {
	if m.keeper == nil {
		return nil
	}
	theProtection.Store(nil)
	return m.keeper.Close()
}

func init() {
	registerEndpoint(protectionBlock, func(b base, _ []string) module.Module { return &Protection{base: b} })
}

// protectionBlock is opened before what it protects.
const protectionBlock = "guard"

// sharedRules is a store in the Redis of a presence.
type sharedRules struct{ presence *Presence }

func (s sharedRules) directory() (*redis.Directory, error) {
	if d, ok := s.presence.Directory.(*redis.Directory); ok {
		return d, nil
	}
	return nil, presence.ErrUnavailable
}

// Rules implements reputation.Store.
func (s sharedRules) Rules(ctx context.Context) ([]reputation.Rule, error) {
	d, err := s.directory()
	if err != nil {
		return nil, err
	}
	texts, err := d.Rules(ctx)
	if err != nil {
		return nil, err
	}
	var all []reputation.Rule
	for _, text := range texts {
		var r reputation.Rule
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("reading a rule of the guard: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
}

// Put implements reputation.Store.
func (s sharedRules) Put(ctx context.Context, rules []reputation.Rule) error {
	d, err := s.directory()
	if err != nil || len(rules) == 0 {
		return err
	}
	texts := make(map[string]string, len(rules))
	for _, r := range rules {
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("writing a rule of the guard: %w", err)
		}
		texts[r.Prefix.String()] = string(text)
	}
	return d.PutRules(ctx, texts)
}

// Delete implements reputation.Store.
func (s sharedRules) Delete(ctx context.Context, prefixes []netip.Prefix) error {
	d, err := s.directory()
	if err != nil || len(prefixes) == 0 {
		return err
	}
	keys := make([]string, len(prefixes))
	for i, p := range prefixes {
		keys[i] = p.String()
	}
	return d.DeleteRules(ctx, keys)
}

// gateways are the routers of this machine: where they translate addresses, all clients
// seem to come from them.
func gateways() (all []netip.Addr) {
	for path, read := range map[string]func([]string) (netip.Addr, bool){
		"/proc/net/route":      gateway4,
		"/proc/net/ipv6_route": gateway6,
	} {
		f, err := os.Open(path)
		if err != nil {
			continue // this machine has none that are known so
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() && len(all) < 64 {
			if ip, ok := read(strings.Fields(lines.Text())); ok && !slices.Contains(all, ip) {
				all = append(all, ip)
			}
		}
		f.Close()
	}
	return all
}

// gateway4 reads a line of /proc/net/route: device, destination, gateway, ….
func gateway4(fields []string) (netip.Addr, bool) {
	if len(fields) < 3 {
		return netip.Addr{}, false
	}
	b, err := hex.DecodeString(fields[2])
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	slices.Reverse(b) // it is in the order of the processor: little endian
	ip, _ := netip.AddrFromSlice(b)
	return ip, !ip.IsUnspecified()
}

// gateway6 reads a line of /proc/net/ipv6_route: destination, its length, source, its
// length, gateway, ….
func gateway6(fields []string) (netip.Addr, bool) {
	if len(fields) < 5 {
		return netip.Addr{}, false
	}
	b, err := hex.DecodeString(fields[4])
	if err != nil || len(b) != 16 {
		return netip.Addr{}, false
	}
	ip, _ := netip.AddrFromSlice(b)
	return ip, !ip.IsUnspecified()
}
