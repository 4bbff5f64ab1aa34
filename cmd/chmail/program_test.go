// SPDX-License-Identifier: GPL-3.0-or-later

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chmail/chmail/agent/autostart"
	"github.com/chmail/chmail/agent/notice/noticetest"
	"github.com/chmail/chmail/internal/testpart"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chmail": main})
}

// TestLinksNoServer: the program has no part of the mail server in it.
func TestLinksNoServer(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "github.com/chmail/chmail/agent\n") {
		t.Fatalf("the list is %s", out)
	}
	for _, part := range []string{"foxcpp/maddy", "cockroachdb/pebble", "sqlite", "prometheus"} {
		if strings.Contains(string(out), part) {
			t.Errorf("the program links %s", part)
		}
	}
}

// program is a run of chmail in a folder of its own.
func program(dir, bus, stdin string, args ...string) *exec.Cmd {
	cmd := exec.Command("chmail", args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "CHMAIL_DIR="+dir, "LC_ALL=C", "DBUS_SESSION_BUS_ADDRESS="+bus)
	return cmd
}

func run(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	out, err := program(dir, "unix:path=/none", stdin, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("chmail %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestProgram: a person signs in, is rung while the agent runs, declines, talks in the
// terminal, and is signed out.
func TestProgram(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	desk := noticetest.Start(t)
	dir := t.TempDir()
	chmaild := filepath.Join(dir, "chmaild")
	if out, err := exec.Command("go", "build", "-o", chmaild, "../chmaild").CombinedOutput(); err != nil {
		t.Fatalf("building chmaild: %v: %s", err, out)
	}
	var info struct {
		Web      string
		Accounts []struct{ Login, Password string }
	}
	server := exec.Command(chmaild, "demo", "--json", "--base-port", "0", "--state", filepath.Join(dir, "state"))
	server.Stderr = os.Stderr
	begin(t, server, func(line []byte) bool { return json.Unmarshal(line, &info) == nil })
	host := info.Accounts[0]
	run(t, dir, host.Password+"\n", "login", "--server", info.Web, "--no-keyring", host.Login)
	if out, err := program(dir, "", "wrong\n", "login", "--server", info.Web, host.Login).CombinedOutput(); err == nil ||
		string(out) != "chmail: Login or password is wrong.\n" {
		t.Errorf("with a wrong password: %s (%v)", out, err)
	}

	agent := program(dir, desk.Address, "", "agent", "--terminal")
	ended := begin(t, agent, func(line []byte) bool { return bytes.Contains(line, []byte("connected to")) })
	if s := run(t, dir, "", "status"); !strings.Contains(s, "connected since") {
		t.Error(s)
	}
	if out, err := program(dir, "", "", "agent").CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "runs already") {
		t.Errorf("a second agent: %s (%v)", out, err)
	}

	// Somebody presses the link of the demo's mail; the agent declines.
	customer := make(chan string, 1)
	link := demoLink(t, info.Web)
	said, say := io.Pipe()
	chat := program(t.TempDir(), "", "", "chat", link)
	chat.Stdin = said
	go func() {
		out, err := chat.CombinedOutput()
		if err != nil {
			out = append(out, err.Error()...)
		}
		customer <- string(out)
	}()
	shown := desk.Next(t)
	if !strings.HasPrefix(shown.Title, "Incoming chat: ") || !shown.Urgent {
		t.Errorf("%+v", shown)
	}
	desk.Press(t, shown.ID, "decline")
	if id := desk.Closed(t); id != shown.ID {
		t.Errorf("notification %d was taken away, want %d", id, shown.ID)
	}
	io.WriteString(say, "hello from a link\n")
	say.Close()
	if out := <-customer; !strings.Contains(out, "You: hello from a link") {
		t.Errorf("the customer's terminal: %s", out)
	}
	if out := run(t, dir, "and from here\n", "chat", info.Accounts[1].Login); !strings.Contains(out, ": hello from a link") ||
		!strings.Contains(out, "You: and from here") {
		t.Errorf("the host's terminal: %s", out)
	}

	run(t, dir, "", "logout") // which ends the agent too: its token is not good any more
	if code := <-ended; code != autostart.SignedOut {
		t.Errorf("the agent ended with code %d", code)
	}
	if out, err := program(dir, "", "", "status").CombinedOutput(); err == nil ||
		!strings.Contains(string(out), "chmail login") {
		t.Errorf("after logout: %s (%v)", out, err)
	}
}

// begin runs a command until the test is over, and returns when a line of its output is
// ready. The channel gives its exit code.
func begin(t *testing.T, cmd *exec.Cmd, ready func(line []byte) bool) <-chan int {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended, over, started := make(chan int, 1), make(chan bool), make(chan bool, 1)
	go func() {
		defer close(over)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			if ready(line) {
				started <- true
				break
			}
		}
		io.Copy(io.Discard, lines)
		cmd.Wait()
		ended <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-over
	})
	select {
	case <-started:
	case <-over:
		t.Fatalf("%s ended before it was ready", cmd.Path)
	}
	return ended
}

func demoLink(t *testing.T, web string) string {
	t.Helper()
	res, err := http.Get(web + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`/c/[A-Za-z0-9_-]{22}`).Find(page)
	if found == nil {
		t.Fatalf("no link in %s", page)
	}
	return web + string(found)
}
