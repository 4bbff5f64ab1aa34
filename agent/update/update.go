// SPDX-License-Identifier: GPL-3.0-or-later

// Package update replaces the program by a newer one of the person's server. It believes
// nobody but the holder of the key that the server showed when the computer signed in:
// SHA256SUMS must be signed with it (minisign, Ed25519), and the file must be the one that
// SHA256SUMS names, newer than the program that runs.
package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"aead.dev/minisign"
	"golang.org/x/mod/semver"
)

const (
	// KeyFile is the server's public key, and SumsFile the list of its programs.
	KeyFile  = "chmail.pub"
	SumsFile = "SHA256SUMS"

	maxText    = 256 << 10
	maxProgram = 64 << 20
)

var (
	// ErrKey: there is no key, or not the one that was there at the sign-in.
	ErrKey = errors.New("the programs of the server are signed by somebody else than when this computer signed in:" +
		" nothing was changed; ask the administrator, and sign in again if that is right")
	// ErrOlder: the server has an older program.
	ErrOlder = errors.New("the server has an older program: nothing was changed")
)

// Server has the files of its page /download; a *server.Client does.
type Server interface {
	Fetch(ctx context.Context, path string, max int64, to io.Writer) error
}

// Options are what Run needs.
type Options struct {
	Server  Server
	Key     string // of the sign-in; empty: the server had none
	Version string // of the program that runs
	Program string // its path
}

// Run updates the program, and says what it did.
func Run(ctx context.Context, o Options) (did string, err error) {
	if o.Key == "" {
		return "", errors.New("the server had no signed program when this computer signed in: " +
			"sign in again if it has one now, or ask the administrator")
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(o.Key)); err != nil {
		return "", fmt.Errorf("reading the key of the sign-in: %w: sign in again", err)
	}
	if !semver.IsValid("v" + o.Version) {
		return "", fmt.Errorf("this program has no version (%s), so that nobody knows what is newer: "+
			"install one from the server's page /download", o.Version)
	}
	text := func(name string) ([]byte, error) {
		var b strings.Builder
		if err := o.Server.Fetch(ctx, "/download/"+name, maxText, &b); err != nil {
			return nil, fmt.Errorf("fetching %s: %w", name, err)
		}
		return []byte(b.String()), nil
	}
	sums, err := text(SumsFile)
	if err != nil {
		return "", err
	}
	signature, err := text(SumsFile + ".minisig")
	if err != nil {
		return "", err
	}
	if !minisign.Verify(key, sums, signature) {
		return "", ErrKey
	}
	name, version, sum, err := choose(string(sums))
	if err != nil {
		return "", err
	}
	switch semver.Compare("v"+version, "v"+o.Version) {
	case 0:
		return fmt.Sprintf("%s is the newest: nothing was changed.", o.Version), nil
	case -1:
		return "", fmt.Errorf("%w: %s here, %s there", ErrOlder, o.Version, version)
	}
	if err := replace(ctx, o, name, sum); err != nil {
		return "", err
	}
	return fmt.Sprintf("Updated from %s to %s. An agent that runs is the old one until it starts again.",
		o.Version, version), nil
}

// choose finds the program of this system.
func choose(sums string) (name, version, sum string, err error) {
	line := regexp.MustCompile(`(?m)^([0-9a-f]{64})  (chmail-([0-9A-Za-z.+-]+)-` +
		runtime.GOOS + "-" + runtime.GOARCH + `(?:\.exe)?)$`)
	found := line.FindStringSubmatch(sums)
	if found == nil || !semver.IsValid("v"+found[3]) {
		return "", "", "", fmt.Errorf("the server has no program for %s %s: ask the administrator",
			runtime.GOOS, runtime.GOARCH)
	}
	return found[2], found[3], found[1], nil
}

// replace writes the new program beside the old one, and puts it in its place when it is
// whole.
func replace(ctx context.Context, o Options, name, sum string) error {
	path, err := filepath.EvalSymlinks(o.Program)
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	old, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".chmail-*")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%s is not yours to change: a package is updated by the system's own command,"+
			" or ask whoever installed it", path)
	}
	if err != nil {
		return full(path, fmt.Errorf("making a file for the new program: %w", err))
	}
	defer os.Remove(f.Name()) // which is gone when all went well
	hash := sha256.New()
	err = o.Server.Fetch(ctx, "/download/"+name, maxProgram, io.MultiWriter(f, hash))
	if err == nil && hex.EncodeToString(hash.Sum(nil)) != sum {
		err = errors.New("it is not the one that was signed: nothing was changed; try again later")
	}
	if err == nil {
		err = f.Chmod(old.Mode())
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return full(path, fmt.Errorf("fetching %s: %w", name, err))
	}
	if err := swap(f.Name(), path); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

// full says what to do about a full disk.
func full(path string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk of %s is full: make room, and update again", path)
	}
	return err
}
