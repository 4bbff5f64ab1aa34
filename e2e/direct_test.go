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
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/internal/testpart"
)

// Hosts on one wire: this one has the browsers, another the server, the third is the router of a network of its own,
// where the sender's program is. A port mapper takes addresses for documentation for none that are public.
const (
	browsersIP = "128.66.0.1"
	serverIP   = "128.66.0.2"
	routerIP   = "128.66.0.3"
	movedIP    = "128.66.0.4" // to which the router moves
	senderIP   = "192.168.7.2"
	insideIP   = "192.168.7.1" // of the router
)

// host is a network namespace.
type host struct{ pid string }

// newHost makes a host and connects it by the cable of a name to a bridge.
func newHost(t *testing.T, bridge, cable, ip string) host {
	t.Helper()
	h := bareHost(t)
	sh(t, "ip", "link", "add", cable, "type", "veth", "peer", "name", "e0", "netns", h.pid)
	sh(t, "ip", "link", "set", cable, "master", bridge, "up")
	h.at(t, ip)
	return h
}

// bareHost makes a host without a cable.
func bareHost(t *testing.T) host {
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
	return host{strconv.Itoa(cmd.Process.Pid)}
}

// at gives a host its address.
func (h host) at(t *testing.T, ip string) {
	t.Helper()
	for _, args := range []string{"ip link set lo up", "ip addr add " + ip + "/24 dev e0", "ip link set e0 up",
		"sysctl -qw net.ipv4.conf.all.route_localnet=1"} {
		sh(t, h.args(strings.Fields(args)...)...)
	}
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

// apart runs a test again in network namespaces of its own; false: this is not that run.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	cmd := exec.Command(testpart.Need(t, "unshare"), "--map-root-user", "--net", os.Args[0],
		"-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("on several hosts: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// startAt starts the server at a host.
func startAt(t *testing.T, serverHost host) *server {
	t.Helper()
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
	return startServer(t, t.TempDir())
}

// TestDirect: words go from the browsers to the sender's computer and not to the server,
// which gets them when the way is cut, each once and in its order.
func TestDirect(t *testing.T) {
	testpart.Slow(t)
	if !apart(t) {
		return
	}
	for _, args := range []string{"ip link set lo up", "ip link add br0 type bridge", "ip link set br0 up",
		"ip link add br1 type bridge", "ip link set br1 up",
		"ip addr add " + browsersIP + "/24 dev br0", "sysctl -qw net.ipv4.conf.all.route_localnet=1"} {
		sh(t, strings.Fields(args)...)
	}
	s := startAt(t, newHost(t, "br0", "server", serverIP))
	router, sender := newRouter(t), newHost(t, "br1", "sender", senderIP)
	sh(t, sender.args("ip", "route", "add", "default", "via", insideIP)...)
	sh(t, "nft", s.crossing(t))
	sh(t, sender.args("nft", s.crossing(t))...)

	chromium := browser(t)
	s.send(t, "host", fmt.Sprintf(letter, "About the lamp", "direct"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "About the lamp"))
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	customer := open(t, chromium, "customer", link)
	desk.eval(fmt.Sprintf(stopwatch, "[role=alertdialog]"))
	customer.eval(fmt.Sprintf(stopwatch, "[role=log]"))
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	customer.waitFor("log", "Conversation", 10*time.Second)
	between := customer.appeared() - desk.appeared()
	t.Logf("the window of the one who called appeared %v after that of the other", between)
	if between.Abs() > 5*time.Second {
		t.Errorf("the windows appeared %v apart", between)
	}
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	// Behind a router that maps no port the talk stays at the relay.
	program := s.newProgram(t, sender, "host")
	if status := program.start(); !strings.Contains(status, "no port of the router: ") ||
		!strings.Contains(status, "in this network alone") {
		t.Errorf("behind a router that maps no port: %s", status)
	}
	customer.way("relay")
	customer.fill("Message", "0: at the relay")
	customer.press("Send")
	desk.hears("0: at the relay")
	program.stop()

	runMapper(t, router)
	status := program.start()
	if !strings.Contains(status, "the router lets others in at "+routerIP+":") || !strings.Contains(status, " by PCP") {
		t.Errorf("behind a router that maps ports: %s", status)
	}
	customer.way("direct")
	desk.way("direct")
	customer.shot("direct")
	s.send(t, "host", fmt.Sprintf(letter, "About the chair", "named"), "customer@mall.example")
	if mail := s.mailWith(t, "customer", "About the chair"); !strings.Contains(mail, "CHmail-Host: "+routerIP+"\r\n") {
		t.Errorf("the next mail does not name the computer that is reached: %.600s", mail)
	}

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

	sh(t, "ip", "link", "set", "router", "down") // in mid-sentence
	cut := time.Now()
	customer.paste("4: after the cut")
	desk.hears("4: after the cut")
	t.Logf("from the cut to the other end: %v", time.Since(cut))
	desk.paste("5: and back")
	customer.hears("5: and back")
	customer.way("relay")
	said = append(said, "4: after", "5: and b")
	sh(t, "ip", "link", "set", "router", "up")
	customer.way("direct")
	customer.paste("6: direct again")
	desk.hears("6: direct again")
	said = append(said, "6: direc")

	// The address changes in mid-talk.
	for _, args := range []string{"ip addr del " + routerIP + "/24 dev e0", "ip addr add " + movedIP + "/24 dev e0"} {
		sh(t, router.args(strings.Fields(args)...)...)
	}
	moved := time.Now()
	customer.paste("7: while it moves")
	desk.hears("7: while it moves")
	program.says("reachable from computer to computer")
	t.Logf("from the new address to reachable there: %v", time.Since(moved))
	customer.way("direct")
	customer.paste("8: at the new address")
	desk.hears("8: at the new address")
	said = append(said, "7: while", "8: at th")
	program.stop()

	// What is said now stays at the program.
	customer.way("relay")
	program.start("--keep-here")
	customer.way("direct")
	if text := customer.status(); !strings.HasPrefix(text, "Connected") || !strings.Contains(text, "computer alone") {
		t.Errorf("the page does not say that words stay at the other side: %q", text)
	}
	customer.shot("kept")
	customer.paste("kept: 1")
	desk.hears("kept: 1")
	desk.paste("kept: 2")
	customer.hears("kept: 2")
	customer.press("Leave") // the part is over
	desk.way("relay")
	desk.hears("stays on your computer alone")
	desk.hears("kept: 1")
	history := program.run("chat", "--history")
	if !strings.Contains(history, "About the lamp") || !strings.Contains(history, ": kept: 1\n") ||
		strings.Index(history, ": kept: 1\n") > strings.Index(history, ": kept: 2\n") {
		t.Errorf("chmail chat --history: %s", history)
	}
	desk.run(chromedp.Reload())
	desk.hears(said[len(said)-1])
	log, at := desk.log(), 0
	if strings.Contains(log, "kept: ") || strings.Count(log, "stays on your computer alone") != 1 {
		t.Errorf("the server has what stays at the program, or does not say so once: %s", log)
	}
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

// newRouter makes the router of the sender's network, which lets nobody in.
func newRouter(t *testing.T) host {
	t.Helper()
	h := newHost(t, "br0", "router", routerIP)
	sh(t, "ip", "link", "add", "inside", "type", "veth", "peer", "name", "e1", "netns", h.pid)
	sh(t, "ip", "link", "set", "inside", "master", "br1", "up")
	for _, args := range []string{"ip addr add " + insideIP + "/24 dev e1", "ip link set e1 up",
		"sysctl -qw net.ipv4.ip_forward=1"} {
		sh(t, h.args(strings.Fields(args)...)...)
	}
	sh(t, h.args("nft", "add table inet filter; add chain inet filter forward { type filter hook forward priority 0;"+
		" policy drop; }; add chain inet filter miniupnpd;"+
		" add rule inet filter forward ct state established,related accept;"+
		" add rule inet filter forward iifname e1 accept; add rule inet filter forward jump miniupnpd;"+
		" add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };"+
		" add rule ip nat out oifname e0 masquerade;"+
		" add chain inet filter prerouting { type nat hook prerouting priority -100; };"+
		" add chain inet filter prerouting_miniupnpd; add rule inet filter prerouting jump prerouting_miniupnpd;"+
		" add chain inet filter postrouting { type nat hook postrouting priority 90; };"+
		" add chain inet filter postrouting_miniupnpd; add rule inet filter postrouting jump postrouting_miniupnpd")...)
	return h
}

// runMapper makes a router map ports for the computers inside.
func runMapper(t *testing.T, router host) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	err := os.WriteFile(conf, []byte("ext_ifname=e0\nlistening_ip=e1\nenable_natpmp=yes\nenable_upnp=yes\n"+
		"secure_mode=yes\nsystem_uptime=yes\nallow 1024-65535 192.168.7.0/24 1024-65535\n"+
		"upnp_table_name=filter\nupnp_nat_table_name=filter\nupnp_forward_chain=miniupnpd\n"+
		"upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	args := router.args(testpart.Need(t, "miniupnpd"), "-d", "-f", conf, "-P", filepath.Join(dir, "pid"))
	cmd := exec.Command(args[0], args[1:]...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("miniupnpd: %s", out)
		}
	})
}

// program is the host's, at a computer.
type program struct {
	t     *testing.T
	at    host
	path  string
	dir   string
	agent *exec.Cmd
	lines chan string
}

// newProgram signs somebody in at a computer.
func (s *server) newProgram(t *testing.T, at host, role string) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{t: t, at: at, dir: dir, path: filepath.Join(dir, "chmail")}
	if out, err := exec.Command("go", "build", "-o", p.path, "../cmd/chmail").CombinedOutput(); err != nil {
		t.Fatalf("building chmail: %v: %s", err, out)
	}
	login, password := s.password(role)
	in := p.command("login", "--server", s.Web, "--no-keyring", login)
	in.Stdin = strings.NewReader(password + "\n")
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("chmail login: %v: %s", err, out)
	}
	t.Cleanup(p.stop)
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	args = p.at.args(append([]string{p.path, "--dir", p.dir}, args...)...)
	return exec.Command(args[0], args[1:]...)
}

