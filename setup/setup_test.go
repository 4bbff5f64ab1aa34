// SPDX-License-Identifier: GPL-3.0-or-later

package setup

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fake is a machine whose programs do nothing, but what setting up looks at.
type fake struct {
	user     bool
	services bool
	running  bool
	logins   string
	ran      []string // what was run
	wrong    string   // begin of what fails
}

func (f *fake) IDs() (int, int, error) {
	if !f.user {
		return 0, 0, errors.New("no such user")
	}
	return os.Getuid(), os.Getgid(), nil
}

func (f *fake) Run(_ context.Context, as, input, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{filepath.Base(name)}, args...), " ")
	if i := strings.Index(line, ".conf "); i >= 0 {
		line = as + ": chmaild " + line[i+6:]
	}
	f.ran = append(f.ran, line)
	switch {
	case f.wrong != "" && strings.HasPrefix(line, f.wrong):
		return "", errors.New("it does not work")
	case strings.HasPrefix(line, "useradd"):
		f.user = true
	case strings.Contains(line, "user add"):
		f.logins = args[len(args)-1] + "\n"
		if len(strings.TrimSpace(input)) < 20 {
			return "", errors.New("a short password")
		}
	case strings.HasSuffix(line, "user list"):
		return f.logins, nil
	case strings.HasPrefix(line, "systemctl enable"):
		f.running = true
	case strings.HasPrefix(line, "systemctl is-active") && !f.running:
		return "", errors.New("inactive")
	}
	return "", nil
}

func (f *fake) Services() bool { return f.services }

func TestRun(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("files are given to root")
	}
	root, program := t.TempDir(), filepath.Join(t.TempDir(), "chmaild")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := &fake{services: true, wrong: "systemctl enable"}
	var out bytes.Buffer
	o := Options{
		Root: root, Program: program, Config: "/etc/chmail/maddy.conf", Text: []byte("hostname h\n"),
		Out: &out, System: f,
		StateDir: "/var/lib/chmail", RunDir: "/run/chmail", Account: "postmaster@mall.example", DryRun: true,
		Unit: "ExecStart=/usr/local/bin/chmaild --config /etc/chmail/maddy.conf run\n",
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 || strings.Contains(out.String(), "done") || f.user {
		t.Errorf("a dry run made %v, and says:\n%s", left, &out)
	}

	// An error ends it, and the next time it goes on from there.
	o.DryRun = false
	first, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "journalctl -u chmaild") || first.Started {
		t.Errorf("a service that does not start: %v", err)
	}
	if first.Password == "" || !slices.Contains(f.ran, "chmail: chmaild user add postmaster@mall.example") {
		t.Errorf("no account was made: %q", f.ran)
	}
	for path, mode := range map[string]fs.FileMode{
		"/etc/chmail": 0o750, "/etc/chmail/maddy.conf": 0o640, "/var/lib/chmail": 0o700, "/run/chmail": 0o700,
		"/usr/local/bin/chmaild": 0o755, "/etc/systemd/system/chmaild.service": 0o644,
	} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want mode %v", path, info, err, mode)
		}
	}
	f.wrong = ""
	if err := os.WriteFile(filepath.Join(root, o.Config), []byte("edited"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "/var/lib/chmail/dkim_keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "/var/lib/chmail/dkim_keys/k.dns"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := Run(t.Context(), o)
	if err != nil || !second.Started || second.Password != "" {
		t.Errorf("again: %+v, %v", second, err)
	}
	out.Reset()
	third, err := Run(t.Context(), o)
	if err != nil || !third.Started || strings.Contains(out.String(), "done") {
		t.Errorf("the third time: %+v, %v\n%s", third, err, &out)
	}
	if text, err := os.ReadFile(filepath.Join(root, o.Config)); err != nil || string(text) != "edited" {
		t.Errorf("the configuration is %q, %v", text, err)
	}
}
