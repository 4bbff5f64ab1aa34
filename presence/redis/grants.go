// SPDX-License-Identifier: GPL-3.0-or-later

package redis

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

	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// maxRaces bounds how often one Grant begins again because another host was
// quicker, or because this one was not announced.
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
		return presence.Grant{}, fmt.Errorf("granting a port to %s: this process is no relay host: %w", login,
			presence.ErrNoPort)
	}
	err = d.call(ctx, "grant", func(ctx context.Context) error {
		for range maxRaces {
			if err := d.refused(); err != nil {
				return fmt.Errorf("granting a port to %s: %w", login, err)
			}
			if g, err = d.grant(ctx, login); !errors.Is(err, errAgain) {
				return err
			}
		}
		return fmt.Errorf("granting a port to %s: others were quicker %d times: %w",
			login, maxRaces, presence.ErrUnavailable)
	})
	return g, err
}

// errAgain says that the world changed under an attempt to grant, and that it
// is to be made again.
var errAgain = errors.New("presence: to be tried again")

// grant makes one attempt.
func (d *Directory) grant(ctx context.Context, login string) (presence.Grant, error) {
	var none presence.Grant
	own, leaving := d.own()
	guess := d.memory.of(login).host // where its grant is, if this process made it
	pointer, here, err := d.find(ctx, login, guess)
	if err != nil {
		return none, err
	}
	if here.what == "renewed" && pointer == guess {
		return d.granted(here), nil
	}
	if here.what == "nohost" && !leaving {
		return none, d.awaitHost(ctx)
	}
	if pointer != "" && pointer != guess {
		there, err := d.renewAt(ctx, pointer, login)
		switch {
		case err != nil:
			return none, err
		case there.what == "renewed":
			return d.grantedElsewhere(ctx, own, here, there), nil
		case there.what == "nohost" && own.Has(pointer) && !leaving:
			return none, d.awaitHost(ctx)
		}
	}
	if leaving {
		return none, fmt.Errorf("granting a port to %s: %w: this relay host is leaving", login, presence.ErrUnavailable)
	}
	if here.what == "none" {
		here, err = d.grantHere(ctx, own, login, pointer)
	} else {
		here.pointer, err = d.point(ctx, login, pointer, here.grant.Host)
	}
	if err != nil {
		return none, err
	}
	if here.pointer != here.grant.Host {
		d.takeBack(ctx, here.grant) // another host was quicker
		return none, errAgain
	}
	return d.granted(here), nil
}

// grantedElsewhere counts a grant that the pointer of its login leads to, and
// gives up the one that was made here too.
func (d *Directory) grantedElsewhere(ctx context.Context, own presence.HostRanges, here, there outcome) presence.Grant {
	if here.what == "renewed" && !here.grant.Held {
		d.takeBack(ctx, here.grant)
	}
	if own.Has(there.grant.Host) {
		return d.granted(there)
	}
	d.meter.Renewed.Inc()
	return there.grant
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
func (d *Directory) grantHere(ctx context.Context, own presence.HostRanges, login, pointer string) (outcome, error) {
	before := d.memory.of(login)
	if i := slices.IndexFunc(own, func(h presence.HostRange) bool { return h.Host == before.host }); i > 0 {
		own = slices.Concat(own[i:i+1], own[:i], own[i+1:])
	}
	if len(own) > 1 {
		for _, h := range own {
			o, err := d.grantAt(ctx, h, login, "free", before, pointer)
			if err != nil || o.what != "full" {
				return o, err
			}
			pointer = o.pointer
		}
	}
	h, err := d.mostIdle(ctx, own)
	if err != nil {
		return outcome{}, err
	}
	o, err := d.grantAt(ctx, h, login, "grant", before, pointer)
	if err == nil && o.what == "full" {
		err = fmt.Errorf("granting a port of %s to %s: %w", own, login, presence.ErrNoPort)
	}
	return o, err
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
func (d *Directory) grantAt(ctx context.Context, h presence.HostRange, login, mode string, before place,
	pointer string) (outcome, error) {
	preferred := 0
	if before.host == h.Host {
		preferred = before.port
	}
	for range shared.MaxProbes {
		o, err := d.askFor(ctx, h, login, mode, preferred, pointer)
		if err != nil || o.what != "new" || o.pointer != h.Host {
			return o, err // also one that another call made meanwhile
		}
		if other, held := d.memory.heldBy(placeOf(o.grant)); held && other.login != login {
			// A failover lost that a conversation is on this port.
			return o, cmp.Or(d.restore(ctx, h.Host, []remembered{other}), errAgain)
		}
		perr := d.opt.Probe(h.Host, o.grant.Port)
		if perr == nil {
			return o, nil
		}
		if err := d.block(ctx, o.grant, perr); err != nil {
			return o, err
		}
		pointer = h.Host
	}
	return outcome{}, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, shared.MaxProbes, presence.ErrNoPort)
}

// askFor asks a host once for a grant, and for the pointer to it.
func (d *Directory) askFor(ctx context.Context, h presence.HostRange, login, mode string, preferred int,
	pointer string) (outcome, error) {
	cmds, err := d.run(ctx, d.grantStep(h, login, mode, preferred), d.pointStep(login, pointer, h.Host))
	if err != nil {
		return outcome{}, err
	}
	o, err := parseOutcome(h.Host, cmds[0])
	if err != nil {
		return o, err
	}
	if o.pointer, err = parsePointer(cmds[1], h.Host); err != nil {
		return o, err
	}
	switch {
	case o.pointer != h.Host && o.what != "new": // another host was quicker
		return o, errAgain
	case o.what == "nohost", o.what == "taken":
		return o, d.awaitHost(ctx)
	}
	return o, nil
}
