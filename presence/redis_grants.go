// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxRaces bounds how often one Grant begins again because another host or the
// keeper was quicker.
const maxRaces = 16

var errReply = errors.New("presence: a reply of Redis cannot be read")

// hostKeys names the keys of a relay host, which share a slot, in the order of
// host.lua.
func (r *Redis) hostKeys(host string) []string {
	base := r.opt.Prefix + ":{h:" + strings.ToLower(host) + "}:"
	return []string{base + "host", base + "ports", base + "logins", base + "idle", base + "held",
		base + "blocked", base + "used"}
}

// keyLease is the time to live of a host's keys: longer than that of the
// entries, as renewals do not touch it but heartbeats do.
func (r *Redis) keyLease() int64 { return ms(r.opt.TTL.Grant + r.opt.TTL.Hold) }

func (r *Redis) hostStep(script *script, host string, args ...any) step {
	return step{script, r.hostKeys(host), args}
}

// hostRun runs one script on the ports of a host.
func (r *Redis) hostRun(ctx context.Context, script *script, host string, args ...any) (*redis.Cmd, error) {
	cmds, err := r.run(ctx, r.hostStep(script, host, args...))
	return cmds[0], err
}

func (r *Redis) grantStep(h HostRange, login, mode string, preferred int) step {
	return r.hostStep(grantScript, h.Host, login, mode, h.Range.first(login), preferred,
		ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold), r.opt.ID)
}

// extendStep renews a grant at any host.
func (r *Redis) extendStep(host, login string) step {
	return r.hostStep(extendScript, host, login, ms(r.opt.TTL.Hold))
}

func (r *Redis) peekStep(host, by string, value any) step {
	return r.hostStep(peekScript, host, by, value, ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold))
}

// parseGrant reads the reply of host.lua.
func parseGrant(host, reply string) (Grant, error) {
	f := strings.SplitN(reply, " ", 5)
	if len(f) != 5 {
		return Grant{}, errReply
	}
	var n [4]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return Grant{}, errReply
		}
	}
	return Grant{Login: f[4], Host: host, Port: int(n[0]), Granted: time.UnixMilli(n[1]),
		Renewed: time.UnixMilli(n[2]), Held: n[3] == 1}, nil
}

// outcome is the reply of grant.lua.
type outcome struct {
	what  string // nohost, none, taken, full, renewed, new
	grant Grant
	taken bool

	pointer string // where the login's grant is said to be now
}

func parseOutcome(host string, cmd *redis.Cmd) (o outcome, err error) {
	text, err := cmd.Text()
	if err != nil {
		return o, err
	}
	what, grant, there := strings.Cut(text, " ")
	if o.what = what; o.what == "takeover" {
		o.what, o.taken = "new", true
	}
	if there {
		o.grant, err = parseGrant(host, grant)
	}
	return o, err
}

// Grant implements Directory. A login whose grant is at another host that is
// alive keeps it there.
func (r *Redis) Grant(ctx context.Context, login string) (g Grant, err error) {
	if err := checkLogin(login); err != nil {
		return Grant{}, err
	}
	if len(r.opt.Ranges) == 0 {
		return Grant{}, fmt.Errorf("granting a port to %s: this process is no relay host: %w", login, ErrNoPort)
	}
	err = r.call(ctx, "grant", func(ctx context.Context) error {
		for range maxRaces {
			if err := r.refused(); err != nil {
				return fmt.Errorf("granting a port to %s: %w", login, err)
			}
			var again bool
			if g, again, err = r.grant(ctx, login); !again {
				return err
			}
		}
		return fmt.Errorf("granting a port to %s: others were quicker %d times: %w", login, maxRaces, ErrUnavailable)
	})
	return g, err
}

