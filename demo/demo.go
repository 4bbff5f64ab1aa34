// SPDX-License-Identifier: GPL-3.0-or-later

// Package demo prepares a whole server on loopback: a certificate, a
// configuration, accounts and a sample mail.
//
// Prepare writes an ordinary configuration into the state folder and makes the
// accounts with the same commands that an administrator uses; the server then
// runs by the same path as `chmaild run`. Announce waits until everything
// listens, sends the sample mail through submission, and says where all is.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/chmail/chmail/config"
)

// Domain is the demo's mail domain.
const Domain = "mall.example"

// Options are the demo command's.
type Options struct {
	State    string // folder; made when missing, used again when there
	BasePort int    // every listener counted from it; 0: the system picks; DefaultPorts: the usual ones
	Presence string // redis://… or empty for in process
	Database string // postgres://… or empty for SQLite
	Self     string // path of chmaild, to make accounts with
}

// DefaultPorts as BasePort: web on 8080, submission on 1587 and so on.
const DefaultPorts = -1

// Account is one of the demo's people.
type Account struct {
	Login    string `json:"login"`
	Password string `json:"password"`
	Role     string `json:"role"`
}

// Info is what the demo prints with --json.
type Info struct {
	Web        string    `json:"web"`
	Mall       string    `json:"mall"`
	Submission string    `json:"submission"`
	SMTP       string    `json:"smtp"`
	POP3       string    `json:"pop3"`
	IMAP       string    `json:"imap"`
	Metrics    string    `json:"metrics"`
	Domain     string    `json:"domain"`
	Ports      string    `json:"ports"`
	CA         string    `json:"ca"`
	Accounts   []Account `json:"accounts"`
}

// Demo is a prepared demo server.
type Demo struct {
	Info
	Config string // path of the configuration to run
	Log    string // path of the log file

	state string
	kept  kept
	lock  *os.File
}

// kept is what a later start on the same state needs again.
type kept struct {
	Accounts []Account `json:"accounts"`
	Sample   string    `json:"sample,omitempty"` // chat link of the sample mail

	Mailboxes bool `json:"mailboxes,omitempty"` // the sample's members have theirs
}

// Prepare makes or reuses the state folder.
func Prepare(ctx context.Context, o Options) (*Demo, error) {
	state, err := filepath.Abs(o.State)
	if err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil,
			fmt.Errorf("preparing the demo: the state folder cannot be made: %w; name another with --state", err)
	}
	d := &Demo{
		state:  state,
		Config: filepath.Join(state, "maddy.conf"),
		Log:    filepath.Join(state, "chmaild.log"),
		Info:   Info{Domain: Domain, Ports: "20000-29999", CA: filepath.Join(state, "ca.pem")},
	}
	if d.lock, err = lock(filepath.Join(state, "lock")); err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	if err := errors.Join(d.load(), makeCertificates(state)); err != nil {
		return nil, fmt.Errorf("preparing the demo in %s: %w", state, err)
	}
	if err := d.pickPorts(o.BasePort); err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	if err := d.writeConfig(o); err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	if err := d.fillMall(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(d.makeAccounts(ctx, o.Self), d.makeMailboxes()); err != nil {
		return nil, fmt.Errorf("preparing the demo: %w", err)
	}
	return d, d.writeLanding()
}

// Close lets another demo have the state folder.
func (d *Demo) Close() error { return d.lock.Close() }

// lock keeps two demos from running on one state folder. The lock ends with
// the process, however it ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the state folder cannot be written: %w; name another with --state", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("a demo runs on %s already: stop it, or name another folder with --state",
			filepath.Dir(path))
	}
	return f, nil
}

func (d *Demo) load() error {
	b, err := os.ReadFile(d.path("demo.json"))
	if err == nil {
		if err := json.Unmarshal(b, &d.kept); err != nil {
			return fmt.Errorf("demo.json is damaged (%w): remove it and start again, with new passwords", err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(d.kept.Accounts) == 0 {
		for _, role := range []string{"host", "customer", "friend"} {
			d.kept.Accounts = append(d.kept.Accounts,
				Account{role + "@" + Domain, strings.ToLower(rand.Text()[:12]), role})
		}
		if err := d.save(); err != nil {
			return err
		}
	}
	d.Accounts = d.kept.Accounts
	return nil
}

func (d *Demo) save() error { return writeJSON(d.path("demo.json"), d.kept) }

func (d *Demo) path(name string) string { return filepath.Join(d.state, name) }

// account returns the first account of a role.
func (d *Demo) account(role string) Account {
	i := slices.IndexFunc(d.Accounts, func(a Account) bool { return a.Role == role })
	return d.Accounts[i]
}

// pickPorts chooses where to listen. Ports that the system picks are opened
// all at once, so that they differ, and closed for the server to open.
func (d *Demo) pickPorts(base int) error {
	ports := []int{8080, 1587, 1025, 1110, 1143, 9749, 8081}
	if base < DefaultPorts || base > 65535-len(ports) {
		return fmt.Errorf("--base-port %d is not a port: give 0 or one from 1 to %d", base, 65535-len(ports))
	}
	for i := range ports {
		if base > 0 {
			ports[i] = base + i
		}
	}
	if base == 0 {
		for i := range ports {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			ports[i] = l.Addr().(*net.TCPAddr).Port
		}
	}
	if base != 0 {
		if err := allFree(ports); err != nil {
			return err
		}
	}
	at := func(i int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i])) }
	d.Web = "http://localhost:" + strconv.Itoa(ports[0])
	d.Submission, d.SMTP, d.POP3, d.IMAP = at(1), at(2), at(3), at(4)
	d.Metrics = "http://" + at(5) + "/metrics"
	d.Mall = "http://mall.localhost:" + strconv.Itoa(ports[6])
	return nil
}

