// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	// redisTimeout bounds each call that a mail waits for, whatever it takes.
	redisTimeout = 40 * time.Millisecond
	// dialTimeout bounds a connection's beginning, which no call waits for longer
	// than its own time.
	dialTimeout = time.Second
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
	Prefix  string        // of every key; empty means "chmail"
	Timeout time.Duration // of a call; zero means 40 ms
	// Ranges are the ports granted, the first on the primary host name; none for
	// who only reads and grants nothing.
	Ranges []HostRange
	// Names are tried in order for the primary host when a live process with
	// another ID has its name; one that this ID has already comes first.
	Names []string
	ID    string                            // of this process, the same after a restart; empty means a random one
	Path  string                            // SQLite file, the journal of this process' grants; empty for none
	Probe func(host string, port int) error // called before a port is newly granted; may be nil
	TTL   TTLs
	Log   Logger // may be nil
}

// Redis is the Directory that several machines share. Redis 7.0 or newer,
// alone, with Sentinels, or a Cluster; its eviction policy should be noeviction.
//
// The keys of a login share a slot, and so do the keys of a relay host's ports:
// the host's slot is the authority on who has a port, and the login's slot only
// points to the host. All times are those of the Redis server.
//
// A goroutine, the keeper, sends the heartbeats of the hosts. When Redis does
// not answer, calls fail at once with ErrUnavailable while the keeper asks
// again. This process remembers the grants of its hosts, in a file too, and the
// keeper makes them again, those with a conversation first, before anything
// else is granted by a Redis that lost them or whose clock jumped.
type Redis struct {
	opt     RedisOptions
	client  redis.UniversalClient
	meter   *meter
	memory  *memory
	journal *journal // may be nil
	recent  recents
	bus     bus
	batches batches
	started time.Time

	outages outages
	kick    chan struct{} // wakes the keeper
	stop    chan struct{}
	done    chan struct{} // closed when the keeper has ended
	once    sync.Once     // of Close

	// The keeper's own:
	known   bool // the grants of Redis were read into memory
	whole   bool // Redis has what is in memory
	refuses bool // Redis answers heartbeats with an error

	mu      sync.Mutex
	ranges  slots         // this process' hosts, the primary one in front
	settled bool          // the primary name stays
	ready   bool          // Redis knows this process' hosts
	rival   rival         // who has the name of one of them
	left    bool          // it grants nothing more
	beaten  chan struct{} // closed, and made anew, when a heartbeat was taken, or refused
	full    map[string]time.Time
}

var (
	_ Directory = (*Redis)(nil)
	_ Bus       = (*Redis)(nil)
)

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
	if opt.Ranges, err = checkRanges(opt.Ranges); err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	candidates, err := opt.candidates()
	if err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	if opt.ID == "" {
		opt.ID = rand.Text()
	}
	if strings.ContainsAny(opt.ID, " \n") {
		return nil, fmt.Errorf("opening presence: id %q has a space", opt.ID)
	}
	if opt.Timeout <= 0 {
		opt.Timeout = redisTimeout
	}
	if opt.Probe == nil {
		opt.Probe = func(string, int) error { return nil }
	}
	if opt.Log == nil {
		opt.Log = func(string, ...any) {}
	}
	opt.TTL = opt.TTL.withDefaults()

	uni.ContextTimeoutEnabled = true
	uni.ReadTimeout, uni.WriteTimeout = opt.Timeout, opt.Timeout
	uni.DialTimeout = max(dialTimeout, opt.Timeout)
	uni.PoolTimeout = opt.Timeout
	uni.PoolSize = redisPool
	uni.PipelinePoolSize = -1 // pipelines are short: one pool for all
	uni.MaxRetries = -1       // the keeper tries again, no mail waits for it
	uni.DialerRetries = 1
	uni.MinRetryBackoff, uni.MaxRetryBackoff = time.Millisecond, 8*time.Millisecond // of a Cluster's redirections
	uni.DisableIdentity = true
	uni.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	r := &Redis{
		opt:     opt,
		meter:   newMeter("redis"),
		memory:  newMemory(),
		started: time.Now(),
		kick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		ranges:  slices.Clone(opt.Ranges),
		settled: len(opt.Names) == 0,
		beaten:  make(chan struct{}),
		full:    make(map[string]time.Time),
		outages: outages{down: make(map[string]bool)},
	}
	if opt.Path != "" && len(candidates) > 0 {
		var before string
		if r.journal, before, err = openJournal(opt.Path, candidates, opt.TTL, r.memory, opt.Log); err != nil {
			return nil, fmt.Errorf("opening presence: %w", err)
		}
		if !r.settled && candidates.has(before) && !slots(opt.Ranges[1:]).has(before) {
			r.ranges[0].Host = before
		}
	}
	r.client = redis.NewUniversalClient(uni)
	go r.keep()
	return r, nil
}

func init() {
	// The client would print every failed connection; the keeper says once that
	// Redis is gone, and once that it is back.
	logging.Disable()
}

// Close ends the keeper and the connections. Grants and addresses stay; the
// hosts stay for hostTTL, for a restart, unless they left.
func (r *Redis) Close() error {
	var err error
	r.once.Do(func() {
		close(r.stop)
		<-r.done
		r.bus.wait()
		r.farewell()
		err = r.client.Close()
		if r.journal != nil {
			err = errors.Join(err, r.journal.close())
		}
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
