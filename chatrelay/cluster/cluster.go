// SPDX-License-Identifier: GPL-3.0-or-later

// Package cluster knows the relay hosts that share the rooms: which of them
// are alive, which serves a room, and the letters between them.
//
// Each host renews a heartbeat in the store every second. A host whose last
// one is older than chat.RelayTTL counts as dead, and others may take its
// rooms. The heartbeat has a goroutine of its own, so that no other work
// delays it. A host that cannot renew it in time, while another one can, is
// fenced: it sends its clients away, and serves no room until it renews again.
package cluster

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/safely"
)

// Times and bounds.
const (
	beatEvery   = time.Second // heartbeats in the store
	beatTimeout = chat.RelayTTL / 2
	callTimeout = 10 * time.Second // of one other call to the store
	maxVacant   = 20000            // rooms that will be left; further ones stay this host's until it ends
	letterQueue = 1024             // letters waiting each way; further ones are dropped
	sendTimeout = 2 * time.Second
	askTimeout  = time.Second // for an answer
)

// Store keeps the heartbeats and the homes of the rooms.
type Store interface {
	Beat(ctx context.Context, r chat.Relay) error
	Quit(ctx context.Context, relay string) error
	Relays(ctx context.Context) ([]chat.Relay, error)
	Home(ctx context.Context, roomID string) (string, error)
	ClaimHome(ctx context.Context, roomID, relay string) (home string, err error)
	LeaveHome(ctx context.Context, roomID, relay string) error
}

// Bus carries short messages between the hosts, at most once each;
// presence.Bus documents it.
type Bus interface {
	Publish(ctx context.Context, to string, msg []byte) error
	Subscribe(f func(from string, msg []byte))
}

// Options are what New needs.
type Options struct {
	Self   chat.Relay    // this host: Name, Origin, Socket
	Store  Store         // nil: this host has the rooms for itself
	Bus    Bus           // nil: there are no letters
	Vacant time.Duration // this host gives an empty room up after it
	InUse  func(roomID string) bool
	// Receive takes a letter. Letters of one key come one after the other.
	Receive func(from, key string, body []byte)
	Answer  func(ctx context.Context, from string, body []byte) any // to a letter that asks
	// Tend is called after every successful heartbeat, and may be slow.
	Tend   func()
	Fenced func() // another host may take the rooms of this one
	// Rejoined is called when heartbeats succeed again. Other hosts may have taken
	// rooms meanwhile.
	Rejoined func()
	Log      *slog.Logger
}

// Cluster is this host among the others. Its methods may be called at the same time.
type Cluster struct {
	opt     Options
	ctx     context.Context
	stop    context.CancelFunc
	owned   sync.WaitGroup
	letters letters

	fenced  atomic.Bool
	changes atomic.Int64 // how often the peers changed
	tend    chan struct{}

	mu       sync.Mutex
	draining bool
	peers    []chat.Relay         // the other hosts that are alive; replaced, never changed
	origins  map[string]bool      // of the pages of all hosts of late; replaced, never changed
	vacant   map[string]time.Time // rooms to be left when nobody is there
	beat     time.Time            // when the last heartbeat that went well began
}

// New returns this host among the others. Start must be called, then Close.
func New(opt Options) *Cluster {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{opt: opt, vacant: map[string]time.Time{}, tend: make(chan struct{}, 1)}
	c.letters.init()
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Shared says whether other hosts may use the store.
func (c *Cluster) Shared() bool { return c.opt.Store != nil }

// Start sends the first heartbeat and goes on.
func (c *Cluster) Start() error {
	if !c.Shared() {
		return nil
	}
	if err := c.renew(); err != nil {
		return fmt.Errorf("joining the relay hosts: %w", err)
	}
	if c.opt.Bus != nil {
		c.opt.Bus.Subscribe(c.receive)
		c.owned.Go(c.send)
	}
	c.owned.Go(c.heartbeat)
	c.owned.Go(c.tending)
	return nil
}

// Close ends the heartbeats and tells the others that this host is gone, so
// that they wait for nothing. ctx bounds that.
func (c *Cluster) Close(ctx context.Context) {
	c.stop()
	ended := make(chan struct{})
	go func() { // ends with the calls to the store that are under way
		defer close(ended)
		c.owned.Wait()
		c.letters.wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	if !c.Shared() {
		return
	}
	if err := c.opt.Store.Quit(ctx, c.opt.Self.Name); err != nil {
		c.opt.Log.Warn("signing the relay host off", "err", err)
	}
}

// Name is what this host is called as the home of its rooms; empty where no
// other host uses the store.
func (c *Cluster) Name() string {
	if !c.Shared() {
		return ""
	}
	return c.opt.Self.Name
}

// renew sends a heartbeat, and learns who else is alive.
func (c *Cluster) renew() error {
	ctx, cancel := context.WithTimeout(c.ctx, beatTimeout)
	defer cancel()
	began := time.Now()
	self := c.opt.Self
	self.Drains = c.Draining()
	if err := c.opt.Store.Beat(ctx, self); err != nil {
		return err
	}
	all, err := c.opt.Store.Relays(ctx)
	if err != nil {
		return err
	}
	peers := make([]chat.Relay, 0, len(all))
	origins := map[string]bool{}
	for _, p := range all {
		origins[strings.ToLower(p.Origin)] = true
		if p.Alive && p.Name != self.Name {
			peers = append(peers, p)
		}
	}
	hostsAlive.Set(float64(len(peers) + 1))
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(peers, c.peers) {
		c.changes.Add(1)
	}
	c.peers, c.origins, c.beat = peers, origins, began
	return nil
}

// heartbeat keeps this host alive in the store, and nothing else.
func (c *Cluster) heartbeat() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	well := true
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		late := c.overdue()
		err := c.renew()
		if (err == nil) != well && c.ctx.Err() == nil {
			well = err == nil
			c.opt.Log.Warn("the relay host's heartbeat", "well", well, "err", err)
		}
		switch {
		case err != nil:
			c.fence()
		case late || c.fenced.Load(): // another host may have taken rooms meanwhile
			c.fenced.Store(false)
			c.opt.Rejoined()
		}
		if err == nil {
			select {
			case c.tend <- struct{}{}:
			default: // the last one is not done
			}
		}
	}
}

