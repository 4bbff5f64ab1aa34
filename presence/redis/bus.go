// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	goredis "github.com/redis/go-redis/v9"

	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/internal/shared"
)

// busQueue bounds the messages that wait for the subscriber.
const busQueue = 1024

var (
	busTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "chmail_presence_bus_messages_total",
		Help: "Messages between relay hosts, by what became of them (sent, received, dropped).",
	}, []string{"outcome"})
	busSent     = busTotal.WithLabelValues("sent")
	busReceived = busTotal.WithLabelValues("received")
	busDropped  = busTotal.WithLabelValues("dropped")
)

// bus is the subscription of a Redis.
type bus struct {
	once  sync.Once
	tasks sync.WaitGroup
}

func (b *bus) wait() {
	b.once.Do(func() {}) // no subscription from here on
	b.tasks.Wait()
}

type message struct {
	from string
	body []byte
}

// channel is where a host listens; the empty name is everybody's.
func (d *Directory) channel(host string) string {
	if host == "" {
		return d.opt.Prefix + ":bus"
	}
	return d.opt.Prefix + ":bus:" + strings.ToLower(host)
}

// Publish implements presence.Bus.
func (d *Directory) Publish(ctx context.Context, to string, msg []byte) error {
	if len(msg) > presence.MaxMessage {
		return fmt.Errorf("publishing %d bytes: at most %d", len(msg), presence.MaxMessage)
	}
	return d.call(ctx, "publish", func(ctx context.Context) error {
		if err := d.refused(); err != nil {
			return err
		}
		body := append([]byte(d.RelayHost()+"\n"), msg...)
		// Any server of a Cluster takes it; this one's client finds one.
		if _, err := d.run(ctx, command("PUBLISH", d.channel(to), body)); err != nil {
			return err
		}
		busSent.Inc()
		return nil
	})
}

// Subscribe implements presence.Bus. Two goroutines end with Close: one reads,
// and subscribes again when the connection was lost, the other calls f.
func (d *Directory) Subscribe(f func(from string, msg []byte)) {
	d.bus.once.Do(func() {
		name := d.RelayHost()
		own, _ := d.own()
		queue := make(chan message, busQueue)
		d.bus.tasks.Go(func() { d.fill(queue, name, own) })
		d.bus.tasks.Go(func() {
			for m := range queue {
				busReceived.Inc()
				shared.Guard(d.opt.Log, "taking a message of another relay host", func() { f(m.from, m.body) })
			}
		})
	})
}

// fill puts the messages of others in the queue until Close. name is the
// primary one of this process' hosts.
func (d *Directory) fill(queue chan<- message, name string, own presence.HostRanges) {
	defer close(queue)
	channels := []string{d.channel("")}
	for _, h := range own {
		channels = append(channels, d.channel(h.Host))
	}
	d.listen(channels, func(m message) {
		if m.from == name {
			return
		}
		select {
		case queue <- m:
		default:
			busDropped.Inc()
		}
	})
}

// listen calls f with every message until Close.
func (d *Directory) listen(channels []string, f func(message)) {
	for d.life.Err() == nil {
		shared.Guard(d.opt.Log, "reading from other relay hosts", func() { d.session(d.life, channels, f) })
		select {
		case <-d.life.Done():
		case <-time.After(retryEvery):
		}
	}
}

// session is one connection; it ends when that does not answer.
func (d *Directory) session(ctx context.Context, channels []string, f func(message)) {
	ps := d.client.Subscribe(ctx, channels...)
	defer ps.Close()
	defer context.AfterFunc(ctx, func() { _ = ps.Close() })()
	asked := false // a ping is on its way
	for {
		v, err := ps.ReceiveTimeout(ctx, d.beatEvery())
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && !asked:
			if ps.Ping(ctx) != nil {
				return
			}
			asked = true
			continue
		case err != nil:
			return
		}
		asked = false
		if m, ok := v.(*goredis.Message); ok {
			if from, body, ok := bytes.Cut([]byte(m.Payload), []byte("\n")); ok {
				f(message{string(from), body})
			}
		}
	}
}
