// SPDX-License-Identifier: GPL-3.0-or-later

// Package e2e drives the whole server as its users do: the chmaild program,
// mail clients that are not ours, and Chromium.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

var chmaild string // the program under test

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("e2e: none of these tests is short")
		return
	}
	dir, err := os.MkdirTemp("", "chmail-e2e-")
	if err != nil {
		panic(err)
	}
	chmaild = filepath.Join(dir, "chmaild")
	out, err := exec.Command("go", "build", "-o", chmaild, "../cmd/chmaild").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building chmaild: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	testpart.EndPostgres()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a demo server of its own, on ports that the system picked.
type server struct {
	Web        string `json:"web"`
	Submission string `json:"submission"`
	SMTP       string `json:"smtp"`
	POP3       string `json:"pop3"`
	IMAP       string `json:"imap"`
	Metrics    string `json:"metrics"`
	Mall       string `json:"mall"`
	Ports      string `json:"ports"`
	CA         string `json:"ca"`
	Accounts   []struct{ Login, Password, Role string }

	state string
	cmd   *exec.Cmd
	ended chan error
}

// startServer starts a server on a state, a new one if there is none yet.
func startServer(t testing.TB, state string, args ...string) *server {
	t.Helper()
	if files, _ := os.ReadDir(state); len(files) == 0 && !slices.Contains(args, "--database") {
		if out, err := exec.Command("cp", "-a", firstState(t)+"/.", state).CombinedOutput(); err != nil {
			t.Fatalf("copying a first state: %v: %s", err, out)
		}
	}
	return startOn(t, state, args...)
}

var first struct {
	sync.Mutex
	state string
}

// firstState is what a first start leaves, which every test would wait for: it makes
// the accounts of 200 members.
func firstState(t testing.TB) string {
	t.Helper()
	first.Lock()
	defer first.Unlock()
	if first.state == "" {
		state := filepath.Join(filepath.Dir(chmaild), "state")
		startOn(t, state).stop(t)
		first.state = state
	}
	return first.state
}

func startOn(t testing.TB, state string, args ...string) *server {
	t.Helper()
	s := &server{state: state, ended: make(chan error, 1)}
	s.cmd = exec.Command(chmaild, append([]string{"demo", "--json", "--state", state, "--base-port", "0"}, args...)...)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	s.cmd.Stderr = stderr
	complaint := func() string {
		b, _ := os.ReadFile(stderr.Name())
		return string(b)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(state, "chmaild.log"))
			t.Logf("the server's log:\n%s", tail(log, 8000))
		}
	})
	line := make(chan []byte, 1)
	go func() {
		r := bufio.NewReader(out)
		b, _ := r.ReadBytes('\n')
		line <- b
		io.Copy(io.Discard, r)
		s.ended <- s.cmd.Wait()
	}()
	select {
	case b := <-line:
		if err := json.Unmarshal(b, s); err != nil {
			t.Fatalf("the demo printed %q (%v) and complained: %s", b, err, complaint())
		}
	case <-time.After(60 * time.Second):
		t.Fatalf("the demo was not ready after a minute: %s", complaint())
	}
	if text := complaint(); text != "" {
		t.Errorf("the demo complained: %s", text)
	}
	return s
}

// stop ends the server as systemd does.
func (s *server) stop(t testing.TB) {
	t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		s.ended <- err
		if err != nil {
			t.Errorf("after SIGTERM the server ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server did not end within 10 s of SIGTERM")
	}
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	err := <-s.ended
	s.ended <- err
}

func (s *server) password(role string) (login, password string) {
	i := slices.IndexFunc(s.Accounts, func(a struct{ Login, Password, Role string }) bool { return a.Role == role })
	return s.Accounts[i].Login, s.Accounts[i].Password
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// admin runs an admin command against the server's configuration.
func (s *server) admin(t *testing.T, args ...string) []byte {
	t.Helper()
	return s.adminWith(t, "", args...)
}

// adminWith gives the command something on its standard input, such as a password.
func (s *server) adminWith(t *testing.T, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(chmaild, append([]string{"--config", filepath.Join(s.state, "maddy.conf")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chmaild %s: %v: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out
}

// send mails through submission with curl, over STARTTLS.
func (s *server) send(t *testing.T, role, message string, recipients ...string) time.Duration {
	t.Helper()
	login, password := s.password(role)
	_, port, _ := net.SplitHostPort(s.Submission)
	args := []string{"-sS", "--ssl-reqd", "--cacert", s.CA, "--url", "smtp://localhost:" + port,
		"--resolve", "localhost:" + port + ":127.0.0.1", "--user", login + ":" + password,
		"--mail-from", login, "-T", "-"}
	for _, r := range recipients {
		args = append(args, "--mail-rcpt", r)
	}
	cmd := exec.Command(testpart.Need(t, "curl"), args...)
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(message, "\n", "\r\n"))
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	return time.Since(start)
}

// popAll fetches a maildrop with Python's poplib over STLS.
const popAll = `
import json, poplib, ssl, sys
host, port, ca, login, password = sys.argv[1:6]
p = poplib.POP3("localhost", int(port), timeout=20)
p.stls(ssl.create_default_context(cafile=ca))
p.user(login); p.pass_(password)
out = [b"\r\n".join(p.retr(i + 1)[1]).decode("latin-1") for i in range(p.stat()[0])]
p.quit()
json.dump(out, sys.stdout)
`

func (s *server) fetch(t *testing.T, role string) []string {
	t.Helper()
	login, password := s.password(role)
	return s.fetchOf(t, login, password)
}

// fetchOf fetches the maildrop of any account.
func (s *server) fetchOf(t *testing.T, login, password string) []string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.POP3)
	cmd := exec.Command(testpart.Need(t, "python3"), "-c", popAll, host, port, s.CA, login, password)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("poplib: %v: %s", err, complaint.String())
	}
	var mails []string
	if err := json.Unmarshal(out, &mails); err != nil {
		t.Fatal(err)
	}
	return mails
}

// mailWith waits for a mail of the role with a text in it and returns it.
func (s *server) mailWith(t *testing.T, role, text string) string {
	t.Helper()
	login, password := s.password(role)
	return s.mailOf(t, login, password, text)
}

// mailOf is mailWith for any account.
func (s *server) mailOf(t *testing.T, login, password, text string) string {
	t.Helper()
	var mails []string
	for range 50 {
		mails = s.fetchOf(t, login, password)
		for _, m := range slices.Backward(mails) {
			if strings.Contains(m, text) {
				return m
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%s got no mail with %q among %d", login, text, len(mails))
	return ""
}

// runBriefly runs a command that is expected to end by itself and returns what
// it wrote to standard error.
func runBriefly(args ...string) (string, error) {
	cmd := exec.Command(chmaild, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		err = os.ErrDeadlineExceeded
	}
	return complaint.String(), err
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
