// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// redisTimeout bounds each call that a mail waits for, whatever it takes.
	redisTimeout = 40 * time.Millisecond
	// redisPool bounds the connections to a Redis server.
	redisPool = 64
	// retryEvery is how often a Redis that does not answer is asked again;
	// callers do not wait for it meanwhile.
	retryEvery = 250 * time.Millisecond
	// redisPage is the most entries asked for at once in listings, and the most
	// grants of one step when they are restored.
	redisPage = 256
)

// RedisOptions configures OpenRedis.
type RedisOptions struct {
	// URL is redis://[user:password@]host[:port][,host…][/db], or rediss:// for
	// TLS. Several hosts are a Cluster (one with ?cluster=yes), or the Sentinels
	// of ?master=NAME. ?ca=FILE is the authority of the certificate.
	URL     string
	Prefix  string               // of every key; empty means "chmail"
	Timeout time.Duration        // of a call; zero means 40 ms
	Host    string               // name of this relay host; empty for who only reads and grants nothing
	Range   Range                // ports granted; zero means DefaultRange
	Probe   func(port int) error // called before a port is newly granted; may be nil
	TTL     TTLs
	Log     Logger // may be nil
}

// Redis is the Directory that several machines share. Redis 6.2 or newer,
// alone, with Sentinels, or a Cluster; its eviction policy should be noeviction.
//
// The keys of a login share a slot, and so do the keys of a relay host's ports:
// the host's slot is the authority on who has a port, and the login's slot only
// points to the host. All times are those of the Redis server.
//
// A goroutine, the keeper, sends the heartbeats of the host. When Redis does
// not answer, calls fail at once with ErrUnavailable while the keeper asks
// again. This process remembers the grants of its host, and the keeper makes
// them again, those with a conversation first, before anything else is granted
// by a Redis that lost them or whose clock jumped.
type Redis struct {
	opt    RedisOptions
	client redis.UniversalClient
	meter  *meter
	memory memory

	down atomic.Bool   // calls fail at once
	kick chan struct{} // wakes the keeper
	stop chan struct{}
	done chan struct{} // closed when the keeper has ended
	once sync.Once     // of Close

	mu     sync.Mutex
	beaten chan struct{} // closed, and made anew, when a heartbeat was taken
}

var _ Directory = (*Redis)(nil)

var goodPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// OpenRedis opens a shared directory. That Redis cannot be reached is no error:
// calls return ErrUnavailable until it can.
func OpenRedis(opt RedisOptions) (*Redis, error) {
	uni, err := parseURL(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	if opt.Prefix == "" {
		opt.Prefix = "chmail"
	}
	if !goodPrefix.MatchString(opt.Prefix) {
		return nil, fmt.Errorf("opening presence: prefix %q: want letters, digits and _.:-", opt.Prefix)
	}
	opt.Host = strings.ToLower(opt.Host)
	if opt.Host != "" {
		if err := checkHost(opt.Host, &opt.Range); err != nil {
			return nil, fmt.Errorf("opening presence: %w", err)
		}
	}
	if opt.Timeout <= 0 {
		opt.Timeout = redisTimeout
	}
	if opt.Probe == nil {
		opt.Probe = func(int) error { return nil }
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	opt.TTL = opt.TTL.withDefaults()

	uni.ContextTimeoutEnabled = true
	uni.DialTimeout, uni.ReadTimeout, uni.WriteTimeout = opt.Timeout, opt.Timeout, opt.Timeout
	uni.PoolTimeout = opt.Timeout
	uni.PoolSize = redisPool
	uni.PipelinePoolSize = -1 // pipelines are short: one pool for all
	uni.MaxRetries = -1       // the keeper tries again, no mail waits for it
	uni.DialerRetries = 1
	uni.DisableIdentity = true
	uni.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	r := &Redis{
		opt:    opt,
		client: redis.NewUniversalClient(uni),
		meter:  newMeter("redis"),
		memory: newMemory(),
		kick:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		beaten: make(chan struct{}),
	}
	go r.keep()
	return r, nil
}

func init() {
	// The client would print every failed connection; the keeper says once that
	// Redis is gone, and once that it is back.
	logging.Disable()
}

// Close ends the keeper and the connections. Grants and addresses stay.
func (r *Redis) Close() error {
	var err error
	r.once.Do(func() {
		close(r.stop)
		<-r.done
		err = r.client.Close()
	})
	return err
}

// login names a key of a login; the keys of a login share a slot.
func (r *Redis) login(login, kind string) string {
	return r.opt.Prefix + ":{l:" + login + "}:" + kind
}

func (r *Redis) addressKey(login string) string { return r.login(login, "a") }
func (r *Redis) devicesKey(login string) string { return r.login(login, "d") }
func (r *Redis) pointerKey(login string) string { return r.login(login, "g") }

// call runs one operation within the time a mail may wait for it.
func (r *Redis) call(ctx context.Context, op string, f func(context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	return r.listing(inner, op, f)
}

// listing runs one operation within the time its context gives.
func (r *Redis) listing(ctx context.Context, op string, f func(context.Context) error) (err error) {
	began := time.Now()
	defer r.meter.done(op, began, &err)
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.down.Load() {
		return fmt.Errorf("%w: Redis did not answer", ErrUnavailable)
	}
	err = f(ctx)
	switch {
	case err == nil, errors.Is(err, ErrUnknown), errors.Is(err, ErrNoPort), errors.Is(err, ErrUnavailable),
		errors.Is(err, context.Canceled):
		return err
	case isReply(err):
		// An answer, if not the one that is wanted: it delays nobody.
	case errors.Is(err, redis.ErrPoolTimeout):
		// Too many calls at once, which says nothing about Redis.
	case errors.Is(err, context.DeadlineExceeded) && time.Since(began) < r.opt.Timeout/4:
		// The caller had no time to wait for an answer.
	default:
		r.lost(err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// isReply says whether an error is an answer of Redis.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// sighting is what an address or a device holds beside its times.
type sighting struct {
	Source Source     `json:"s"`
	IP     netip.Addr `json:"i"`
	Host   string     `json:"h,omitempty"`
	Name   string     `json:"n,omitempty"`
}

func (s sighting) String() string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // four strings
	}
	return string(b)
}

func ms(d time.Duration) int64 { return d.Milliseconds() }

// Renew implements Directory.
func (r *Redis) Renew(ctx context.Context, a Address) error {
	if err := checkLogin(a.Login); err != nil {
		return err
	}
	return r.call(ctx, "renew", func(ctx context.Context) error {
		_, err := r.run(ctx, []step{{renewScript, []string{r.addressKey(a.Login)}, []any{
			ms(age(time.Now(), a.Seen)),
			sighting{Source: a.Source, IP: a.IP, Host: cut(a.Host)}.String(),
			ms(r.opt.TTL.Address),
		}}}, nil)
		return err
	})
}

// Lookup implements Directory.
func (r *Redis) Lookup(ctx context.Context, login string) (a Address, err error) {
	err = r.call(ctx, "lookup", func(ctx context.Context) error {
		v, err := r.client.Get(ctx, r.addressKey(login)).Result()
		if errors.Is(err, redis.Nil) {
			return fmt.Errorf("looking up %s: %w", login, ErrUnknown)
		}
		if err != nil {
			return err
		}
		a, err = parseAddress(login, v)
		return err
	})
	return a, err
}

// parseAddress reads "seen json".
func parseAddress(login, v string) (Address, error) {
	seen, rest, _ := strings.Cut(v, " ")
	at, err1 := strconv.ParseInt(seen, 10, 64)
	var s sighting
	if err := errors.Join(err1, json.Unmarshal([]byte(rest), &s)); err != nil {
		return Address{}, fmt.Errorf("reading the address of %s: %w", login, err)
	}
	return Address{Login: login, IP: s.IP, Host: s.Host, Source: s.Source, Seen: time.UnixMilli(at)}, nil
}

// Addresses implements Directory. It looks at every login, a page at a time.
func (r *Redis) Addresses(ctx context.Context, limit int) (as []Address, err error) {
	if limit <= 0 {
		return nil, ctx.Err()
	}
	newest := func(a, b Address) int { return b.Seen.Compare(a.Seen) }
	err = r.listing(ctx, "addresses", func(ctx context.Context) error {
		return r.scan(ctx, "l", "a", func(logins []string) error {
			cmds, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, login := range logins {
					p.Get(ctx, r.addressKey(login))
				}
				return nil
			})
			if err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			for i, cmd := range cmds {
				v, err := cmd.(*redis.StringCmd).Result()
				if err != nil {
					continue // expired meanwhile
				}
				if a, err := parseAddress(logins[i], v); err == nil {
					as = append(as, a)
				}
			}
			if len(as) >= 2*limit+redisPage {
				slices.SortFunc(as, newest)
				as = as[:limit]
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(as, newest)
	return as[:min(limit, len(as))], nil
}

// scan calls f with the names, a page at a time, for which there are keys of a
// kind; tag is "l" for logins and "h" for hosts.
func (r *Redis) scan(ctx context.Context, tag, kind string, f func(names []string) error) error {
	before, after := r.opt.Prefix+":{"+tag+":", "}:"+kind
	var mu sync.Mutex // the masters of a Cluster are scanned side by side
	one := func(ctx context.Context, c *redis.Client) error {
		var cursor uint64
		for {
			keys, next, err := c.Scan(ctx, cursor, before+"*"+after, redisPage).Result()
			if err != nil {
				return err
			}
			for i, key := range keys {
				keys[i] = strings.TrimSuffix(strings.TrimPrefix(key, before), after)
			}
			mu.Lock()
			err = f(keys)
			mu.Unlock()
			if cursor = next; err != nil || cursor == 0 {
				return err
			}
		}
	}
	switch c := r.client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, c)
	}
	return fmt.Errorf("scanning %T: not supported", r.client)
}

// Connect implements Directory.
func (r *Redis) Connect(ctx context.Context, d Device) error {
	if err := checkDevice(d); err != nil {
		return err
	}
	return r.call(ctx, "connect", func(ctx context.Context) error {
		s := sighting{Source: d.Source, IP: d.IP, Host: cut(d.Host)}
		address := s.String()
		s.Name = cut(d.Name)
		since := int64(-1)
		if !d.Connected.IsZero() {
			since = ms(age(time.Now(), d.Connected))
		}
		_, err := r.run(ctx, []step{{connectScript, []string{r.addressKey(d.Login), r.devicesKey(d.Login)}, []any{
			address, ms(r.opt.TTL.Address), d.ID, s.String(), since, ms(r.opt.TTL.Device), maxDevices,
		}}}, nil)
		return err
	})
}

// Disconnect implements Directory.
func (r *Redis) Disconnect(ctx context.Context, login, id string) error {
	return r.call(ctx, "disconnect", func(ctx context.Context) error {
		return r.client.HDel(ctx, r.devicesKey(login), id).Err()
	})
}

// Devices implements Directory.
func (r *Redis) Devices(ctx context.Context, login string) (ds []Device, err error) {
	err = r.call(ctx, "devices", func(ctx context.Context) error {
		cmds, err := r.run(ctx, []step{{devicesScript, []string{r.devicesKey(login)}, []any{ms(r.opt.TTL.Device)}}}, nil)
		if err != nil {
			return err
		}
		pairs, err := cmds[0].StringSlice()
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			beat, rest, _ := strings.Cut(pairs[i+1], " ")
			a, err1 := parseAddress(login, rest)
			at, err2 := strconv.ParseInt(beat, 10, 64)
			_, text, _ := strings.Cut(rest, " ")
			var s sighting
			if errors.Join(err1, err2, json.Unmarshal([]byte(text), &s)) != nil {
				continue
			}
			ds = append(ds, Device{ID: pairs[i], Login: login, Source: s.Source, IP: s.IP, Host: s.Host, Name: s.Name,
				Connected: a.Seen, Heartbeat: time.UnixMilli(at)})
		}
		return nil
	})
	sortDevices(ds)
	return ds, err
}
