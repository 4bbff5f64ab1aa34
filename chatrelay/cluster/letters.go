// SPDX-License-Identifier: GPL-3.0-or-later

package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/serial"
	"github.com/chmail/chmail/presence"
)

// ErrAlone: there is no way to other hosts.
var ErrAlone = errors.New("there is no way to other relay hosts")

// letter is what travels between hosts.
type letter struct {
	Key    string          `json:"k,omitempty"` // letters of one key are taken in their order
	Ask    string          `json:"q,omitempty"` // an ID that the answer names
	Answer string          `json:"a,omitempty"`
	Well   bool            `json:"w,omitempty"` // asks whether, or says that, the host's heartbeat goes well
	Body   json.RawMessage `json:"b,omitempty"`
}

type outgoing struct {
	to  string // empty: all others
	msg []byte
}

// letters are those on their way. Letters of one key, such as a room or a
// login, wait for each other, and for nobody else: a room that is slow holds
// up no other.
type letters struct {
	out chan outgoing

	mu      sync.Mutex
	queues  map[string]*keyed
	waiting int                    // letters that came and are not done
	asked   map[string]chan letter // questions that wait for their answer
	idle    *sync.Cond             // waiting is 0
}

type keyed struct {
	queue serial.Queue
	n     int
}

func (l *letters) init() {
	l.out = make(chan outgoing, letterQueue)
	l.queues, l.asked = map[string]*keyed{}, map[string]chan letter{}
	l.idle = sync.NewCond(&l.mu)
}

// do runs f after the letters of the same key; false: too many wait.
func (l *letters) do(key string, f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting >= letterQueue {
		return false
	}
	l.waiting++
	k := l.queues[key]
	if k == nil {
		k = new(keyed)
		l.queues[key] = k
	}
	k.n++
	k.queue.Post(func() {
		f()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.n--; k.n == 0 {
			delete(l.queues, key)
		}
		if l.waiting--; l.waiting == 0 {
			l.idle.Broadcast()
		}
	})
	return true
}

// wait returns when no letter is being taken.
func (l *letters) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.waiting > 0 {
		l.idle.Wait()
	}
}

// Alone says whether there is nobody to write to.
func (c *Cluster) Alone() bool { return c.opt.Bus == nil || len(c.Peers()) == 0 }

// Publish sends a letter, to all others when to is empty. It never waits, and
// the letter may get lost. body is encoded as JSON.
func (c *Cluster) Publish(to, key string, body any) {
	if c.Alone() {
		return
	}
	msg, err := encode(letter{Key: key}, body)
	if err != nil {
		c.opt.Log.Error("writing to another relay host", "err", err)
		return
	}
	c.post(outgoing{to, msg})
}

// Local takes a letter of this host's own, in the order of its key, as if it
// had come from another.
func (c *Cluster) Local(key string, body any) {
	msg, err := json.Marshal(body)
	if err != nil {
		c.opt.Log.Error("writing to this relay host", "err", err)
		return
	}
	c.take("", letter{Key: key, Body: msg})
}

func (c *Cluster) post(o outgoing) {
	select {
	case c.letters.out <- o:
	default:
		lettersDropped.Inc()
	}
}

func encode(l letter, body any) (msg []byte, err error) {
	if body != nil {
		if l.Body, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	return json.Marshal(l)
}

// send sends what is queued.
func (c *Cluster) send() {
	for {
		select {
		case o := <-c.letters.out:
			if err := c.publish(c.ctx, o); err != nil && c.ctx.Err() == nil &&
				!errors.Is(err, presence.ErrUnavailable) {
				c.opt.Log.Warn("writing to another relay host", "relay", o.to, "err", err)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cluster) publish(ctx context.Context, o outgoing) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return c.opt.Bus.Publish(ctx, o.to, o.msg)
}

// receive takes what the Bus delivers; it never waits.
func (c *Cluster) receive(from string, msg []byte) {
	var l letter
	if err := json.Unmarshal(msg, &l); err != nil {
		c.opt.Log.Warn("a letter of another relay host cannot be read", "relay", from, "err", err)
		return
	}
	if l.Answer != "" {
		c.answered(l)
		return
	}
	c.take(from, l)
}

func (c *Cluster) take(from string, l letter) {
	key := l.Key
	if l.Ask != "" {
		key = "ask " + l.Ask // questions are answered side by side
	}
	done := c.letters.do(key, func() {
		c.guarded("a letter of another relay host", func() {
			switch {
			case c.ctx.Err() != nil:
			case l.Ask == "":
				c.opt.Receive(from, l.Key, l.Body)
			default:
				c.reply(from, l)
			}
		})
	})
	if !done {
		lettersDropped.Inc()
	}
}

func (c *Cluster) reply(from string, l letter) {
	answer := letter{Answer: l.Ask}
	var body any
	if l.Well {
		answer.Well = c.sinceBeat() < beatTimeout
	} else {
		ctx, cancel := context.WithTimeout(c.ctx, askTimeout)
		defer cancel()
		body = c.opt.Answer(ctx, from, l.Body)
	}
	msg, err := encode(answer, body)
	if err != nil {
		c.opt.Log.Error("answering another relay host", "err", err)
		return
	}
	c.post(outgoing{from, msg})
}

func (c *Cluster) answered(l letter) {
	c.letters.mu.Lock()
	waits := c.letters.asked[l.Answer]
	c.letters.mu.Unlock()
	if waits != nil {
		select {
		case waits <- l:
		default: // it was answered before
		}
	}
}

// Ask asks another host and decodes its answer into answer. ErrAlone: there is
// no way to it.
func (c *Cluster) Ask(ctx context.Context, to string, question, answer any) error {
	l, err := c.ask(ctx, to, letter{}, question)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(l.Body, answer); err != nil {
		return fmt.Errorf("reading the answer of the relay host %s: %w", to, err)
	}
	return nil
}

func (c *Cluster) ask(ctx context.Context, to string, l letter, question any) (letter, error) {
	if c.Alone() {
		return letter{}, ErrAlone
	}
	l.Ask = rand.Text()
	msg, err := encode(l, question)
	if err != nil {
		return letter{}, err
	}
	answers := make(chan letter, 1)
	c.letters.mu.Lock()
	if len(c.letters.asked) >= letterQueue {
		c.letters.mu.Unlock()
		return letter{}, errors.New("too many questions to other relay hosts")
	}
	c.letters.asked[l.Ask] = answers
	c.letters.mu.Unlock()
	defer func() {
		c.letters.mu.Lock()
		delete(c.letters.asked, l.Ask)
		c.letters.mu.Unlock()
	}()
	if err := c.publish(ctx, outgoing{to, msg}); err != nil {
		return letter{}, err
	}
	timeout := time.NewTimer(askTimeout)
	defer timeout.Stop()
	select {
	case a := <-answers:
		return a, nil
	case <-timeout.C:
		return letter{}, fmt.Errorf("the relay host %s does not answer", to)
	case <-ctx.Done():
		return letter{}, ctx.Err()
	}
}

// anyPeerWell asks the peers, side by side, whether the heartbeat of one goes
// well.
func (c *Cluster) anyPeerWell() bool {
	peers := c.Peers()
	if c.Alone() {
		return false
	}
	well := make(chan bool, len(peers))
	for _, p := range peers {
		go func() { // ends within askTimeout
			a, err := c.ask(c.ctx, p.Name, letter{Well: true}, nil)
			well <- err == nil && a.Well
		}()
	}
	for range peers {
		if <-well {
			return true
		}
	}
	return false
}
