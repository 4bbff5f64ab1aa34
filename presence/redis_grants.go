// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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

func (r *Redis) hostStep(script *redis.Script, host string, args ...any) step {
	return step{script, r.hostKeys(host), args}
}

// hostRun runs one script on the ports of a host.
func (r *Redis) hostRun(ctx context.Context, script *redis.Script, host string, args ...any) (*redis.Cmd, error) {
	cmds, err := r.run(ctx, []step{r.hostStep(script, host, args...)}, nil)
	return cmds[0], err
}

func (r *Redis) grantStep(host, login, mode string, preferred int) step {
	return r.hostStep(grantScript, host, login, mode, r.opt.Range.first(login), preferred,
		ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold))
}

func (r *Redis) peekStep(host, by string, value any) step {
	return r.hostStep(peekScript, host, by, value, ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold))
}

// parseGrant reads the reply of view in host.lua.
func parseGrant(host string, v any) (Grant, error) {
	f, _ := v.([]any)
	if len(f) != 5 {
		return Grant{}, errReply
	}
	login, ok := f[1].(string)
	var n [5]int64
	for _, i := range []int{0, 2, 3, 4} {
		var is bool
		n[i], is = f[i].(int64)
		ok = ok && is
	}
	if !ok {
		return Grant{}, errReply
	}
	return Grant{Login: login, Host: host, Port: int(n[0]), Granted: time.UnixMilli(n[2]),
		Renewed: time.UnixMilli(n[3]), Held: n[4] == 1}, nil
}

// outcome is the reply of grant.lua.
type outcome struct {
	what  string // nohost, none, full, renewed, new
	grant Grant
	taken bool
}

func parseOutcome(host string, cmd *redis.Cmd) (o outcome, err error) {
	f, err := cmd.Slice()
	if err != nil {
		return o, err
	}
	if len(f) == 0 {
		return o, errReply
	}
	o.what, _ = f[0].(string)
	if len(f) == 3 {
		o.taken = f[2] == int64(1)
		o.grant, err = parseGrant(host, f[1])
	}
	return o, err
}