// overdue says whether others may count this host as dead.
func (c *Cluster) overdue() bool { return c.sinceBeat() > chat.RelayTTL }

// Steady says whether this host has renewed its heartbeat of late. One that has not
// may be cut off from everybody, whose loss is then none of the clients'.
func (c *Cluster) Steady() bool { return !c.Shared() || c.sinceBeat() < chat.RelayTTL*3/4 }

// sinceBeat is how long ago the last heartbeat that went well began.
func (c *Cluster) sinceBeat() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.beat)
}

// fence sends the clients away when this host is overdue and another one is
// not. Where no host renews its heartbeat, no host can take a room either.
func (c *Cluster) fence() {
	if !c.overdue() || c.fenced.Load() || !c.anyPeerWell() {
		return
	}
	c.fenced.Store(true)
	c.opt.Log.Warn("this relay host is fenced: it cannot renew its heartbeat, and another one can")
	c.opt.Fenced()
}

// Fenced says whether this host serves no room for now.
func (c *Cluster) Fenced() bool { return c.fenced.Load() }

// tending does what may take long, beside the heartbeat.
func (c *Cluster) tending() {
	for {
		select {
		case <-c.tend:
			c.leaveVacant()
			c.guarded("tending the rooms", c.opt.Tend)
		case <-c.ctx.Done():
			return
		}
	}
}

// guarded runs f, whose panic ends nothing else.
func (c *Cluster) guarded(what string, f func()) {
	defer safely.Recover(c.opt.Log, what)
	f()
}

// Peers are the other hosts that are alive.
func (c *Cluster) Peers() []chat.Relay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers
}

// Peer finds a host that is alive by its name.
func (c *Cluster) Peer(name string) (chat.Relay, bool) {
	peers := c.Peers()
	if i := slices.IndexFunc(peers, func(p chat.Relay) bool { return p.Name == name }); i >= 0 {
		return peers[i], true
	}
	return chat.Relay{}, false
}

// Changes is how often the peers changed.
func (c *Cluster) Changes() int64 { return c.changes.Load() }

// Sockets are the WebSocket endpoints of peers that take rooms, for clients to
// come back to.
func (c *Cluster) Sockets() (list []string) {
	for _, p := range c.Peers() {
		if !p.Drains && p.Socket != c.opt.Self.Socket {
			list = append(list, p.Socket)
		}
	}
	return list
}

// Origin says whether an origin is that of the pages of a host, alive or lost
// of late.
func (c *Cluster) Origin(origin string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.origins[strings.ToLower(origin)]
}

// Pick chooses one of the peers that take rooms; empty: there is none.
func (c *Cluster) Pick(roomID string) string {
	var names []string
	for _, p := range c.Peers() {
		if !p.Drains {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	h := fnv.New32a()
	h.Write([]byte(roomID))
	return names[int(h.Sum32()%uint32(len(names)))]
}

// Drain makes this host take no further rooms. It reports whether it drained
// before.
func (c *Cluster) Drain() (before bool, err error) {
	c.mu.Lock()
	before, c.draining = c.draining, true
	c.mu.Unlock()
	if before || !c.Shared() {
		return before, nil
	}
	return false, c.renew()
}

// Draining says whether this host takes no further rooms.
func (c *Cluster) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}
