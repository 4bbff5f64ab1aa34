// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"net/netip"
	"sync"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/presence"
)

const (
	ringKept = 10 * time.Minute // a ring of another relay is remembered
	// maxRings is the most rings of other relays that are remembered. The answer to
	// a further one reaches its relay through the room.
	maxRings = 10000
)

// devices are the connections of this relay on which logins can be rung, and
// the rings at them that other relays make.
type devices struct {
	mu    sync.Mutex
	of    map[string]map[string]*device // login → device ID
	rings map[string]remoteRing         // by attempt ID
}

// remoteRing is a ring that another relay makes.
type remoteRing struct {
	relay string
	at    time.Time
}

func newDevices() *devices {
	return &devices{of: map[string]map[string]*device{}, rings: map[string]remoteRing{}}
}

// add adds a device; false: its login has maxDevices. An older connection of
// the same device ends.
func (ds *devices) add(d *device) bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	of := ds.of[d.Login]
	if of == nil {
		of = map[string]*device{}
		ds.of[d.Login] = of
	}
	if old := of[d.ID]; old != nil { // it came back before its old connection timed out
		old.out.End("", "")
	} else if len(of) >= maxDevices {
		return false
	}
	of[d.ID] = d
	return true
}

// remove removes a device, and says whether it was the last of its login.
// removed is false when a newer connection of the same device took over.
func (ds *devices) remove(d *device) (removed, last bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	of := ds.of[d.Login]
	if of[d.ID] != d {
		return false, false
	}
	if delete(of, d.ID); len(of) == 0 {
		delete(ds.of, d.Login)
	}
	return true, len(of) == 0
}

// away notes whether the person is away from a device; false: that was known.
func (ds *devices) away(d *device, away bool) (changed bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	changed = d.Away != away
	d.Away = away
	return changed
}

// direct notes where a device's computer can be reached past the server.
func (ds *devices) direct(d *device, at netip.AddrPort) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.Direct = at
}

// beat is a device with its heartbeat.
func (ds *devices) beat(d *device) presence.Device {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	d.Heartbeat = time.Now()
	return d.Device
}

// connected says whether a login has a device, and is away from all of them.
func (ds *devices) connected(login string) (on, away bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	away = true
	for _, d := range ds.of[login] {
		on, away = true, away && d.Away
	}
	return on, on && away
}

// any says whether some login has a device.
func (ds *devices) any() bool {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return len(ds.of) > 0
}

// kinds are those of a login's devices, such as "desk".
func (ds *devices) kinds(login string) (kinds []string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.of[login] {
		kinds = append(kinds, string(d.Source))
	}
	return kinds
}

// tell queues a frame for every device of a login.
func (ds *devices) tell(login string, f *frame.Frame) { ds.tellEncoded(login, frame.Encode(f)) }

func (ds *devices) tellEncoded(login string, b []byte) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, d := range ds.of[login] {
		d.out.Put(b)
	}
}

// endRing tells the devices of a login why a ring is over, and the one that
// answered, if there is one, that it did. name: who else did.
func (ds *devices) endRing(login, attemptID, code, answered, name string) {
	b := frame.Encode(&frame.Frame{T: frame.TRingEnd, AttemptID: attemptID, Code: code, Name: name})
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for id, d := range ds.of[login] {
		if answered != "" && id == answered {
			d.out.Put(frame.Encode(&frame.Frame{T: frame.TRingEnd, AttemptID: attemptID, Code: frame.EndAnswered}))
		} else {
			d.out.Put(b)
		}
	}
}

// rungBy remembers which relay rings with an attempt; empty: none any more.
func (ds *devices) rungBy(attemptID, relay string) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if delete(ds.rings, attemptID); relay == "" {
		return
	}
	if len(ds.rings) >= maxRings {
		for id, by := range ds.rings {
			if time.Since(by.at) > ringKept {
				delete(ds.rings, id)
			}
		}
	}
	if len(ds.rings) < maxRings {
		ds.rings[attemptID] = remoteRing{relay, time.Now()}
	}
}

// ringer is the relay that rings with an attempt; false: none does.
func (ds *devices) ringer(attemptID string) (relay string, rings bool) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	by, rings := ds.rings[attemptID]
	return by.relay, rings
}
