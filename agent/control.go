// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const controlWait = 3 * time.Second

// maxSocket is how long the path of a socket may be, in octets; macOS has the least.
const maxSocket = 103

// Status is how an agent is.
type Status struct {
	Running      bool      `json:"running"`
	PID          int       `json:"pid,omitempty"`
	Login        string    `json:"login"`
	Server       string    `json:"server"`
	Connected    bool      `json:"connected"`
	Since        time.Time `json:"since,omitzero"`         // of Connected
	Availability string    `json:"availability,omitempty"` // as others see the person
	Trouble      string    `json:"trouble,omitempty"`      // why it is not connected
	Clock        string    `json:"clock,omitempty"`        // what is wrong with it
	Direct       *Direct   `json:"direct,omitempty"`       // whether this computer can be reached past the server
	Rings        []Ring    `json:"rings,omitempty"`
}

// Ring is somebody who rings, or rang.
type Ring struct {
	From    string    `json:"from"`
	Subject string    `json:"subject"`
	Room    string    `json:"room"`
	Link    string    `json:"link"`
	Missed  bool      `json:"missed,omitempty"`
	At      time.Time `json:"at"`
}

// Ask asks the agent of a folder how it is; false: none runs.
func Ask(dir string) (s Status, running bool, err error) {
	c, err := net.DialTimeout("unix", socketPath(dir), controlWait)
	if err != nil {
		return s, false, nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(controlWait))
	if err := json.NewDecoder(c).Decode(&s); err != nil {
		return s, false, fmt.Errorf("asking the agent: %w", err)
	}
	slices.SortFunc(s.Rings, func(a, b Ring) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Room, b.Room)) })
	return s, true, nil
}

// socketPath is where the agent of a folder listens: in the folder or, where that has too
// long a name for a socket, in the system's for temporary files.
func socketPath(dir string) string {
	path := filepath.Join(dir, "agent.sock")
	if len(path) <= maxSocket {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(os.TempDir(), "chmail-"+hex.EncodeToString(sum[:8])+".sock")
}

// control tells everybody who connects how the agent is.
type control struct {
	l     net.Listener
	owned sync.WaitGroup
}

// listen makes this the agent of a folder, unless there is one.
func listen(dir string, state func() Status) (*control, error) {
	if s, running, _ := Ask(dir); running {
		return nil, fmt.Errorf("the agent of %s runs already, as process %d: `chmail status` shows how it is", s.Login, s.PID)
	}
	path := socketPath(dir)
	// Nobody answers there: it was left behind by an agent that was killed.
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("the disk of %s is full: make room, and start the agent again", dir)
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for `chmail status`: %w", err)
	}
	c := &control{l: l}
	c.owned.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(controlWait))
			_ = json.NewEncoder(conn).Encode(state()) // whoever has gone does not want it
			conn.Close()
		}
	})
	return c, nil
}

func (c *control) close() {
	c.l.Close()
	c.owned.Wait()
}
