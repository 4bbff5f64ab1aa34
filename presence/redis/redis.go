// SPDX-License-Identifier: GPL-3.0-or-later

// Package redis keeps presence on a redis-server that several machines share:
// Redis 7.0 or newer, alone, with Sentinels, or a Cluster. Its eviction policy
// should be noeviction.
//
// The keys of a login share a slot, and so do the keys of a relay host's ports:
// the host's slot is the authority on who has a port, and the login's slot only
// points to the host. All times are those of the Redis server.
//
// The heartbeat goroutine sends the heartbeats of this process' hosts. When Redis
// does not answer, calls fail at once with ErrUnavailable while that goroutine
// asks again. This process remembers the grants of its hosts, in a file too. When
// Redis lost them, or its clock jumped, the goroutine makes them again, those
// with a conversation first, before anything else is granted.
package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

const (
	// DefaultTimeout bounds each call that a mail waits for, whatever it takes.
	DefaultTimeout = 40 * time.Millisecond
	// dialTimeout bounds a connection's beginning, which no call waits for longer
	// than its own time.
	dialTimeout = time.Second
	// maxConns bounds the connections to a Redis server; a call that finds all
	// of them busy waits within its time.
	maxConns = 32
	// idleConns are open beforehand, so that a burst of calls does not wait for
	// connections to be made.
	idleConns = 4
	// retryEvery is how often a Redis that does not answer is asked again;
	// callers do not wait for it meanwhile.
	retryEvery = 250 * time.Millisecond
	// pageSize is the most entries asked for at once in listings, and the most
	// grants of one step when they are restored.
	pageSize = 256
)

// Options configures Open.
type Options struct {
	// URL is redis://[user:password@]host[:port][,host…][/db], or rediss:// for
	// TLS. Several hosts are a Cluster (one with ?cluster=yes), or the Sentinels
	// of ?master=NAME. ?ca=FILE is the authority of the certificate.
	URL     string
	Prefix  string        // of every key; empty means "chmail"
	Timeout time.Duration // of a call; zero means DefaultTimeout
	// Ranges are the ports granted, the first on the primary host name. A process
	// that only reads has none.
	Ranges presence.HostRanges
	// Names are tried in order for the primary host when a live process with
	// another ID has its name; one that this ID has already comes first.
	Names []string
	ID    string                            // of this process, the same after a restart; empty means a random one
	Path  string                            // SQLite file, the journal of this process' grants; empty for none
	Probe func(host string, port int) error // called before a port is newly granted; may be nil
	TTL   presence.TTLs
	Log   *slog.Logger // nil discards
}

// Directory is the presence that several machines share.
type Directory struct {
	opt     Options
	client  goredis.UniversalClient
	meter   *shared.Meter
	memory  *memory
	journal *journal // may be nil
	recent  recents
	bus     bus
	started time.Time

	outages outages
	life    context.Context // ends with Close
	end     context.CancelFunc
	wake    chan struct{} // wakes the heartbeat goroutine
	done    chan struct{} // closed when the heartbeat goroutine has ended
	once    sync.Once     // of Close

	// Of the goroutine that sends heartbeats:
	known   bool // the grants of Redis were read into memory
	whole   bool // Redis has what is in memory
	refuses bool // Redis answers heartbeats with an error

	mu       sync.Mutex
	ranges   presence.HostRanges // this process' hosts, the primary one in front
	settled  bool                // the primary name stays
	ready    bool                // Redis knows this process' hosts
	rival    rival               // who has the name of one of them
	left     bool                // it grants nothing more
	answered chan struct{}       // closed, and made anew, when a heartbeat was taken, or refused
}

var (
	_ presence.Directory = (*Directory)(nil)
	_ presence.Bus       = (*Directory)(nil)
)

var goodPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// Open opens a shared directory. That Redis cannot be reached is no error:
// calls return ErrUnavailable until it can.
func Open(opt Options) (*Directory, error) {
	d, err := open(opt)
	if err != nil {
		return nil, fmt.Errorf("opening presence: %w", err)
	}
	go d.keep()
	return d, nil
}