func (p *program) run(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("chmail %s: %v: %s", args, err, out)
	}
	return string(out)
}

// start lets people in, waits until the server has looked whether it can reach the program, and returns its status.
func (p *program) start(flags ...string) string {
	p.t.Helper()
	p.agent = p.command(append([]string{"agent", "--terminal", "--direct", "--map-port"}, flags...)...)
	out, err := p.agent.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.agent.Start(); err != nil {
		p.t.Fatal(err)
	}
	lines := make(chan string, 100)
	p.lines = lines
	go func() { // ends with the program
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	p.says("reachable from computer to computer")
	return p.run("status")
}

// says waits until the agent prints a line.
func (p *program) says(text string) {
	p.t.Helper()
	late := time.After(20 * time.Second)
	var all []string
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the program ended: %s", strings.Join(all, "\n"))
			}
			if all = append(all, line); strings.Contains(line, text) {
				return
			}
		case <-late:
			p.t.Fatalf("the program does not say %q within 20 s, but: %s", text, strings.Join(all, "\n"))
		}
	}
}

// stop ends the agent as somebody does who quits it.
func (p *program) stop() {
	if p.agent == nil {
		return
	}
	p.agent.Process.Signal(syscall.SIGTERM)
	p.agent.Wait()
	p.agent = nil
}

// appeared is when what the page's stopwatch looks at has become visible.
func (p *page) appeared() time.Duration {
	p.t.Helper()
	var at string
	p.wait("what the stopwatch looks at", 10*time.Second, func() bool {
		at = p.eval(`window.seen?.length ? String(window.seen[0]) : ""`)
		return at != ""
	})
	ms, err := strconv.ParseFloat(at, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(ms * float64(time.Millisecond))
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
func (s *server) bytes(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	return carried(t, string(b), "server")
}

// carried is how many octets a device has carried, both ways, by a list such as /proc/net/dev.
func carried(t *testing.T, list, device string) int {
	t.Helper()
	for line := range strings.Lines(list) {
		if name, counts, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == device {
			fields := strings.Fields(counts)
			received, _ := strconv.Atoi(fields[0])
			sent, _ := strconv.Atoi(fields[8])
			return received + sent
		}
	}
	t.Fatalf("the device %s is not listed", device)
	return 0
}
