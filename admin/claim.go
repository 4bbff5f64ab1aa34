// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// SocketName is the socket's name in the runtime directory.
	SocketName = "admin.sock"
	lockName   = "chmaild.lock"
	// Patience is how long a command waits for a server that starts or ends or for
	// another command, and a server for a command.
	Patience = 10 * time.Second
	tryEvery = 50 * time.Millisecond
)

// ErrClaimed: another process has the state directory.
var ErrClaimed = errors.New("in use by another process, " +
	"such as a chmaild that runs already or a command that is not done")

// Claim takes the files of a state directory for this process, until the result
// is closed or the process ends. It waits for another process as long as told.
func Claim(ctx context.Context, state string, wait time.Duration) (io.Closer, error) {
	for end := time.Now().Add(wait); ; {
		f, err := tryClaim(state)
		if !errors.Is(err, ErrClaimed) || time.Now().After(end) {
			return f, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

func tryClaim(state string) (io.Closer, error) {
	path := filepath.Join(state, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("the state directory %s is %w", state, ErrClaimed)
		}
		return nil, fmt.Errorf("taking the state directory: locking %s: %w", path, err)
	}
	return f, nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(tryEvery):
		return nil
	}
}

// Mine returns an error where a state directory is another user's: what this user makes
// there, the server could not open.
func Mine(state string) error {
	if ownerOf(state) != os.Geteuid() {
		return fmt.Errorf("the state directory %s cannot be used; %s", state, asOwner(state))
	}
	return nil
}

// Connect returns a client of the server that runs, or else the claim to the
// files of the state directory. Where neither is to be had within ten seconds,
// the error wraps ErrClaimed.
func Connect(ctx context.Context, socket, state string, choice Choice) (*Client, io.Closer, error) {
	for end := time.Now().Add(Patience); ; {
		c, err := Dial(socket, choice)
		if err == nil {
			return c, nil, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil, fmt.Errorf("%w; %s", err, asOwner(socket))
		}
		if err := Mine(state); err != nil {
			return nil, nil, fmt.Errorf("no server runs, and %w", err)
		}
		claim, err := tryClaim(state)
		if !errors.Is(err, ErrClaimed) || time.Now().After(end) {
			return nil, claim, err
		}
		if err := pause(ctx); err != nil {
			return nil, nil, err
		}
	}
}
