// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/internal/testpart"
)

// Three hosts on one wire: this one has the browsers, another the server, the third the
// sender's program.
const (
	browsersIP = "203.0.113.1"
	serverIP   = "203.0.113.2"
	senderIP   = "203.0.113.3"
)

// host is a network namespace.
type host struct{ pid string }

// newHost makes a host and connects it by the cable of a name.
func newHost(t *testing.T, cable, ip string) host {
	t.Helper()
	cmd := exec.Command(testpart.Need(t, "unshare"), "--net", "sh", "-c", "echo; exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	bufio.NewReader(out).ReadString('\n')
	h := host{strconv.Itoa(cmd.Process.Pid)}
	sh(t, "ip", "link", "add", cable, "type", "veth", "peer", "name", "e0", "netns", h.pid)
	sh(t, "ip", "link", "set", cable, "master", "br0", "up")
	for _, args := range []string{"ip link set lo up", "ip addr add " + ip + "/24 dev e0", "ip link set e0 up",
		"sysctl -qw net.ipv4.conf.all.route_localnet=1"} {
		sh(t, h.args(strings.Fields(args)...)...)
	}
	return h
}

// args run a command at the host.
func (h host) args(args ...string) []string {
	return append([]string{"nsenter", "--net=/proc/" + h.pid + "/ns/net"}, args...)
}

func sh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(testpart.Need(t, args[0]), args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// crossing makes the server's ports on its loopback be reached from another host's.
func (s *server) crossing(t *testing.T) string {
	t.Helper()
	var ports []string
	for _, at := range []string{s.Web, s.Metrics, "//" + s.Submission, "//" + s.POP3} {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, u.Port())
	}
	return "add table ip t; add chain ip t o { type nat hook output priority -100; };" +
		" add rule ip t o ip daddr 127.0.0.1 tcp dport { " + strings.Join(ports, ", ") + " } dnat to " +
		serverIP + ";" +
		" add rule ip t o ip daddr 127.0.0.1 udp dport 20000-29999 dnat to " + serverIP + ";" +
		" add chain ip t q { type nat hook postrouting priority 100; };" +
		" add rule ip t q ip saddr 127.0.0.1 ip daddr " + serverIP + " masquerade"
}

// TestDirect: words go from the browsers to the sender's computer and not to the server,
// which gets them when the way is cut, each once and in its order.
func TestDirect(t *testing.T) {
	testpart.Slow(t)
	if os.Getenv(inNamespace) == "" {
		cmd := exec.Command(testpart.Need(t, "unshare"), "--map-root-user", "--net", os.Args[0],
			"-test.run", "^TestDirect$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("on three hosts: %v\n%s", err, out)
		}
		return
	}
	for _, args := range []string{"ip link set lo up", "ip link add br0 type bridge", "ip link set br0 up",
		"ip addr add " + browsersIP + "/24 dev br0", "sysctl -qw net.ipv4.conf.all.route_localnet=1"} {
		sh(t, strings.Fields(args)...)
	}
	serverHost, sender := newHost(t, "server", serverIP), newHost(t, "sender", senderIP)
	sh(t, serverHost.args("nft", "add table ip t; add chain ip t p { type nat hook prerouting priority -100; };"+
		" add rule ip t p tcp dport 1024-65535 dnat to 127.0.0.1;"+
		" add rule ip t p udp dport 20000-29999 dnat to 127.0.0.1")...)
	real := chmaild
	t.Cleanup(func() { chmaild = real })
	chmaild = filepath.Join(t.TempDir(), "chmaild")
	script := "#!/bin/sh\nexec " + strings.Join(serverHost.args(real), " ") + " \"$@\"\n"
	if err := os.WriteFile(chmaild, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, t.TempDir())
	sh(t, "nft", s.crossing(t))
	sh(t, sender.args("nft", s.crossing(t))...)
	s.runProgram(t, sender)

	chromium := browser(t)
	s.send(t, "host", fmt.Sprintf(letter, "About the lamp", "direct"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "About the lamp"))
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	customer := open(t, chromium, "customer", link)
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	customer.way("direct")
	desk.way("direct")
	customer.shot("direct")

	before := s.bytes(t)
	var said []string
	for i := range 4 {
		who, other := customer, desk
		if i%2 == 1 {
			who, other = desk, customer
		}
		text := fmt.Sprintf("%d: %s", i, strings.Repeat(fmt.Sprintf("word %d ", i), 1000))
		said = append(said, text[:8])
		who.paste(text)
		other.hears(text[:8])
	}
	if n := s.bytes(t) - before; n > 20_000 {
		t.Errorf("the server's wire carried %d octets while 28 KB were said past it", n)
	} else {
		t.Logf("the server's wire carried %d octets while 28 KB were said past it", n)
	}

	sh(t, "ip", "link", "set", "sender", "down") // in mid-sentence
	cut := time.Now()
	customer.paste("4: after the cut")
	desk.hears("4: after the cut")
	t.Logf("from the cut to the other end: %v", time.Since(cut))
	desk.paste("5: and back")
	customer.hears("5: and back")
	customer.way("relay")
	said = append(said, "4: after", "5: and b")
	sh(t, "ip", "link", "set", "sender", "up")
	customer.way("direct")
	customer.paste("6: direct again")
	desk.hears("6: direct again")
	customer.press("Leave") // the part is over, and handed over
	said = append(said, "6: direc")
	desk.way("relay")
	desk.run(chromedp.Reload())
	desk.hears(said[len(said)-1])
	log, at := desk.log(), 0
	for _, text := range said {
		if n := strings.Count(log, text); n != 1 {
			t.Errorf("%q is there %d times", text, n)
		}
		next := strings.Index(log, text)
		if next < at {
			t.Errorf("%q is not in its place", text)
		}
		at = next
	}
}

// runProgram signs the host in at a computer and lets people in there.
func (s *server) runProgram(t *testing.T, at host) {
	t.Helper()
	dir := t.TempDir()
	chmail := filepath.Join(dir, "chmail")
	if out, err := exec.Command("go", "build", "-o", chmail, "../cmd/chmail").CombinedOutput(); err != nil {
		t.Fatalf("building chmail: %v: %s", err, out)
	}
	login, password := s.password("host")
	run := func(args ...string) *exec.Cmd {
		args = at.args(append([]string{chmail, "--dir", dir}, args...)...)
		return exec.Command(args[0], args[1:]...)
	}
	in := run("login", "--server", s.Web, "--no-keyring", login)
	in.Stdin = strings.NewReader(password + "\n")
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("chmail login: %v: %s", err, out)
	}
	agent := run("agent", "--terminal", "--direct")
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })
	reached := make(chan string, 1)
	go func() {
		var all bytes.Buffer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&all, lines.Text())
			if strings.HasSuffix(lines.Text(), "reachable from computer to computer") {
				reached <- ""
			}
		}
		reached <- all.String()
	}()
	select {
	case said := <-reached:
		if said != "" {
			t.Fatalf("the program ended: %s", said)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("the program is not reachable within 15 s")
	}
	if out, err := run("status").CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "reachable from computer to computer at UDP port ") {
		t.Errorf("chmail status: %s (%v)", out, err)
	}
}

// way waits until a page's words go a way.
func (p *page) way(way string) {
	p.t.Helper()
	p.wait("the way "+way, 15*time.Second, func() bool {
		return p.eval(`document.querySelector("[data-way]")?.dataset.way ?? ""`) == way
	})
}

// paste says a long text.
func (p *page) paste(text string) {
	p.t.Helper()
	p.fill("Message", "")
	if _, err := ask(p, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		p.t.Fatalf("%s: pasting: %v", p.name, err)
	}
	p.press("Send")
}

// bytes are those that the server's wire has carried, both ways.
func (s *server) bytes(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if name, counts, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "server" {
			fields := strings.Fields(counts)
			received, _ := strconv.Atoi(fields[0])
			sent, _ := strconv.Atoi(fields[8])
			return received + sent
		}
	}
	t.Fatal("the server's wire is not listed")
	return 0
}
