// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// maxRaces bounds how often one Grant begins again because another host or the
// keeper was quicker.
const maxRaces = 16

var errReply = errors.New("presence: a reply of Redis cannot be read")

// hostKeys names the keys of a relay host, which share a slot, in the order of
// host.lua.
func (d *Directory) hostKeys(host string) []string {
	base := d.opt.Prefix + ":{h:" + strings.ToLower(host) + "}:"
	return []string{base + "host", base + "ports", base + "logins", base + "idle", base + "held",
		base + "blocked", base + "used"}
}

// keyLease is the time to live of a host's keys: longer than that of the
// entries, as renewals do not touch it but heartbeats do.
func (d *Directory) keyLease() int64 { return ms(d.opt.TTL.Grant + d.opt.TTL.Hold) }

func (d *Directory) hostStep(script *script, host string, args ...any) step {
	return step{script, d.hostKeys(host), args}
}

// hostRun runs one script on the ports of a host.
func (d *Directory) hostRun(ctx context.Context, script *script, host string, args ...any) (*goredis.Cmd, error) {
	cmds, err := d.run(ctx, d.hostStep(script, host, args...))
	return cmds[0], err
}

func (d *Directory) grantStep(h presence.HostRange, login, mode string, preferred int) step {
	return d.hostStep(grantScript, h.Host, login, mode, h.Range.First(login), preferred,
		ms(d.opt.TTL.Grant), ms(d.opt.TTL.Hold), d.opt.ID)
}

// extendStep renews a grant at any host.
func (d *Directory) extendStep(host, login string) step {
	return d.hostStep(extendScript, host, login, ms(d.opt.TTL.Hold))
}

func (d *Directory) peekStep(host, by string, value any) step {
	return d.hostStep(peekScript, host, by, value, ms(d.opt.TTL.Grant), ms(d.opt.TTL.Hold))
}

// parseGrant reads the reply of host.lua.
func parseGrant(host, reply string) (presence.Grant, error) {
	f := strings.SplitN(reply, " ", 5)
	if len(f) != 5 {
		return presence.Grant{}, errReply
	}
	var n [4]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i], 10, 64); err != nil {
			return presence.Grant{}, errReply
		}
	}
	return presence.Grant{Login: f[4], Host: host, Port: int(n[0]), Granted: time.UnixMilli(n[1]),
		Renewed: time.UnixMilli(n[2]), Held: n[3] == 1}, nil
}

// outcome is the reply of grant.lua.
type outcome struct {
	what  string // nohost, none, taken, full, renewed, new
	grant presence.Grant
	taken bool

	pointer string // where the login's grant is said to be now
}