// allFree tries every port: the listeners of another program must not be taken
// for the demo's own.
func allFree(ports []int) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("%w: end the other program, or choose other ports with --base-port", err)
		}
		l.Close()
	}
	return nil
}

func (d *Demo) writeConfig(o Options) error {
	host := func(url string) string {
		return strings.TrimSuffix(strings.Replace(strings.TrimPrefix(strings.TrimPrefix(url, "http://"), "mall."),
			"localhost", "127.0.0.1", 1), "/metrics")
	}
	s := config.Server{
		Domain: Domain, Host: "localhost", Web: d.Web, Mall: d.Mall,
		StateDir: d.state, RunDir: d.path("run"),
		Cert: d.path("cert.pem"), Key: d.path("key.pem"),
		Presence: o.Presence, Database: o.Database, Ports: d.Ports,
		Demo: true, Landing: d.path("landing.json"),
		Listen: config.Listeners{
			Web: host(d.Web), Submission: d.Submission, SMTP: d.SMTP,
			POP3: d.POP3, IMAP: d.IMAP, Metrics: host(d.Metrics), Mall: host(d.Mall),
		},
	}
	if s.Database == "" {
		s.Database = "sqlite:rooms.db"
	}
	var b bytes.Buffer
	if err := config.Template(&b, s); err != nil {
		return err
	}
	return writeFile(d.Config, b.Bytes())
}

// makeAccounts adds the accounts that are not there yet.
func (d *Demo) makeAccounts(ctx context.Context, self string) error {
	run := func(stdin string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, self, append([]string{"--config", d.Config, "user"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("chmaild user %s: %w: %s", args[0], err, bytes.TrimSpace(complaint.Bytes()))
		}
		return out, nil
	}
	if err := d.importOld(ctx, self); err != nil {
		return err
	}
	out, err := run("", "list", "--json")
	if err != nil {
		return err
	}
	var have []Account // with their logins only
	if err := json.Unmarshal(out, &have); err != nil {
		return fmt.Errorf("reading the list of accounts: %w", err)
	}
	for _, a := range d.Accounts {
		if slices.ContainsFunc(have, func(h Account) bool { return h.Login == a.Login }) {
			continue
		}
		if _, err := run(a.Password+"\n", "add", a.Login); err != nil {
			return err
		}
	}
	return nil
}

// importOld brings over the mail of a state folder from before the mail store.
func (d *Demo) importOld(ctx context.Context, self string) error {
	old := d.path("imapsql.db")
	if !exists(old) || exists(d.path("mailstore")) {
		return nil
	}
	cmd := exec.CommandContext(ctx, self, "--config", d.Config, "store", "import",
		"imapsql", "file:imapsql.db?_txlock=immediate")
	if out, err := cmd.CombinedOutput(); err != nil {
		// What was imported is there again next time.
		return errors.Join(fmt.Errorf("bringing the mail of %s over: %w: %s", old, err, bytes.TrimSpace(out)),
			os.RemoveAll(d.path("mailstore")))
	}
	return os.Rename(old, old+".imported")
}

// writeLanding gives the landing page what it shows.
func (d *Demo) writeLanding() error {
	return writeJSON(d.path("landing.json"), struct {
		Info
		Sample string `json:"sample,omitempty"`
	}{d.Info, d.kept.Sample})
}

// Announce waits until every listener answers, makes sure that the sample mail
// is there, and returns. It ends early with ctx.
func (d *Demo) Announce(ctx context.Context) error {
	addrs := []string{d.Submission, d.SMTP, d.POP3, d.IMAP,
		strings.TrimPrefix(d.Web, "http://"), strings.TrimPrefix(d.Mall, "http://mall."),
		strings.TrimSuffix(strings.TrimPrefix(d.Metrics, "http://"), "/metrics")}
	for _, addr := range addrs {
		for {
			c, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	if d.kept.Sample != "" {
		return nil
	}
	link, err := d.sendSample()
	if err != nil {
		return fmt.Errorf("sending the sample mail: %w", err)
	}
	d.kept.Sample = link
	return errors.Join(d.save(), d.writeLanding())
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// writeFile replaces a file as a whole: a kill leaves the old one or the new.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
