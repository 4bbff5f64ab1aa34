// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"
)

// MaxRules is how many rules there may be. At the bound a ban that a score made ends the
// one that ends first, and an administrator's is refused with ErrTooMany.
const MaxRules = 10_000

// Errors of changes of rules.
var (
	ErrTooMany = fmt.Errorf("there are %d rules already: take some back", MaxRules)
	ErrOwn     = errors.New("this would lock the server or its administrator out")
)

// Rule lets a prefix in, or keeps it out, whatever its score.
type Rule struct {
	Prefix netip.Prefix
	Allow  bool
	Until  time.Time `json:",omitzero"` // zero: until it is taken back
	Why    string    // in a few words
	Own    bool      `json:",omitempty"` // made by a score, not by an administrator
	fixed  bool      // of the configuration
}

// over says whether the rule has ended.
func (r Rule) over(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

var thisMachine = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// rules are those that let in, and those that keep out. They are never changed, but replaced.
type rules struct{ let, keep bart.Table[Rule] }

func newRules(fixed []netip.Prefix, all []Rule) *rules {
	r := new(rules)
	for _, rule := range bounded(all) {
		if rule.Allow {
			r.let.Insert(rule.Prefix, rule)
		} else {
			r.keep.Insert(rule.Prefix, rule)
		}
	}
	for _, p := range slices.Concat(fixed, thisMachine) {
		r.let.Insert(p, Rule{Prefix: p, Allow: true, Why: "the configuration, or this machine", fixed: true})
	}
	return r
}

// of is the rule for an address: one that lets in, else one that keeps out. Of each the
// narrowest counts.
func (r *rules) of(ip netip.Addr) (Rule, bool) {
	for _, some := range []*bart.Table[Rule]{&r.let, &r.keep} {
		if rule, ok := some.Lookup(ip); ok && !rule.over(time.Now()) {
			return rule, true
		}
	}
	return Rule{}, false
}

// bounded leaves out what is above MaxRules: the bans that scores made, those first that
// end first.
func bounded(all []Rule) []Rule {
	if len(all) <= MaxRules {
		return all
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Rule) int {
		rank := func(r Rule) int {
			switch {
			case r.Allow:
				return 0
			case !r.Own:
				return 1
			}
			return 2
		}
		return cmp.Or(rank(a)-rank(b), b.Until.Compare(a.Until))
	})
	return all[:MaxRules]
}

// SetRules replaces the rules, as a store has them.
func (t *Table) SetRules(all []Rule) { t.rules.Store(newRules(t.opts.Allow, all)) }

// Rules are the rules that hold now, but for those of the configuration.
func (t *Table) Rules() []Rule {
	r, now := t.rules.Load(), time.Now()
	var all []Rule
	for _, some := range []*bart.Table[Rule]{&r.let, &r.keep} {
		for _, rule := range some.AllSorted() {
			if !rule.over(now) && !rule.fixed {
				all = append(all, rule)
			}
		}
	}
	return all
}

// ParsePrefix reads an address or a prefix. An IPv6 address stands for its /64, as it
// does everywhere.
func ParsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return p.Masked(), nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address such as 192.0.2.7 nor a prefix such as 192.0.2.0/24", text)
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.Prefix(32)
	}
	return ip.Prefix(64)
}

// Standing is what is known of an address or prefix.
type Standing struct {
	Prefix netip.Prefix
	Level  Level
	Score  float32        // of the address
	Trust  float32        // likewise
	Faults map[string]int `json:",omitempty"` // that the score is of, up to 255 each
	Until  time.Time      `json:",omitzero"`  // of a ban
	Rule   *Rule          `json:",omitempty"` // that comes before the score
}

// Why is what is known of an address, narrow first: its rule, its own record, and that
// of the /48 around it.
func (t *Table) Why(ip netip.Addr) []Standing {
	ip = ip.Unmap().WithZone("")
	now := t.now()
	own := t.standing(address(ip), now, 1)
	if rule, ok := t.rules.Load().of(ip); ok {
		own.Rule = &rule
		if own.Level = Banned; rule.Allow {
			own.Level = Fine
		}
	}
	all := []Standing{own}
	if ip.Is6() {
		all = append(all, t.standing(network(ip), now, around))
	}
	return all
}

func (t *Table) standing(key uint64, now uint32, bears float32) Standing {
	p := t.part(key)
	p.mu.Lock()
	r := p.of[key]
	p.mu.Unlock()
	return t.standingOf(key, r, now, bears)
}

func (t *Table) standingOf(key uint64, r record, now uint32, bears float32) Standing {
	r.age(now)
	s := Standing{Prefix: prefixOf(key), Level: r.levelAt(now, bears), Score: r.score, Trust: r.trust}
	if r.until > now {
		s.Until = t.time(r.until)
	}
	for f, n := range r.counts {
		if n > 0 {
			if s.Faults == nil {
				s.Faults = map[string]int{}
			}
			s.Faults[Fault(f).String()] = int(n)
		}
	}
	return s
}

// List are the addresses at a level or worse, the worst first, at most so many.
func (t *Table) List(from Level, most int) []Standing {
	now := t.now()
	var all []Standing
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		for key, r := range p.of {
			r.age(now)
			bears := float32(1)
			if prefixOf(key).Bits() == 48 {
				bears = around
			}
			if r.levelAt(now, bears) >= from && len(all) < 100*most {
				all = append(all, t.standingOf(key, r, now, bears))
			}
		}
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(b.Score, a.Score), a.Prefix.Compare(b.Prefix))
	})
	return all[:min(len(all), most)]
}

// Forgive forgets what addresses of a prefix did wrong, and ends their bans.
func (t *Table) Forgive(prefix netip.Prefix) {
	for i := range t.parts {
		p := &t.parts[i]
		p.mu.Lock()
		for key, r := range p.of {
			if prefixOf(key).Overlaps(prefix) {
				r.age(t.now())
				r.score, r.until, r.bans, r.level, r.counts = 0, 0, 0, Fine, [faults]uint8{}
				p.of[key] = r
			}
		}
		p.mu.Unlock()
	}
}
