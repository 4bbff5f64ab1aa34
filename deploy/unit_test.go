// SPDX-License-Identifier: GPL-3.0-or-later

//go:build linux

package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/smtp"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chmail/chmail/internal/testpart"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("CHMAIL_JAIL"); path != "" {
		fmt.Fprintln(os.Stderr, "the jail:", enter(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// The server starts, takes a mail, serves a page and carries a chat under the
// unit's restrictions, with one that is stricter: a system call that the unit
// denies kills the server here, so that it shows, and is an error there.
func TestUnit(t *testing.T) {
	u := readUnit(t, "chmaild.service")
	j := newJail(t, u)

	const program = "/usr/local/bin/chmaild"
	demo := j.start(t, program, "demo", "--json", "--base-port", "0", "--state", j.path("StateDirectory"))
	var where struct{ Web, SMTP string }
	if err := json.NewDecoder(demo.out).Decode(&where); err != nil {
		t.Fatalf("the demo said nothing: %v, %v", err, demo.wait(t))
	}
	if err := demo.stop(t, syscall.SIGTERM); err != nil {
		t.Fatalf("the demo ended with %v", err)
	}

	// The demo has written a configuration that needs no root.
	of := func(directive string) []string {
		line := strings.ReplaceAll(u.last(directive), "/etc/chmail", j.path("StateDirectory"))
		return strings.Fields(line)
	}
	if err := j.start(t, of("ExecStartPre")...).wait(t); err != nil {
		t.Fatalf("%s: %v", u.last("ExecStartPre"), err)
	}
	server := j.start(t, of("ExecStart")...)
	server.awaitReady(t)
	sendMail(t, where.SMTP)
	if err := server.signal(u.last("ExecReload")); err != nil {
		t.Fatal(err)
	}
	server.awaitReady(t)
	chat(t, where.Web, j.sampleLink(t))
	if err := server.stop(t, syscall.SIGTERM); err != nil {
		t.Fatalf("%s: %v", u.last("ExecStart"), err)
	}
}

// sendMail mails the demo's customer.
func sendMail(t *testing.T, addr string) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = errors.Join(c.Mail("friend@mall.example"), c.Rcpt("customer@mall.example"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "From: <friend@mall.example>\r\nTo: <customer@mall.example>\r\nSubject: Hello\r\n\r\nHello.\r\n")
	if err := errors.Join(w.Close(), c.Quit()); err != nil {
		t.Fatal(err)
	}
}

// chat follows a link into its room, over QUIC on the granted port, and says
// something.
func chat(t *testing.T, web, link string) {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	page := web + u.Path
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: 20 * time.Second}
	res, err := browser.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	nonce := regexp.MustCompile(`"nonce":"([^"]+)"`).FindStringSubmatch(readAll(t, res))
	if nonce == nil {
		t.Fatal("the chat page has no nonce")
	}
	res, err = browser.Post(page+"/chat", "application/json", strings.NewReader(fmt.Sprintf(`{"nonce":%q}`, nonce[1])))
	if err != nil {
		t.Fatal(err)
	}
	var entry struct {
		Ticket    string
		Endpoints []struct{ Port int }
	}
	if answer := readAll(t, res); json.Unmarshal([]byte(answer), &entry) != nil || len(entry.Endpoints) == 0 {
		t.Fatalf("the way in: %s", answer)
	}
	room := dialRoom(t, entry.Endpoints[0].Port)
	room.send(t, `{"t":"hello","ticket":%q}`, entry.Ticket)
	room.await(t, "welcome")
	room.send(t, `{"t":"say","id":"1","text":"Hello"}`)
	room.await(t, "ack")
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unit is the section [Service] of a systemd unit.
type unit map[string][]string

func readUnit(t *testing.T, path string) unit {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, service, _ := strings.Cut(string(b), "[Service]")
	service, _, _ = strings.Cut(service, "[Install]")
	u := unit{}
	for line := range strings.Lines(service) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && name[0] != '#' {
			u[name] = append(u[name], value)
		}
	}
	return u
}

// last is the value of a directive that counts once.
func (u unit) last(directive string) string {
	if values := u[directive]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// jail is where the unit's programs run. It is what the child process reads.
type jail struct {
	Filter []unix.SockFilter
	Binds  map[string]string // what is seen, and where it really is
	Hidden []string          // folders that are seen empty
	Umask  string
	Args   []string

	unit unit
}

// newJail builds chmaild and makes the unit's folders.
func newJail(t *testing.T, u unit) *jail {
	t.Helper()
	filter := filterOf(t, u)
	dir := t.TempDir()
	program := filepath.Join(dir, "chmaild")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/chmaild").CombinedOutput(); err != nil {
		t.Fatalf("building chmaild: %v\n%s", err, out)
	}
	j := &jail{
		Filter: filter, Umask: u.last("UMask"), unit: u,
		Binds:  map[string]string{"/usr/local/bin/chmaild": program},
		Hidden: []string{"/usr/local/bin", "/var/lib", "/run", "/tmp", "/var/tmp", "/home", "/root"},
	}
	for _, directive := range []string{"StateDirectory", "RuntimeDirectory"} {
		real := filepath.Join(dir, directive)
		if err := os.Mkdir(real, 0o700); err != nil {
			t.Fatal(err)
		}
		j.Binds[j.path(directive)] = real
	}
	return j
}

// path is where the unit's programs see their folder.
func (j *jail) path(directive string) string {
	above := map[string]string{"StateDirectory": "/var/lib", "RuntimeDirectory": "/run"}
	return filepath.Join(above[directive], j.unit.last(directive))
}

func (j *jail) sampleLink(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(j.Binds[j.path("StateDirectory")], "demo.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Sample string }
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	return kept.Sample
}

// process is a program in the jail.
type process struct {
	cmd    *exec.Cmd
	out    io.ReadCloser
	err    *bytes.Buffer
	notify *net.UnixConn // stands in for systemd
	ended  chan error
}

// start runs a program in a user namespace, where this user may mount and has
// a number that is not root's.
func (j *jail) start(t *testing.T, args ...string) *process {
	t.Helper()
	j.Args = args
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jail")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self), err: &bytes.Buffer{}, ended: make(chan error, 1)}
	const socket = "notify"
	addr := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(j.Binds[j.path("RuntimeDirectory")], socket)}
	os.Remove(addr.Name) // an earlier program's
	if p.notify, err = net.ListenUnixgram("unixgram", addr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.notify.Close() })
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "CHMAIL_JAIL=" + path,
		"NOTIFY_SOCKET=" + filepath.Join(j.path("RuntimeDirectory"), socket)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
		Pdeathsig:   syscall.SIGKILL,
	}
	p.cmd.Stderr = p.err
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	err = p.cmd.Start()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		testpart.Missing(t, "a user namespace: the system allows none")
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		err := <-p.ended
		p.ended <- err
		if t.Failed() {
			t.Logf("%q complained: %s", args, p.err)
		}
	})
	return p
}