// grant says again when the world changed under it.
func (r *Redis) grant(ctx context.Context, login string) (g Grant, again bool, err error) {
	own, leaving := r.own()
	guess := r.memory.of(login).host // where its grant is, if this process made it
	steps := []step{command("GETEX", r.pointerKey(login), "PX", ms(r.opt.TTL.Grant))}
	if guess != "" {
		steps = append(steps, r.extendStep(guess, login))
	}
	cmds, err := r.run(ctx, steps...)
	if err != nil {
		return g, false, err
	}
	here := outcome{what: "none"}
	if guess != "" {
		if here, err = parseOutcome(guess, cmds[1]); err != nil {
			return g, false, err
		}
	}
	if here.what == "nohost" && !leaving {
		return g, true, r.awaitHost(ctx)
	}
	pointer, _ := cmds[0].Text()
	if here.what == "renewed" && pointer == guess {
		return r.granted(here), false, nil
	}
	if pointer != "" && pointer != guess {
		there, err := r.renewAt(ctx, pointer, login)
		if err != nil {
			return g, false, err
		}
		ours := own.has(pointer)
		if ours && there.what == "nohost" && !leaving {
			return g, true, r.awaitHost(ctx)
		}
		if there.what == "renewed" {
			if here.what == "renewed" && !here.grant.Held {
				r.takeBack(ctx, here.grant)
			}
			if ours {
				return r.granted(there), false, nil
			}
			r.meter.renewed.Inc()
			return there.grant, false, nil
		}
	}
	if leaving {
		return g, false, fmt.Errorf("granting a port to %s: %w: this relay host is leaving", login, ErrUnavailable)
	}
	if here.what == "none" {
		here, again, err = r.grantHere(ctx, own, login, pointer)
	} else {
		cmds, err = r.run(ctx, r.pointerStep(login, pointer, here.grant.Host))
		if err == nil {
			here.pointer, err = cmds[0].Text()
		}
	}
	if again || err != nil {
		return g, again, err
	}
	if here.pointer != here.grant.Host {
		r.takeBack(ctx, here.grant) // another host was quicker
		return g, true, nil
	}
	return r.granted(here), false, nil
}

// pointStep is pointerStep in a plain command where nobody has said anything.
func (r *Redis) pointStep(login, before, host string) step {
	if before == "" {
		return command("SET", r.pointerKey(login), host, "NX", "GET", "PX", ms(r.opt.TTL.Grant))
	}
	return r.pointerStep(login, before, host)
}

// parsePointer reads the reply to pointStep.
func parsePointer(cmd *redis.Cmd, host string) (string, error) {
	at, err := cmd.Text()
	if errors.Is(err, redis.Nil) {
		return host, nil
	}
	return at, err
}

// pointerStep says that a login's grant is at a host, if nobody said otherwise.
func (r *Redis) pointerStep(login, before, host string) step {
	return step{pointerScript, []string{r.pointerKey(login)}, []any{before, host, ms(r.opt.TTL.Grant)}}
}

func (r *Redis) renewAt(ctx context.Context, host, login string) (outcome, error) {
	cmds, err := r.run(ctx, r.extendStep(host, login))
	if err != nil {
		return outcome{}, err
	}
	return parseOutcome(host, cmds[0])
}

// granted counts a grant of this process and remembers it.
func (r *Redis) granted(o outcome) Grant {
	if o.what == "new" {
		r.meter.granted.Inc()
	} else {
		r.meter.renewed.Inc()
	}
	if o.taken {
		r.meter.takeovers.Inc()
	}
	r.memory.put(o.grant)
	return o.grant
}

// takeBack gives up a grant of this process that was made twice. When that
// fails the port stays taken until it is the one idle for longest.
func (r *Redis) takeBack(ctx context.Context, g Grant) {
	if _, err := r.hostRun(ctx, dropScript, g.Host, g.Login, g.Port); err == nil {
		r.memory.drop(g.Login, placeOf(g))
	}
}

// fullFor is how long a host without a free port is not asked for one, where
// there are others.
const fullFor = 5 * time.Second