// Grant implements Directory. A login whose grant is at another host that is
// alive keeps it there.
func (r *Redis) Grant(ctx context.Context, login string) (g Grant, err error) {
	if err := checkLogin(login); err != nil {
		return Grant{}, err
	}
	if r.opt.Host == "" {
		return Grant{}, fmt.Errorf("granting a port to %s: this process is no relay host: %w", login, ErrNoPort)
	}
	err = r.call(ctx, "grant", func(ctx context.Context) error {
		for range maxRaces {
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
	own := r.opt.Host
	var at *redis.StringCmd
	cmds, err := r.run(ctx, []step{r.grantStep(own, login, "renew", 0)}, func(p redis.Pipeliner) {
		at = p.GetEx(ctx, r.pointerKey(login), r.opt.TTL.Grant)
	})
	if err != nil {
		return g, false, err
	}
	here, err := parseOutcome(own, cmds[0])
	if err != nil {
		return g, false, err
	}
	if here.what == "nohost" {
		return g, true, r.awaitHost(ctx)
	}
	pointer := at.Val()
	if here.what == "renewed" && pointer == own {
		return r.granted(here), false, nil
	}
	if pointer != "" && pointer != own {
		there, err := r.renewAt(ctx, pointer, login)
		if err != nil {
			return g, false, err
		}
		if there.what == "renewed" {
			if here.what == "renewed" && !here.grant.Held {
				r.takeBack(ctx, here.grant)
			}
			r.meter.renewed.Inc()
			return there.grant, false, nil
		}
	}
	if here.what == "none" {
		if here, again, err = r.grantHere(ctx, login); again || err != nil {
			return g, again, err
		}
	}
	cmds, err = r.run(ctx, []step{{pointerScript, []string{r.pointerKey(login)},
		[]any{pointer, own, ms(r.opt.TTL.Grant)}}}, nil)
	if err != nil {
		return g, false, err
	}
	if now, _ := cmds[0].Text(); now != own {
		r.takeBack(ctx, here.grant) // another host was quicker
		return g, true, nil
	}
	return r.granted(here), false, nil
}

func (r *Redis) renewAt(ctx context.Context, host, login string) (outcome, error) {
	cmds, err := r.run(ctx, []step{r.grantStep(host, login, "renew", 0)}, nil)
	if err != nil {
		return outcome{}, err
	}
	return parseOutcome(host, cmds[0])
}

// granted counts a grant of this host and remembers it.
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

// takeBack gives up a grant of this host that was made twice. When that fails
// the port stays taken until it is the one idle for longest.
func (r *Redis) takeBack(ctx context.Context, g Grant) {
	if _, err := r.hostRun(ctx, dropScript, g.Host, g.Login, g.Port); err == nil {
		r.memory.drop(g.Login, g.Port)
	}
}

// grantHere makes a new grant at this host.
func (r *Redis) grantHere(ctx context.Context, login string) (o outcome, again bool, err error) {
	own := r.opt.Host
	for range maxProbes {
		cmds, err := r.run(ctx, []step{r.grantStep(own, login, "grant", r.memory.portOf(login))}, nil)
		if err != nil {
			return o, false, err
		}
		if o, err = parseOutcome(own, cmds[0]); err != nil {
			return o, false, err
		}
		switch o.what {
		case "nohost":
			return o, true, r.awaitHost(ctx)
		case "full":
			return o, false, fmt.Errorf("granting a port of %s to %s: %w", r.opt.Range, login, ErrNoPort)
		case "renewed": // by another call meanwhile
			return o, false, nil
		}
		if other, held := r.memory.heldBy(o.grant.Port); held && other.login != login {
			// A failover lost that a conversation is on this port.
			return o, true, r.restore(ctx, []remembered{other})
		}
		if perr := r.opt.Probe(o.grant.Port); perr == nil {
			return o, false, nil
		} else if err := r.block(ctx, o.grant, perr); err != nil {
			return o, false, err
		}
	}
	return o, false, fmt.Errorf("granting a port to %s: %d ports in a row are taken by other programs: %w",
		login, maxProbes, ErrNoPort)
}

// GrantOf implements Directory.
func (r *Redis) GrantOf(ctx context.Context, login string) (g Grant, err error) {
	err = r.call(ctx, "grant_of", func(ctx context.Context) error {
		at, err := r.client.Get(ctx, r.pointerKey(login)).Result()
		if err == nil {
			g, err = r.peek(ctx, at, "login", login)
		}
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("looking up the grant of %s: %w", login, ErrUnknown)
		}
		return err
	})
	return g, err
}

// peek reads one grant; redis.Nil when there is none.
func (r *Redis) peek(ctx context.Context, host, by string, value any) (Grant, error) {
	s := r.peekStep(host, by, value)
	v, err := s.script.Run(ctx, r.client, s.keys, s.args...).Result()
	if err != nil {
		return Grant{}, err
	}
	return parseGrant(host, v)
}

// Resolve implements Directory.
func (r *Redis) Resolve(ctx context.Context, host string, port int) (login string, err error) {
	err = r.call(ctx, "resolve", func(ctx context.Context) error {
		g, err := r.peek(ctx, host, "port", port)
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("resolving port %d of %s: %w", port, host, ErrUnknown)
		}
		login = g.Login
		return err
	})
	return login, err
}

// Hold implements Directory. It renews the lease. Also while Redis does not
// answer, this process grants the port to nobody else.
func (r *Redis) Hold(ctx context.Context, g Grant) error {
	r.memory.hold(g.Login, g.Port, r.opt.TTL.Hold)
	return r.use(ctx, "hold", g, r.opt.TTL.Hold)
}

// Release implements Directory.
func (r *Redis) Release(ctx context.Context, g Grant) error {
	r.memory.hold(g.Login, g.Port, 0)
	return r.use(ctx, "release", g, 0)
}

func (r *Redis) use(ctx context.Context, op string, g Grant, hold time.Duration) error {
	return r.call(ctx, op, func(ctx context.Context) error {
		for range maxRaces {
			cmd, err := r.hostRun(ctx, holdScript, g.Host, g.Login, g.Port, ms(hold), r.keyLease())
			if err != nil {
				return err
			}
			switch what, _ := cmd.Text(); {
			case what == "ok":
				return nil
			case what == "nohost" && strings.EqualFold(g.Host, r.opt.Host):
				if err := r.awaitHost(ctx); err != nil {
					return err
				}
			default:
				if strings.EqualFold(g.Host, r.opt.Host) {
					r.memory.drop(g.Login, g.Port)
				}
				return fmt.Errorf("using port %d of %s for %s: %w", g.Port, g.Host, g.Login, ErrUnknown)
			}
		}
		return fmt.Errorf("using port %d of %s: its host is not announced: %w", g.Port, g.Host, ErrUnavailable)
	})
}

// Block implements Directory.
func (r *Redis) Block(ctx context.Context, g Grant) error {
	return r.call(ctx, "block", func(ctx context.Context) error { return r.block(ctx, g, nil) })
}

func (r *Redis) block(ctx context.Context, g Grant, why error) error {
	cmd, err := r.hostRun(ctx, blockScript, g.Host, g.Login, g.Port, ms(r.opt.TTL.Blocked), r.keyLease())
	if err != nil {
		return err
	}
	if strings.EqualFold(g.Host, r.opt.Host) {
		r.memory.drop(g.Login, g.Port)
	}
	if what, _ := cmd.Text(); what != "ok" {
		return fmt.Errorf("blocking port %d of %s: %w", g.Port, g.Host, ErrUnknown)
	}
	r.meter.blocked.Inc()
	r.opt.Log("port cannot be had and is skipped", "host", g.Host, "port", g.Port, "for", r.opt.TTL.Blocked, "error", why)
	return nil
}

// Grants implements Directory: the grants of every relay host, by port.
func (r *Redis) Grants(ctx context.Context, limit int) (gs []Grant, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	err = r.listing(ctx, "grants", func(ctx context.Context) error {
		var hosts []string
		if err := r.scan(ctx, "h", "ports", func(page []string) error {
			hosts = append(hosts, page...)
			return nil
		}); err != nil {
			return err
		}
		slices.Sort(hosts)
		for _, host := range slices.Compact(hosts) {
			if err := r.hostGrants(ctx, host, func(g Grant) { gs = append(gs, g) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	order := func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Host, b.Host))
	}
	slices.SortFunc(gs, order)
	// A scan may give an entry twice while others come and go.
	gs = slices.CompactFunc(gs, func(a, b Grant) bool { return order(a, b) == 0 })
	return gs[:min(limit, len(gs))], nil
}

// hostGrants calls f with every live grant of a host, perhaps twice.
func (r *Redis) hostGrants(ctx context.Context, host string, f func(Grant)) error {
	cursor := "0"
	for {
		cmd, err := r.hostRun(ctx, listScript, host, cursor, redisPage, ms(r.opt.TTL.Grant), ms(r.opt.TTL.Hold))
		if err != nil {
			return err
		}
		page, err := cmd.Slice()
		if err != nil || len(page) != 2 {
			return errors.Join(err, errReply)
		}
		list, _ := page[1].([]any)
		for _, v := range list {
			g, err := parseGrant(host, v)
			if err != nil {
				return err
			}
			f(g)
		}
		if cursor, _ = page[0].(string); cursor == "0" || cursor == "" {
			return nil
		}
	}
}