// wait returns how the program ended.
func (p *process) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == unix.SIGSYS {
			return fmt.Errorf("%w: it made a system call that the unit denies; the kernel's log has its number", err)
		}
		return err
	case <-time.After(15 * time.Second):
		return errors.New("it did not end")
	}
}

func (p *process) stop(t *testing.T, s os.Signal) error {
	t.Helper()
	p.cmd.Process.Signal(s)
	return p.wait(t)
}

// signal sends what the unit's /bin/kill would.
func (p *process) signal(command string) error {
	for name, s := range map[string]os.Signal{"-HUP": unix.SIGHUP, "-USR2": unix.SIGUSR2} {
		if command == "/bin/kill "+name+" $MAINPID" {
			return p.cmd.Process.Signal(s)
		}
	}
	return fmt.Errorf("this test does not know how to run %q", command)
}

// awaitReady waits until the program tells systemd that it serves.
func (p *process) awaitReady(t *testing.T) {
	t.Helper()
	p.notify.SetReadDeadline(time.Now().Add(30 * time.Second))
	for b := make([]byte, 4096); ; {
		n, err := p.notify.Read(b)
		if err != nil {
			t.Fatalf("it never was ready: %v, %v", err, p.wait(t))
		}
		if slices.Contains(strings.Fields(string(b[:n])), "READY=1") {
			return
		}
	}
}
