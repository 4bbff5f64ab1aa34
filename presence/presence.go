// SPDX-License-Identifier: GPL-3.0-or-later

// Package presence keeps the two databases that make a sender reachable:
// login → newest address and connected devices, and granted port → login.
//
// This package has the nouns and the interfaces. Package local keeps the
// databases in this process, with the grants in SQLite; package redis keeps
// them on a redis-server that several machines share. Both are a Directory and
// pass the suite of package presencetest.
package presence

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"
)

// Source says by what a login was seen.
type Source string

const (
	Agent      Source = "agent"      // the CHmail program
	Desk       Source = "desk"       // the desk page
	POP3       Source = "pop3"       // a POP3 sign-in
	IMAP       Source = "imap"       // an IMAP sign-in
	Submission Source = "submission" // an authenticated submission
)

// Address is an entry of the first database: where a login was seen last.
type Address struct {
	Login  string     `json:"login"`
	IP     netip.Addr `json:"ip"`
	Host   string     `json:"host,omitempty"` // host name, where one is known
	Source Source     `json:"source"`
	Seen   time.Time  `json:"seen"`
}

// Device is a connection of a login that can be rung. It is gone when its
// heartbeats stop for DeviceTTL.
type Device struct {
	ID     string     `json:"id"` // unique within the login
	Login  string     `json:"login"`
	Source Source     `json:"source"`
	IP     netip.Addr `json:"ip"`
	Host   string     `json:"host,omitempty"`
	Name   string     `json:"name,omitempty"`  // as a person would say it: "Chromium on Linux"
	Relay  string     `json:"relay,omitempty"` // primary name of the relay host it is connected to
	Away   bool       `json:"away,omitempty"`  // the person is away from it
	// Direct is where others reach its computer, past the server: a public address that the server has tried.
	Direct    netip.AddrPort `json:"direct,omitzero"`
	Connected time.Time      `json:"connected"`
	Heartbeat time.Time      `json:"heartbeat"`
}

// Grant is an entry of the second database: a port endowed to a login.
type Grant struct {
	Login   string    `json:"login"`
	Host    string    `json:"host"` // name of the relay host that owns the port
	Port    int       `json:"port"` // UDP
	Granted time.Time `json:"granted"`
	Renewed time.Time `json:"renewed"`
	Held    bool      `json:"held"` // a live conversation is on it
}

// Host is a relay host that is alive.
type Host struct {
	Name      string    `json:"name"`
	ID        string    `json:"id"`    // of its process; one process may have several hosts
	Ports     string    `json:"ports"` // as "20000-29999"
	Started   time.Time `json:"started"`
	Heartbeat time.Time `json:"heartbeat"`
}

const (
	// HeartbeatEvery is how often a connected device or a held port renews.
	HeartbeatEvery = 3 * time.Second
	// DeviceTTL is how long a device counts as connected after a heartbeat:
	// whether a computer is on is known within this time.
	DeviceTTL = 10 * time.Second
	// HoldTTL is how long a port stays held when its relay stops renewing.
	HoldTTL = 30 * time.Second
	// AddressTTL is how long a login's newest address is kept.
	AddressTTL = 90 * 24 * time.Hour
	// GrantTTL is the lease of a grant; each mail sent renews it.
	GrantTTL = 90 * 24 * time.Hour
	// BlockedTTL is how long a port whose socket could not be had is skipped.
	BlockedTTL = 10 * time.Minute
)

// TTLs are the lifetimes of entries; zero means the constant of the same name.
type TTLs struct {
	Device  time.Duration
	Hold    time.Duration
	Address time.Duration
	Grant   time.Duration
	Blocked time.Duration
}

// WithDefaults has the constants for the lifetimes that are zero.
func (t TTLs) WithDefaults() TTLs {
	return TTLs{
		Device:  cmp.Or(t.Device, DeviceTTL),
		Hold:    cmp.Or(t.Hold, HoldTTL),
		Address: cmp.Or(t.Address, AddressTTL),
		Grant:   cmp.Or(t.Grant, GrantTTL),
		Blocked: cmp.Or(t.Blocked, BlockedTTL),
	}
}

