// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// busQueue bounds the messages that wait for the subscriber.
const busQueue = 1024

var (
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
func (r *Redis) channel(host string) string {
	if host == "" {
		return r.opt.Prefix + ":bus"
	}
	return r.opt.Prefix + ":bus:" + strings.ToLower(host)
}

// Publish implements Bus.
func (r *Redis) Publish(ctx context.Context, to string, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("publishing %d bytes: at most %d", len(msg), MaxMessage)
	}
	return r.call(ctx, "publish", func(ctx context.Context) error {
		if err := r.refused(); err != nil {
			return err
		}
		body := append([]byte(r.RelayHost()+"\n"), msg...)
		// Any server of a Cluster takes it; this one's client finds one.
		if _, err := r.run(ctx, command("PUBLISH", r.channel(to), body)); err != nil {
			return err
		}
		busSent.Inc()
		return nil
	})
}

// Subscribe implements Bus. Two goroutines end with Close: one reads, and
// subscribes again when the connection was lost, the other calls f.
func (r *Redis) Subscribe(f func(from string, msg []byte)) {
	r.bus.once.Do(func() {
		name := r.RelayHost()
		own, _ := r.own()
		channels := []string{r.channel("")}
		for _, h := range own {
			channels = append(channels, r.channel(h.Host))
		}
		queue := make(chan message, busQueue)
		r.bus.tasks.Go(func() {
			defer close(queue)
			r.listen(channels, func(m message) {
				if m.from == name {
					return
				}
				select {
				case queue <- m:
				default:
					busDropped.Inc()
				}
			})
		})
		r.bus.tasks.Go(func() {
			for m := range queue {
				busReceived.Inc()
				f(m.from, m.body)
			}
		})
	})
}

// listen calls f with every message until Close.
func (r *Redis) listen(channels []string, f func(message)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r.bus.tasks.Go(func() { // ends with listen, or ends it
		select {
		case <-r.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	for ctx.Err() == nil {
		r.session(ctx, channels, f)
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// session is one connection; it ends when that does not answer.
func (r *Redis) session(ctx context.Context, channels []string, f func(message)) {
	ps := r.client.Subscribe(ctx, channels...)
	defer ps.Close()
	defer context.AfterFunc(ctx, func() { _ = ps.Close() })()
	asked := false // a ping is on its way
	for {
		v, err := ps.ReceiveTimeout(ctx, r.beatEvery())
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
		if m, ok := v.(*redis.Message); ok {
			if from, body, ok := bytes.Cut([]byte(m.Payload), []byte("\n")); ok {
				f(message{string(from), body})
			}
		}
	}
}