func parseOutcome(host string, cmd *goredis.Cmd) (o outcome, err error) {
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

// Grant implements presence.Grants. A login whose grant is at another host that
// is alive keeps it there.
func (d *Directory) Grant(ctx context.Context, login string) (g presence.Grant, err error) {
	if err := shared.CheckLogin(login); err != nil {
		return presence.Grant{}, err
	}
	if len(d.opt.Ranges) == 0 {
		return presence.Grant{}, fmt.Errorf("granting a port to %s: this process is no relay host: %w", login, presence.ErrNoPort)
	}
	err = d.call(ctx, "grant", func(ctx context.Context) error {
		for range maxRaces {
			if err := d.refused(); err != nil {
				return fmt.Errorf("granting a port to %s: %w", login, err)
			}
			var again bool
			if g, again, err = d.grant(ctx, login); !again {
				return err
			}
		}
		return fmt.Errorf("granting a port to %s: others were quicker %d times: %w", login, maxRaces, presence.ErrUnavailable)
	})
	return g, err
}

// grant makes one attempt. It says again when the world changed under it.
func (d *Directory) grant(ctx context.Context, login string) (g presence.Grant, again bool, err error) {
	own, leaving := d.own()
	guess := d.memory.of(login).host // where its grant is, if this process made it
	pointer, here, err := d.find(ctx, login, guess)
	if err != nil {
		return g, false, err
	}
	if here.what == "renewed" && pointer == guess {
		return d.granted(here), false, nil
	}
	if here.what == "nohost" && !leaving {
		return g, true, d.awaitHost(ctx)
	}
	there := outcome{what: "none"}
	if pointer != "" && pointer != guess {
		if there, err = d.renewAt(ctx, pointer, login); err != nil {
			return g, false, err
		}
	}
	switch {
	case there.what == "renewed":
		if here.what == "renewed" && !here.grant.Held {
			d.takeBack(ctx, here.grant)
		}
		if own.Has(pointer) {
			return d.granted(there), false, nil
		}
		d.meter.Renewed.Inc()
		return there.grant, false, nil
	case leaving:
		return g, false, fmt.Errorf("granting a port to %s: %w: this relay host is leaving", login, presence.ErrUnavailable)
	case there.what == "nohost" && own.Has(pointer):
		return g, true, d.awaitHost(ctx)
	case here.what == "none":
		here, again, err = d.grantHere(ctx, own, login, pointer)
	default:
		here.pointer, err = d.point(ctx, login, pointer, here.grant.Host)
	}
	if again || err != nil {
		return g, again, err
	}
	if here.pointer != here.grant.Host {
		d.takeBack(ctx, here.grant) // another host was quicker
		return g, true, nil
	}
	return d.granted(here), false, nil
}

// find asks in one round trip at which host a login's grant is said to be, and
// renews it at the host that this process guesses, if any.
func (d *Directory) find(ctx context.Context, login, guess string) (pointer string, here outcome, err error) {
	steps := []step{command("GETEX", d.pointerKey(login), "PX", ms(d.opt.TTL.Grant))}
	if guess != "" {
		steps = append(steps, d.extendStep(guess, login))
	}
	cmds, err := d.run(ctx, steps...)
	if err != nil {
		return "", here, err
	}
	pointer, _ = cmds[0].Text() // empty when there is none
	if guess == "" {
		return pointer, outcome{what: "none"}, nil
	}
	here, err = parseOutcome(guess, cmds[1])
	return pointer, here, err
}

// point says that a login's grant is at a host, and returns where it is then
// said to be.
func (d *Directory) point(ctx context.Context, login, before, host string) (string, error) {
	cmds, err := d.run(ctx, d.pointerStep(login, before, host))
	if err != nil {
		return "", err
	}
	return cmds[0].Text()
}

// pointStep is pointerStep in a plain command where nobody has said anything.
func (d *Directory) pointStep(login, before, host string) step {
	if before == "" {
		return command("SET", d.pointerKey(login), host, "NX", "GET", "PX", ms(d.opt.TTL.Grant))
	}
	return d.pointerStep(login, before, host)
}

// parsePointer reads the reply to pointStep.
func parsePointer(cmd *goredis.Cmd, host string) (string, error) {
	at, err := cmd.Text()
	if errors.Is(err, goredis.Nil) {
		return host, nil
	}
	return at, err
}

// pointerStep says that a login's grant is at a host, if nobody said otherwise.
func (d *Directory) pointerStep(login, before, host string) step {
	return step{pointerScript, []string{d.pointerKey(login)}, []any{before, host, ms(d.opt.TTL.Grant)}}
}

func (d *Directory) renewAt(ctx context.Context, host, login string) (outcome, error) {
	cmds, err := d.run(ctx, d.extendStep(host, login))
	if err != nil {
		return outcome{}, err
	}
	return parseOutcome(host, cmds[0])
}

// granted counts a grant of this process and remembers it.
func (d *Directory) granted(o outcome) presence.Grant {
	if o.what == "new" {
		d.meter.Granted.Inc()
	} else {
		d.meter.Renewed.Inc()
	}
	if o.taken {
		d.meter.Takeovers.Inc()
	}
	d.memory.put(o.grant)
	return o.grant
}

// takeBack gives up a grant of this process that was made twice. When that
// fails the port stays taken until it is the one idle for longest.
func (d *Directory) takeBack(ctx context.Context, g presence.Grant) {
	if _, err := d.hostRun(ctx, dropScript, g.Host, g.Login, g.Port); err == nil {
		d.memory.drop(g.Login, placeOf(g))
	}
}

// grantHere makes a new grant at the first of this process' hosts that has a
// free port, or where it had one; when there is none it takes over the grant
// idle for longest.
func (d *Directory) grantHere(ctx context.Context, own presence.HostRanges, login, pointer string) (o outcome, again bool, err error) {
	before := d.memory.of(login)
	if i := slices.IndexFunc(own, func(h presence.HostRange) bool { return h.Host == before.host }); i > 0 {
		own = slices.Concat(own[i:i+1], own[:i], own[i+1:])
	}
	if len(own) > 1 {
		for _, h := range own {
			o, again, err = d.grantAt(ctx, h, login, "free", before, pointer)
			if again || err != nil || o.what != "full" {
				return o, again, err
			}
			pointer = o.pointer
		}
	}
	h, err := d.mostIdle(ctx, own)
	if err != nil {
		return o, false, err
	}
	o, again, err = d.grantAt(ctx, h, login, "grant", before, pointer)
	if err == nil && o.what == "full" {
		err = fmt.Errorf("granting a port of %s to %s: %w", own, login, presence.ErrNoPort)
	}
	return o, again, err
}

// mostIdle returns the host with the grant that is idle for longest.
func (d *Directory) mostIdle(ctx context.Context, own presence.HostRanges) (presence.HostRange, error) {
	if len(own) == 1 {
		return own[0], nil
	}
	steps := make([]step, len(own))
	for i, h := range own {
		steps[i] = command("ZRANGE", d.hostKeys(h.Host)[3], 0, 0, "WITHSCORES")
	}
	cmds, err := d.run(ctx, steps...)
	if err != nil {
		return presence.HostRange{}, err
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
func firstScore(cmd *goredis.Cmd) (score float64, ok bool) {
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
func (d *Directory) grantAt(ctx context.Context, h presence.HostRange, login, mode string, before place, pointer string) (o outcome, again bool, err error) {
	preferred := 0
	if before.host == h.Host {
		preferred = before.port
	}
	for range shared.MaxProbes {
		cmds, err := d.run(ctx, d.grantStep(h, login, mode, preferred), d.pointStep(login, pointer, h.Host))
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
			return o, true, d.awaitHost(ctx)
		case "full", "renewed": // renewed by another call meanwhile
			return o, false, nil
		}
		if other, held := d.memory.heldBy(placeOf(o.grant)); held && other.login != login {
			// A failover lost that a conversation is on this port.
			return o, true, d.restore(ctx, h.Host, []remembered{other})
		}
		if perr := d.opt.Probe(h.Host, o.grant.Port); perr == nil {
			return o, false, nil
		} else if err := d.block(ctx, o.grant, perr); err != nil {
			return o, false, err
		}
	}
	return o, false, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, shared.MaxProbes, presence.ErrNoPort)
}