var (
	// ErrUnknown: no such login, device or grant.
	ErrUnknown = errors.New("presence: unknown")
	// ErrNoPort: every port of the range is held by a live conversation or blocked.
	ErrNoPort = errors.New("presence: no port of the range is free")
	// ErrUnavailable: the database does not answer; callers go on without it.
	ErrUnavailable = errors.New("presence: unavailable")
	// ErrNameTaken: a live process with another ID has this relay host's name.
	ErrNameTaken = errors.New("presence: another relay host runs under this name; give this one another `host`")
)

// Directory is both databases. Methods obey their context and are safe for
// concurrent use; when the database does not answer they return an error that
// wraps ErrUnavailable.
type Directory interface {
	Addresses
	Devices
	Grants
	Hosts
	Close() error
}

// Addresses is the first database: where each login was seen last.
type Addresses interface {
	// Renew records where a login was seen, unless a newer sighting is kept.
	Renew(ctx context.Context, a Address) error
	// Lookup returns the newest address of a login, or ErrUnknown.
	Lookup(ctx context.Context, login string) (Address, error)
	// Addresses lists the newest addresses, newest first, at most limit entries.
	Addresses(ctx context.Context, limit int) ([]Address, error)
}

// Devices is the part of the first database that can be rung.
type Devices interface {
	// Connect records a device, or renews its heartbeat, and renews the
	// login's address.
	Connect(ctx context.Context, d Device) error
	// Disconnect forgets a device at once.
	Disconnect(ctx context.Context, login, id string) error
	// Devices lists the devices of a login that are connected now.
	Devices(ctx context.Context, login string) ([]Device, error)
	// AllDevices lists the devices of all logins that are connected now, the
	// one that connected last in front, at most limit entries.
	AllDevices(ctx context.Context, limit int) ([]Device, error)
}

// Grants is the second database: whose each granted port is.
type Grants interface {
	// Grant endows login with a port of this process' hosts, the first that has
	// one free, or renews the one it has at any host that is alive. When every
	// range is full the grant idle for longest is taken over, never one that is
	// held. Errors: ErrNoPort; ErrNameTaken.
	Grant(ctx context.Context, login string) (Grant, error)
	// GrantOf returns a login's grant without renewing it, or ErrUnknown.
	GrantOf(ctx context.Context, login string) (Grant, error)
	// Resolve finds the login of a granted port, or ErrUnknown.
	Resolve(ctx context.Context, host string, port int) (string, error)
	// Hold marks a port as used by a live conversation for HoldTTL; it is
	// called again every HeartbeatEvery. ErrUnknown if login no longer has it.
	Hold(ctx context.Context, g Grant) error
	// Release ends a Hold.
	Release(ctx context.Context, g Grant) error
	// Block takes a port away whose socket could not be had and skips it for
	// BlockedTTL; the login's next Grant is another port.
	Block(ctx context.Context, g Grant) error
	// Grants lists the granted ports, at most limit entries.
	Grants(ctx context.Context, limit int) ([]Grant, error)
}

// Hosts is the relay hosts that share the databases.
type Hosts interface {
	// RelayHost is the primary host name of this process, empty where it grants
	// nothing. It does not change afterwards.
	RelayHost() string
	// Hosts lists the relay hosts that are alive, by name.
	Hosts(ctx context.Context) ([]Host, error)
	// Leave withdraws this process as a relay host, before it ends: its Grant
	// returns ErrUnavailable, and others may grant its logins ports of their
	// own at once. Ports that are held stay so until they are released, or
	// HoldTTL after the last Hold.
	Leave(ctx context.Context) error
}

// Bus carries short messages between the relay hosts that share a Directory.
// At most once, and bounded: a message for a full queue is dropped and counted.
type Bus interface {
	// Publish sends a message of at most MaxMessage bytes to the process that
	// has a host name, or to all others when to is empty.
	Publish(ctx context.Context, to string, msg []byte) error
	// Subscribe names the function that takes the messages, once, before the first Publish. f
	// is called from one goroutine with the sender's primary name, and is quick.
	Subscribe(f func(from string, msg []byte))
}

// MaxMessage bounds a message of the Bus in bytes.
const MaxMessage = 64 << 10