func open(opt Options) (*Directory, error) {
	server, candidates, err := opt.complete()
	if err != nil {
		return nil, err
	}
	d := &Directory{
		opt:      opt,
		meter:    shared.NewMeter("redis", opt.Log),
		memory:   newMemory(),
		started:  time.Now(),
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		ranges:   slices.Clone(opt.Ranges),
		settled:  len(opt.Names) == 0,
		answered: make(chan struct{}),
		outages:  outages{down: make(map[string]bool)},
	}
	if opt.Path != "" && len(candidates) > 0 {
		if d.journal, err = openJournal(opt.Path, candidates, opt.TTL, d.memory, opt.Log); err != nil {
			return nil, err
		}
		if last := d.journal.primary; !d.settled && candidates.Has(last) && !opt.Ranges[1:].Has(last) {
			d.ranges[0].Host = last
		}
	}
	d.client = newClient(server, opt.Timeout)
	d.life, d.end = context.WithCancel(context.Background())
	return d, nil
}

// Check says what is wrong with the options, and asks no server.
func (o Options) Check() error {
	_, _, err := o.complete()
	return err
}

// Ping asks Redis for an answer, as one that is about to start would.
func (o Options) Ping(ctx context.Context) error {
	server, _, err := o.complete()
	if err != nil {
		return err
	}
	client := newClient(server, o.Timeout)
	defer client.Close()
	if err := client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("the Redis does not answer: %w", err)
	}
	return nil
}

// complete fills in what is not given. It returns where Redis is, and all hosts
// that this process may have.
func (o *Options) complete() (server *goredis.UniversalOptions, candidates presence.HostRanges, err error) {
	if server, err = parseURL(o.URL); err != nil {
		return nil, nil, err
	}
	o.Prefix = cmp.Or(o.Prefix, "chmail")
	o.ID = cmp.Or(o.ID, rand.Text())
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.TTL = o.TTL.WithDefaults()
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Probe == nil {
		o.Probe = func(string, int) error { return nil }
	}
	if !goodPrefix.MatchString(o.Prefix) {
		return nil, nil, fmt.Errorf("prefix %q: want letters, digits and _.:-", o.Prefix)
	}
	if strings.ContainsAny(o.ID, " \n") {
		return nil, nil, fmt.Errorf("id %q has a space", o.ID)
	}
	if o.Ranges, err = o.Ranges.Check(); err != nil || len(o.Ranges) == 0 {
		return server, nil, err
	}
	candidates = slices.Clone(o.Ranges)
	for _, name := range o.Names {
		if !strings.EqualFold(name, candidates[0].Host) {
			candidates = append(candidates, presence.HostRange{Host: name, Range: candidates[0].Range})
		}
	}
	candidates, err = candidates.Check()
	return server, candidates, err
}

func newClient(server *goredis.UniversalOptions, timeout time.Duration) goredis.UniversalClient {
	server.ContextTimeoutEnabled = true
	server.ReadTimeout, server.WriteTimeout = timeout, timeout
	server.DialTimeout = max(dialTimeout, timeout)
	server.PoolTimeout = timeout
	server.PoolSize, server.MinIdleConns = maxConns, idleConns
	server.PipelinePoolSize = -1 // pipelines are short: one pool for all
	server.MaxRetries = -1       // no mail waits for another attempt
	server.DialerRetries = 1
	server.MinRetryBackoff, server.MaxRetryBackoff = time.Millisecond, 8*time.Millisecond // of a Cluster's redirections
	server.DisableIdentity = true
	server.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return goredis.NewUniversalClient(server)
}

func init() {
	// The client would print every failed connection; the heartbeat goroutine logs
	// once that Redis is gone, and once that it is back.
	logging.Disable()
}

// Close ends the goroutines and the connections. Grants and addresses stay; the
// hosts stay for hostTTL, for a restart, unless they left.
func (d *Directory) Close() error {
	var err error
	d.once.Do(func() {
		d.end()
		<-d.done
		d.bus.wait()
		d.farewell()
		err = d.client.Close()
		if d.journal != nil {
			err = errors.Join(err, d.journal.close())
		}
	})
	return err
}

// login names a key of a login; the keys of a login share a slot.
func (d *Directory) login(login, kind string) string {
	return d.opt.Prefix + ":{l:" + login + "}:" + kind
}

func (d *Directory) addressKey(login string) string { return d.login(login, "a") }
func (d *Directory) devicesKey(login string) string { return d.login(login, "d") }
func (d *Directory) pointerKey(login string) string { return d.login(login, "g") }
