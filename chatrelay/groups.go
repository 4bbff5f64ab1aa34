// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// groups are addresses whose members share their rings, as several sources name
// them: the configuration, and parts of the server that add others while it runs.
type groups struct {
	mu  sync.RWMutex
	of  map[string]map[string][]string // source → address → logins
	all map[string][]string            // of every source
	has map[string][]string            // login → addresses of its groups

	hours map[string]Hours // of groups that are not always open
}

// Hours are when a group is open. They can be compared with ==.
type Hours interface {
	// At says whether it is open, and when that changes; zero: never.
	At(now time.Time) (open bool, changes time.Time)
}

func (g *groups) set(source string, groups map[string][]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[string]map[string][]string{}
	}
	g.of[source] = groups
	g.all, g.has = map[string][]string{}, map[string][]string{}
	for _, source := range slices.Sorted(maps.Keys(g.of)) {
		for addr, logins := range g.of[source] {
			for _, l := range logins {
				if l, addr := strings.ToLower(l), strings.ToLower(addr); !slices.Contains(g.all[addr], l) {
					g.all[addr] = append(g.all[addr], l)
					g.has[l] = append(g.has[l], addr)
				}
			}
		}
	}
}

// members are those of a group; none: the login is no group's.
func (g *groups) members(login string) []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.all[login]
}

// SetGroups replaces the groups that one source names, also while people are in
// conversations. The source of the configuration's is empty.
func (r *Relay) SetGroups(ctx context.Context, source string, groups map[string][]string) error {
	if err := r.opt.Rooms.SetGroups(ctx, source, groups); err != nil {
		return err
	}
	r.groups.set(source, groups)
	return nil
}

// SetGroupHours replaces the hours of groups; one without them is always open. A closed
// group is not rung, whoever of its members is there: it is mailed. Each relay of several
// is told by its own host.
func (r *Relay) SetGroupHours(hours map[string]Hours) {
	r.groups.mu.Lock()
	before := r.groups.hours
	r.groups.hours = maps.Clone(hours)
	r.groups.mu.Unlock()
	for addr, h := range hours {
		if before[addr] != h {
			r.heedSettings(addr)
		}
	}
	for addr := range before {
		if _, has := hours[addr]; !has {
			r.heedSettings(addr)
		}
	}
}

// open says whether a login is no group that is closed now, and when that changes.
func (g *groups) open(login string, now time.Time) (open bool, changes time.Time) {
	g.mu.RLock()
	hours := g.hours[strings.ToLower(login)]
	g.mu.RUnlock()
	if hours == nil {
		return true, time.Time{}
	}
	return hours.At(now)
}

// members are the logins that stand behind one: those of a group, or itself.
func (r *Relay) members(login string) []string {
	if of := r.groups.members(login); len(of) > 0 {
		return of
	}
	return []string{login}
}

// groupsOf are a login and the groups of which it is a member.
func (r *Relay) groupsOf(login string) []string {
	r.groups.mu.RLock()
	defer r.groups.mu.RUnlock()
	return append([]string{login}, r.groups.has[login]...)
}
