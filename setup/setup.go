// SPDX-License-Identifier: GPL-3.0-or-later

// Package setup makes a Debian machine a CHmail server: its user, folders, configuration, keys, first
// account and service.
//
// Each step looks first whether it was done, by whomever, and then leaves things as they are, so
// that setting up can be repeated after an error, and an administrator's edits stay.
package setup

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// User is whom the server runs as.
const User = "chmail"

// Options say what to set up.
type Options struct {
	Root     string // before all paths below; "" but in tests
	Program  string // this program
	Config   string // path of the configuration
	Text     []byte // of the configuration, where there is none
	StateDir string
	RunDir   string
	Account  string // the first one
	Unit     string // text of the service
	DryRun   bool   // says what would be done
	Out      io.Writer
	System   System // nil: this machine
}

// System is what of the machine is not files.
type System interface {
	// IDs are the numbers of User and its group.
	IDs() (uid, gid int, err error)
	// Run runs a program, as User or as root, and returns what it printed.
	Run(ctx context.Context, as, input, name string, args ...string) (string, error)
	// Services says whether systemd runs here.
	Services() bool
}

// Done is what there is after setting up.
type Done struct {
	Password string // of the account that was made; "" if there were accounts
	Started  bool   // the service runs
	Program  string // its path
}

// places where a package puts the unit, and an administrator.
var units = []string{
	"/etc/systemd/system/chmaild.service",
	"/usr/lib/systemd/system/chmaild.service",
	"/lib/systemd/system/chmaild.service",
}

const installed = "/usr/local/bin/chmaild"

type maker struct {
	Options
	done Done
}

// Run does all steps in order and prints a line for each. It ends at the first that fails.
func Run(ctx context.Context, o Options) (Done, error) {
	if o.System == nil {
		o.System = machine{}
	}
	m := &maker{Options: o}
	for _, step := range []struct {
		doing string
		do    func(context.Context) error
	}{
		{"making the user " + User, m.user},
		{"making the folders", m.folders},
		{"installing the program", m.program},
		{"writing the configuration", m.configuration},
		{"making the keys", m.keys},
		{"making the first account", m.account},
		{"installing the service", m.service},
	} {
		if err := step.do(ctx); err != nil {
			return m.done, fmt.Errorf("%s: %w", step.doing, err)
		}
	}
	return m.done, nil
}

// say prints what a step did, or would do.
func (m *maker) say(format string, args ...any) {
	begin := "done  "
	if m.DryRun {
		begin = "would "
	}
	fmt.Fprintf(m.Out, begin+format+"\n", args...)
}

// keep prints what a step left.
func (m *maker) keep(format string, args ...any) { fmt.Fprintf(m.Out, "kept  "+format+"\n", args...) }

func (m *maker) path(p string) string { return filepath.Join(m.Root, p) }

func (m *maker) user(ctx context.Context) error {
	if _, _, err := m.System.IDs(); err == nil {
		m.keep("the user %s", User)
		return nil
	}
	m.say("make the user %s", User)
	if m.DryRun {
		return nil
	}
	_, err := m.System.Run(ctx, "", "", "useradd", "--system", "--user-group", "--home-dir", m.StateDir,
		"--no-create-home", "--shell", "/usr/sbin/nologin", User)
	return err
}

func (m *maker) folders(context.Context) error {
	uid, gid, err := m.System.IDs()
	if err != nil && !m.DryRun {
		return err
	}
	for _, f := range []struct {
		path     string
		mode     fs.FileMode
		uid, gid int
	}{
		{filepath.Dir(m.Config), 0o750, 0, gid}, {m.StateDir, 0o700, uid, gid}, {m.RunDir, 0o700, uid, gid},
	} {
		if err := m.folder(f.path, f.mode, f.uid, f.gid); err != nil {
			return err
		}
	}
	return nil
}

