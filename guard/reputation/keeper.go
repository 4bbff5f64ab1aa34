// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/durable"
	"github.com/chmail/chmail/internal/safely"
)

// Store keeps rules where a restart finds them, and other hosts where it is shared.
type Store interface {
	Rules(ctx context.Context) ([]Rule, error)
	Put(ctx context.Context, rules []Rule) error // each in the place of that of its prefix
	Delete(ctx context.Context, prefixes []netip.Prefix) error
}

const (
	// readEvery is how often the rules of a store are read: a ban of one host holds at
	// the others by then.
	readEvery = 5 * time.Second
	// storeTime bounds a call of a store.
	storeTime = 5 * time.Second
	// maxWaiting is how many bans wait for the store; one more holds until a restart, here alone.
	maxWaiting = 1024
)

// Keeper is a table with its store.
type Keeper struct {
	*Table
	store   Store
	waiting chan Rule

	mu  sync.Mutex   // held by who changes the store
	end func()       // ends the goroutine
	own []netip.Addr // that are never banned
	bad error        // of the last reading
}

// Open returns a table with the rules of a store. protected are addresses that no rule may
// keep out, such as the gateways of this machine. Who opens it closes it.
func Open(o Options, store Store, protected []netip.Addr) *Keeper {
	k := &Keeper{store: store, waiting: make(chan Rule, maxWaiting), own: protected}
	for _, ip := range protected {
		o.Allow = append(o.Allow, netip.PrefixFrom(ip, ip.BitLen()))
	}
	k.Table = New(o, func(p netip.Prefix, until time.Time) {
		select {
		case k.waiting <- Rule{Prefix: p, Until: until, Own: true, Why: "misbehaved"}:
		default:
		}
	})
	k.read()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { k.keep(ctx) })
	k.end = sync.OnceFunc(func() { cancel(); running.Wait() })
	return k
}

// Close ends the keeper. Bans that wait are stored.
func (k *Keeper) Close() error {
	k.end()
	return nil
}

func (k *Keeper) keep(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			k.round()
			return
		case <-tick.C:
			k.round()
		}
	}
}

func (k *Keeper) round() {
	defer safely.Recover(k.opts.Log, "guard")
	k.putWaiting()
	k.read()
}

func (k *Keeper) putWaiting() {
	var some []Rule
	for len(k.waiting) > 0 {
		some = append(some, <-k.waiting)
	}
	if len(some) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	have := k.Rules()
	some = slices.DeleteFunc(some, func(r Rule) bool { // an administrator's stays as it is
		return slices.ContainsFunc(have, func(h Rule) bool { return h.Prefix == r.Prefix && !h.Own })
	})
	if room := max(0, MaxRules-len(have)); len(some) > room { // the others hold here until a restart
		some = some[:room]
	}
	if err := k.store.Put(ctx, some); err != nil {
		k.opts.Log.Error("storing bans: they hold here until the restart", "err", err, "bans", len(some))
	}
}

// read takes the rules of the store. While it cannot be read, those that were read hold.
func (k *Keeper) read() {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.Rules()
	all, err := k.store.Rules(ctx)
	if err == nil {
		k.SetRules(all)
		for _, r := range before { // an administrator took it back, perhaps at another host
			if r.Own && !slices.ContainsFunc(all, func(a Rule) bool { return a.Prefix == r.Prefix }) {
				k.Forgive(r.Prefix)
			}
		}
	} else if k.bad == nil {
		k.opts.Log.Error("reading the rules of the guard: those that were read before hold", "err", err)
	}
	k.bad = err
	over := slices.DeleteFunc(all, func(r Rule) bool { return !r.over(time.Now()) })
	if len(over) > 0 {
		var prefixes []netip.Prefix
		for _, r := range over {
			prefixes = append(prefixes, r.Prefix)
		}
		if err := k.store.Delete(ctx, prefixes); err != nil {
			k.opts.Log.Error("removing bans that are over", "err", err)
		}
	}
}

// Add stores an administrator's rule, which holds at once. asks is where the
// administrator is, if that is known. ErrOwn: a ban would lock one of them out.
func (k *Keeper) Add(ctx context.Context, r Rule, asks netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r.Own, r.Prefix = false, r.Prefix.Masked()
	if !r.Allow {
		own := append([]netip.Addr{asks, netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, k.own...)
		for _, ip := range own {
			if ip = ip.Unmap().WithZone(""); ip.IsValid() && r.Prefix.Contains(ip) {
				return fmt.Errorf("%w: %s is in %s", ErrOwn, ip, r.Prefix)
			}
		}
	}
	all := k.Rules()
	given := slices.DeleteFunc(all, func(r Rule) bool { return r.Own })
	if len(given) >= MaxRules {
		return ErrTooMany
	}
	if err := k.store.Put(ctx, []Rule{r}); err != nil {
		return fmt.Errorf("storing a rule: %w", err)
	}
	k.SetRules(append(slices.DeleteFunc(k.Rules(), func(h Rule) bool { return h.Prefix == r.Prefix }), r))
	return nil
}

// Remove takes the rules of a prefix, and of what is within it, back, and forgives what
// its addresses did. It says how many rules there were.
func (k *Keeper) Remove(ctx context.Context, prefix netip.Prefix) (n int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var gone []netip.Prefix
	var left []Rule
	for _, r := range k.Rules() {
		if r.Prefix.Bits() >= prefix.Bits() && prefix.Overlaps(r.Prefix) {
			gone = append(gone, r.Prefix)
		} else {
			left = append(left, r)
		}
	}
	if len(gone) > 0 {
		if err := k.store.Delete(ctx, gone); err != nil {
			return 0, fmt.Errorf("taking rules back: %w", err)
		}
	}
	k.SetRules(left)
	k.Forgive(prefix)
	return len(gone), nil
}

// File is a store of one process.
type File string

// Rules implements Store.
func (f File) Rules(context.Context) (all []Rule, err error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the rules of the guard: %w", err)
	}
	return all, nil
}

// Put implements Store.
func (f File) Put(ctx context.Context, rules []Rule) error {
	return f.change(ctx, func(all []Rule) []Rule {
		for _, r := range rules {
			all = slices.DeleteFunc(all, func(h Rule) bool { return h.Prefix == r.Prefix })
			all = append(all, r)
		}
		return all
	})
}

// Delete implements Store.
func (f File) Delete(ctx context.Context, prefixes []netip.Prefix) error {
	return f.change(ctx, func(all []Rule) []Rule {
		return slices.DeleteFunc(all, func(r Rule) bool { return slices.Contains(prefixes, r.Prefix) })
	})
}

func (f File) change(ctx context.Context, do func([]Rule) []Rule) error {
	all, err := f.Rules(ctx)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(bounded(do(all)), "", "\t")
	if err == nil {
		err = durable.WriteFile(string(f), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the rules of the guard: %w", err)
	}
	return nil
}
