// SPDX-License-Identifier: GPL-3.0-or-later

// Package reputation remembers how clients behave, over every door, and says how an
// address is to be met: as anybody, more slowly, with a proof of work, with a refusal,
// or not at all.
//
// What an address does wrong raises its score, and time lowers it. What it does right
// earns trust, which lets it do more wrong before it is met worse; nothing that somebody
// else does takes trust away. An IPv4 address, an IPv6 /64, and the /48 around it have a
// score each, so that a network does not escape by its many addresses. The rules of the
// administrator come before any score, and those that let in come first.
package reputation

import (
	"encoding/binary"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Level is how an address is to be met.
type Level uint8

// The levels, each of which includes those before it.
const (
	Fine    Level = iota
	Slow          // it waits before it is answered
	Work          // it proves work before it begins something new
	Refused       // it is told to come again later
	Banned        // it is not answered
)

// Fault is something that an honest client seldom does.
type Fault uint8

// The faults.
const (
	WrongPassword Fault = iota // one that was not tried before
	NoRecipient                // mail for an address that is not here; alone it bans nobody
	Probe                      // for a path or a protocol that only scanners try
	BadProtocol                // what no client of the protocol says
	Flood                      // more than a bound lets through
	Forged                     // a link, ticket or token that was never given out
	faults        = iota
)

var faultNames = [faults]string{"wrong passwords", "unknown recipients", "probes", "bad protocol", "floods", "forgeries"}

func (f Fault) String() string { return faultNames[f] }

// weights are what a fault adds to a score.
var weights = [faults]float32{3, 0.5, 10, 3, 0.5, 2}

// Scores from which an address without trust is met at a level, and at which a /48 is.
var thresholds = [...]float32{Slow: 10, Work: 20, Refused: 40, Banned: 80}

const (
	// around is how many times the threshold of one address the /48 around it bears.
	around = 8
	// forgivenIn is the time in which a score falls to its half.
	forgivenIn = 30 * time.Minute
	// trustedFor is the time in which trust falls to its half.
	trustedFor = 30 * 24 * time.Hour
	// maxTolerance is how many times the thresholds somebody bears who is trusted much.
	maxTolerance = 5
	// halfTrust is the trust with which half of that is reached.
	halfTrust = 10
	maxTrust  = 1000

	// DefaultMax is how many addresses are remembered.
	DefaultMax = 1 << 20
	// DefaultBan is how long the first ban of an address is; each further one is twice
	// as long, up to longestBan.
	DefaultBan, longestBan = time.Hour, 24 * time.Hour

	shards = 64
)

// Options of a Table. What is zero is its default.
type Options struct {
	Max    int           // addresses remembered; the one with the least to remember is forgotten
	Ban    time.Duration // how long the first ban is
	DryRun bool          // every address is met as Fine; what would be done is logged and counted
	Allow  []netip.Prefix
	Log    *slog.Logger
}

// Table is what is known of addresses. Its methods may be called from any goroutine. A
// nil Table knows nothing, and everybody is fine.
type Table struct {
	opts  Options
	start time.Time
	rules atomic.Pointer[rules]
	parts [shards]part
	found func(netip.Prefix, time.Time) // a ban began
}

// part is a share of the addresses, under a lock of its own.
type part struct {
	mu sync.Mutex
	of map[uint64]record
}

// record is what is known of one address, in 32 octets with its key.
type record struct {
	score, trust float32
	at           uint32 // seconds since start, to which score and trust belong
	until        uint32 // seconds since start at which a ban ends; 0: there is none
	bans         uint8
	level        Level // that was told last
	counts       [faults]uint8
}

// New returns a table. bans, if it is not nil, is told of each ban that begins; it must
// not block.
func New(o Options, bans func(netip.Prefix, time.Time)) *Table {
	if o.Max == 0 {
		o.Max = DefaultMax
	}
	if o.Ban == 0 {
		o.Ban = DefaultBan
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table{opts: o, start: time.Now().Add(-time.Second), found: bans} // so that no time is 0
	t.SetRules(nil)
	for i := range t.parts {
		t.parts[i].of = make(map[uint64]record)
	}
	return t
}

// DryRun says whether nothing is done to anybody.
func (t *Table) DryRun() bool { return t.opts.DryRun }

// Level says how an address is to be met.
func (t *Table) Level(ip netip.Addr) Level {
	if t == nil || t.opts.DryRun {
		return Fine
	}
	return t.judge(ip)
}

// Bars says whether connections of an address are not taken. Who is Refused may still sign in
// where the login is known, so that doors at which people sign in take these.
func (t *Table) Bars(ip netip.Addr) bool { return t.Level(ip) >= Banned }

// Delay is how long an address at a level waits before it is answered.
func (l Level) Delay() time.Duration {
	switch l {
	case Fine:
		return 0
	case Slow:
		return 500 * time.Millisecond
	}
	return 2 * time.Second
}

func (t *Table) judge(ip netip.Addr) Level {
	if ip = ip.Unmap().WithZone(""); !ip.IsValid() {
		return Fine
	}
	if rule, ok := t.rules.Load().of(ip); ok {
		if rule.Allow {
			return Fine
		}
		return Banned
	}
	now := t.now()
	level := t.look(address(ip), now, 1)
	if ip.Is6() && level < Banned {
		level = max(level, t.look(network(ip), now, around))
	}
	return level
}

// Fault counts what an address did wrong.
func (t *Table) Fault(ip netip.Addr, f Fault) {
	if t == nil || !ip.IsValid() {
		return
	}
	counted.WithLabelValues(f.String()).Inc()
	ip = ip.Unmap().WithZone("")
	if rule, ok := t.rules.Load().of(ip); ok && rule.Allow {
		return
	}
	t.add(ip, address(ip), 1, f)
	if ip.Is6() {
		t.add(ip, network(ip), around, f)
	}
}

// Good counts that an address did what only an honest client does, as to sign in.
func (t *Table) Good(ip netip.Addr) {
	if t == nil || !ip.IsValid() {
		return
	}
	ip = ip.Unmap().WithZone("")
	t.change(address(ip), func(r *record, now uint32) { r.trust = min(r.trust+1, maxTrust) })
}

func (t *Table) add(ip netip.Addr, key uint64, bears float32, f Fault) {
	var level Level
	var from, until uint32
	t.change(key, func(r *record, now uint32) {
		// Others write to wrong addresses, and their server is the one that brings it.
		if f != NoRecipient || r.score < thresholds[Refused]-1 {
			r.score += weights[f]
		}
		if r.counts[f] < math.MaxUint8 {
			r.counts[f]++
		}
		if r.levelAt(now, bears) == Banned && r.until <= now {
			length := min(t.opts.Ban<<min(r.bans, 16), longestBan)
			from, until = now, now+uint32(length/time.Second)
			r.until = until
			r.bans = min(r.bans+1, math.MaxUint8-1)
		}
		if is := r.levelAt(now, bears); is > r.level {
			level = is
			r.level = is
		}
	})
	if level == Fine {
		return
	}
	prefix := prefixOf(key)
	reached.WithLabelValues(level.String()).Inc()
	t.opts.Log.Info("an address is met worse", "address", prefix, "level", level, "fault", f, "dry_run", t.opts.DryRun)
	if until > from && t.found != nil && !t.opts.DryRun {
		t.found(prefix, t.time(until))
	}
}

// change hands the record under a key, aged to now, to do.
func (t *Table) change(key uint64, do func(r *record, now uint32)) {
	p := t.part(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := t.now()
	r, ok := p.of[key]
	if !ok {
		if len(p.of) >= max(1, t.opts.Max/shards) {
			p.forget(now)
		}
		r.at = now
	}
	r.age(now)
	do(&r, now)
	p.of[key] = r
}

// look is the level of a key.
func (t *Table) look(key uint64, now uint32, bears float32) Level {
	p := t.part(key)
	p.mu.Lock()
	r, ok := p.of[key]
	p.mu.Unlock()
	if !ok {
		return Fine
	}
	r.age(now)
	return r.levelAt(now, bears)
}

// forget makes room for one record: of a few, the one with the least to remember goes.
func (p *part) forget(now uint32) {
	const few = 8
	var least uint64
	worth, n := float32(math.Inf(1)), 0
	for key, r := range p.of { // begins anywhere
		r.age(now)
		w := r.score + r.trust
		if r.until > now {
			w += thresholds[Banned]
		}
		if w < worth {
			least, worth = key, w
		}
		if n++; n == few {
			break
		}
	}
	delete(p.of, least)
}

// age lowers score and trust by the time that has passed.
func (r *record) age(now uint32) {
	if now <= r.at {
		return
	}
	passed := float64(now-r.at) * float64(time.Second)
	r.score *= float32(math.Exp2(-passed / float64(forgivenIn)))
	r.trust *= float32(math.Exp2(-passed / float64(trustedFor)))
	r.at = now
	if r.score < thresholds[Slow]/2 {
		r.level = Fine // it is told again when it comes back to it
		if r.score < 0.1 {
			r.score, r.counts = 0, [faults]uint8{}
		}
	}
}

func (r *record) levelAt(now uint32, bears float32) Level {
	if r.until > now {
		return Banned
	}
	bears *= 1 + (maxTolerance-1)*r.trust/(r.trust+halfTrust)
	level := Fine
	for l := Slow; l <= Banned; l++ {
		if r.score >= thresholds[l]*bears {
			level = l
		}
	}
	return level
}

func (t *Table) part(key uint64) *part {
	return &t.parts[key*0x9e3779b97f4a7c15>>58] // 64 of them
}

func (t *Table) now() uint32 { return uint32(time.Since(t.start) / time.Second) }

func (t *Table) time(at uint32) time.Time { return t.start.Add(time.Duration(at) * time.Second) }

// A key is the first 64 bits of an IPv6 address; an IPv4 address itself, which is none of
// those, since ::/32 is not given to anybody; or a /48 in the bits of the addresses
// without an owner.
const ofNetwork = 1 << 56 // 0100::/8 is for discarding (RFC 6666)

func address(ip netip.Addr) uint64 {
	if ip.Is4() {
		b := ip.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := ip.As16()
	return binary.BigEndian.Uint64(b[:8])
}

func network(ip netip.Addr) uint64 { return ofNetwork | address(ip)>>16 }

func prefixOf(key uint64) netip.Prefix {
	bits := 64
	switch {
	case key <= math.MaxUint32:
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(key))
		return netip.PrefixFrom(netip.AddrFrom4(b), 32)
	case key>>56 == ofNetwork>>56:
		key, bits = key<<16, 48
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], key)
	return netip.PrefixFrom(netip.AddrFrom16(b), bits)
}