// folder makes a folder. What root made in it by a command of its own, its user gets.
func (m *maker) folder(path string, mode fs.FileMode, uid, gid int) error {
	real := m.path(path)
	info, err := os.Stat(real)
	if err == nil && (uid == 0 || owner(info) == uid) {
		m.keep("the folder %s", path)
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && owner(info) != 0 {
		return fmt.Errorf("%s belongs to the user number %d: give it to %s, or name another folder",
			path, owner(info), User)
	}
	m.say("make the folder %s, mode %04o", path, mode)
	if m.DryRun {
		return nil
	}
	if err := os.MkdirAll(real, mode); err != nil {
		return err
	}
	if err := os.Chmod(real, mode); err != nil {
		return err
	}
	return filepath.WalkDir(real, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p != real && uid == 0 {
			return err
		}
		return os.Lchown(p, uid, gid)
	})
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// program puts this program where the service finds it.
func (m *maker) program(context.Context) error {
	m.done.Program = m.Program
	if m.Program == "/usr/bin/chmaild" || m.Program == installed {
		m.keep("the program %s", m.Program)
		return nil
	}
	m.done.Program = installed
	text, err := os.ReadFile(m.Program)
	if err != nil {
		return err
	}
	there, err := os.ReadFile(m.path(installed))
	switch {
	case err == nil && bytes.Equal(there, text):
		m.keep("the program %s", installed)
		return nil
	case err == nil:
		m.keep("the program %s, which is another version: `install -m 755 %s %[1]s` changes it", installed, m.Program)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	m.say("copy the program to %s", installed)
	if m.DryRun {
		return nil
	}
	return m.write(installed, text, 0o755, 0)
}

// write makes a file of root's that is whole or not there.
func (m *maker) write(path string, text []byte, mode fs.FileMode, gid int) error {
	real := m.path(path)
	if err := os.MkdirAll(filepath.Dir(real), 0o755); err != nil {
		return err
	}
	half, err := os.CreateTemp(filepath.Dir(real), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(half.Name()) // no longer there, if all went well
	_, err = half.Write(text)
	err = errors.Join(err, half.Chown(0, gid), half.Chmod(mode), half.Sync(), half.Close())
	if err != nil {
		return err
	}
	return os.Rename(half.Name(), real)
}

func (m *maker) configuration(context.Context) error {
	if _, err := os.Stat(m.path(m.Config)); err == nil {
		m.keep("the configuration %s", m.Config)
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.say("write the configuration %s, mode 0640", m.Config)
	if m.DryRun {
		return nil
	}
	_, gid, err := m.System.IDs()
	if err != nil {
		return err
	}
	return m.write(m.Config, m.Text, 0o640, gid)
}

// chmaild runs a command of the server as its user.
func (m *maker) chmaild(ctx context.Context, input string, args ...string) (string, error) {
	args = append([]string{"--config", m.path(m.Config)}, args...)
	return m.System.Run(ctx, User, input, m.path(m.done.Program), args...)
}

// keys makes those that sign mail: reading the configuration does.
func (m *maker) keys(ctx context.Context) error {
	if found, err := filepath.Glob(m.path(m.StateDir) + "/dkim_keys/*.dns"); err == nil && len(found) > 0 {
		m.keep("the keys that sign mail")
		return nil
	}
	m.say("make the key that signs mail")
	if m.DryRun {
		return nil
	}
	_, err := m.chmaild(ctx, "", "check", "--start")
	return err
}

func (m *maker) account(ctx context.Context) error {
	if m.DryRun {
		m.say("make the account %s with a password of its own, if there is no account", m.Account)
		return nil
	}
	logins, err := m.chmaild(ctx, "", "user", "list")
	if err != nil {
		return err
	}
	if strings.TrimSpace(logins) != "" {
		m.keep("the accounts")
		return nil
	}
	password := rand.Text()
	if _, err := m.chmaild(ctx, password+"\n", "user", "add", m.Account); err != nil {
		return err
	}
	m.done.Password = password
	// Now: a later step may fail, and the next run does not know it.
	m.say("make the account %s, whose password is %s", m.Account, password)
	return nil
}

// service installs the unit, unless a package did, and starts it.
func (m *maker) service(ctx context.Context) error {
	there := ""
	for _, path := range units {
		if _, err := os.Stat(m.path(path)); err == nil && there == "" {
			there = path
		}
	}
	if there != "" {
		m.keep("the service %s", there)
	} else {
		m.say("write the service %s", units[0])
		if !m.DryRun {
			text := strings.NewReplacer(installed, m.done.Program, "/etc/chmail/maddy.conf", m.Config).Replace(m.Unit)
			if err := m.write(units[0], []byte(text), 0o644, 0); err != nil {
				return err
			}
		}
	}
	if !m.System.Services() {
		return nil
	}
	if _, err := m.System.Run(ctx, "", "", "systemctl", "is-active", "--quiet", "chmaild"); err == nil {
		m.keep("the service runs")
		m.done.Started = true
		return nil
	}
	m.say("start the service, now and at each start of the machine")
	if m.DryRun {
		return nil
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "--now", "chmaild"}} {
		if _, err := m.System.Run(ctx, "", "", "systemctl", args...); err != nil {
			return fmt.Errorf("%w; `journalctl -u chmaild` says why", err)
		}
	}
	m.done.Started = true
	return nil
}

// machine is this one.
type machine struct{}

func (machine) IDs() (uid, gid int, err error) {
	u, err := user.Lookup(User)
	if err != nil {
		return 0, 0, err
	}
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

func (s machine) Run(ctx context.Context, as, input, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Stdin = strings.NewReader(input)
	if as != "" {
		uid, gid, err := s.IDs()
		if err != nil {
			return "", err
		}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		c.Dir = "/"
	}
	var out, complaint bytes.Buffer
	c.Stdout, c.Stderr = &out, &complaint
	if err := c.Run(); err != nil {
		said := strings.TrimSpace(complaint.String() + out.String())
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, said)
	}
	return out.String(), nil
}

func (machine) Services() bool {
	info, err := os.Stat("/run/systemd/system")
	return err == nil && info.IsDir()
}