// grantHere makes a new grant at the first of this process' hosts that has a
// free port, or where it had one; when there is none it takes over the grant
// idle for longest.
func (r *Redis) grantHere(ctx context.Context, own slots, login, pointer string) (o outcome, again bool, err error) {
	before := r.memory.of(login)
	if before.host != "" {
		slices.SortStableFunc(own, func(a, b HostRange) int {
			return cmp.Compare(b2i(b.Host == before.host), b2i(a.Host == before.host))
		})
	}
	if len(own) > 1 {
		for _, h := range own {
			if r.isFull(h.Host) {
				continue
			}
			o, again, err = r.grantAt(ctx, h, login, "free", before, pointer)
			if again || err != nil || o.what != "full" {
				return o, again, err
			}
			r.setFull(h.Host)
			pointer = o.pointer
		}
	}
	h, err := r.mostIdle(ctx, own)
	if err != nil {
		return o, false, err
	}
	o, again, err = r.grantAt(ctx, h, login, "grant", before, pointer)
	if err == nil && o.what == "full" {
		err = fmt.Errorf("granting a port of %s to %s: %w", own, login, ErrNoPort)
	}
	return o, again, err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *Redis) isFull(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.full[host])
}

func (r *Redis) setFull(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full[host] = time.Now().Add(fullFor)
}

// mostIdle returns the host with the grant that is idle for longest.
func (r *Redis) mostIdle(ctx context.Context, own slots) (HostRange, error) {
	if len(own) == 1 {
		return own[0], nil
	}
	steps := make([]step, len(own))
	for i, h := range own {
		steps[i] = command("ZRANGE", r.hostKeys(h.Host)[3], 0, 0, "WITHSCORES")
	}
	cmds, err := r.run(ctx, steps...)
	if err != nil {
		return HostRange{}, err
	}
	best, oldest := own[0], math.Inf(1)
	for i, cmd := range cmds {
		if score, ok := firstScore(cmd); ok && score < oldest {
			best, oldest = own[i], score
		}
	}
	return best, nil
}

// firstScore reads the reply of ZRANGE WITHSCORES.
func firstScore(cmd *redis.Cmd) (score float64, ok bool) {
	list, _ := cmd.Slice()
	if len(list) == 1 { // RESP3: pairs
		list, _ = list[0].([]any)
	}
	if len(list) != 2 {
		return 0, false
	}
	switch v := list[1].(type) {
	case float64:
		return v, true
	case string:
		score, err := strconv.ParseFloat(v, 64)
		return score, err == nil
	}
	return 0, false
}

// grantAt makes a new grant at one host, and in the same round trip the pointer
// to it. A pointer to a host that has no grant for the login does no harm.
func (r *Redis) grantAt(ctx context.Context, h HostRange, login, mode string, before place, pointer string) (o outcome, again bool, err error) {
	preferred := 0
	if before.host == h.Host {
		preferred = before.port
	}
	for range maxProbes {
		cmds, err := r.run(ctx, r.grantStep(h, login, mode, preferred), r.pointStep(login, pointer, h.Host))
		if err != nil {
			return o, false, err
		}
		if o, err = parseOutcome(h.Host, cmds[0]); err != nil {
			return o, false, err
		}
		if o.pointer, err = parsePointer(cmds[1], h.Host); err != nil {
			return o, false, err
		}
		if o.pointer != h.Host { // another host was quicker
			return o, o.what != "new", nil
		}
		pointer = h.Host
		switch o.what {
		case "nohost", "taken":
			return o, true, r.awaitHost(ctx)
		case "full", "renewed": // renewed by another call meanwhile
			return o, false, nil
		}
		if other, held := r.memory.heldBy(placeOf(o.grant)); held && other.login != login {
			// A failover lost that a conversation is on this port.
			return o, true, r.restore(ctx, h.Host, []remembered{other})
		}
		if perr := r.opt.Probe(h.Host, o.grant.Port); perr == nil {
			return o, false, nil
		} else if err := r.block(ctx, o.grant, perr); err != nil {
			return o, false, err
		}
	}
	return o, false, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, maxProbes, ErrNoPort)
}
