// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	customerIP = "128.66.0.5"
	apartBy    = 20 * time.Millisecond // each way between two hosts of the bench
	onTheWay   = 4096                  // frames; more are lost
)

// wires connect hosts; what is sent on one comes out of all others after apartBy.
type wires struct{ queues []chan delayed }

type delayed struct {
	frame []byte
	due   time.Time
}

// add makes another one, a network device of this namespace.
func (w *wires) add(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		t.Skipf("no virtual network devices here: %v", err)
	}
	ask, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	ask.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ask); err != nil {
		t.Fatalf("making the device %s: %v", name, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	device, out, me := os.NewFile(uintptr(fd), name), make(chan delayed, onTheWay), len(w.queues)
	w.queues = append(w.queues, out)
	t.Cleanup(func() { device.Close() })
	go func() { // ends with the test's process, as does the next one
		for d := range out {
			time.Sleep(time.Until(d.due))
			device.Write(d.frame)
		}
	}()
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := device.Read(b)
			if err != nil {
				return
			}
			for i, q := range w.queues {
				if i == me {
					continue
				}
				select {
				case q <- delayed{slices.Clone(b[:n]), time.Now().Add(apartBy)}:
				default:
				}
			}
		}
	}()
}

// host makes a host at the end of a wire.
func (w *wires) host(t *testing.T, ip string) host {
	t.Helper()
	h := bareHost(t)
	name := fmt.Sprintf("w%d", len(w.queues))
	w.add(t, name)
	sh(t, "ip", "link", "set", name, "netns", h.pid, "name", "e0")
	h.at(t, ip)
	return h
}

// inTerminal is a `chmail chat` at a host.
type inTerminal struct {
	t     *testing.T
	in    io.Writer
	lines chan string
}

func talkAt(t *testing.T, p *program, args ...string) *inTerminal {
	t.Helper()
	cmd := p.command(append([]string{"chat"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	one := &inTerminal{t: t, in: in, lines: make(chan string, 1000)}
	go func() { // ends with the program
		defer close(one.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			one.lines <- scan.Text()
		}
	}()
	return one
}

func (k *inTerminal) says(text string) { fmt.Fprintln(k.in, text) }

func (k *inTerminal) hears(text string) {
	k.t.Helper()
	late := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-k.lines:
			if !ok {
				k.t.Fatalf("the chat ended before %q", text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			k.t.Fatalf("%q does not come within 30 s", text)
		}
	}
}

// TestDirectTime measures messages there and back between two `chmail chat` on hosts that are 20 ms apart, at the relay
// and past it, and what a message costs the server. `make bench` runs a hundred; CHMAIL_DIRECT says how many.
func TestDirectTime(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("CHMAIL_DIRECT"))
	if err != nil {
		t.Skip("a benchmark: CHMAIL_DIRECT=100 runs it")
	}
	if !apart(t) {
		return
	}
	var w wires
	w.add(t, "tap0")
	for _, args := range []string{"ip link set lo up", "ip addr add " + browsersIP + "/24 dev tap0",
		"ip link set tap0 up", "sysctl -qw net.ipv4.conf.all.route_localnet=1"} {
		sh(t, strings.Fields(args)...)
	}
	serverHost, sender, customer := w.host(t, serverIP), w.host(t, routerIP), w.host(t, customerIP)
	s := startAt(t, serverHost)
	sh(t, "nft", s.crossing(t))
	for _, h := range []host{sender, customer} {
		sh(t, h.args("nft", s.crossing(t))...)
	}
	s.send(t, "host", fmt.Sprintf(letter, "About the lamp", "direct"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "About the lamp"))
	program := s.newProgram(t, sender, "host")
	there := s.newProgram(t, customer, "customer")
	calls := talkAt(t, there, link)
	calls.hears("* ")
	login, _ := s.password("customer")
	answers := talkAt(t, program, login)
	calls.hears("* Connected")
	answers.hears("* Connected")

	times := func(way string) time.Duration {
		var took []time.Duration
		for i := range n {
			text := fmt.Sprintf("%s %d!", way, i)
			began := time.Now()
			calls.says(text)
			answers.hears(text)
			answers.says("re " + text)
			calls.hears("re " + text)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("there and back, %s: median %v, p90 %v, of %d", way, took[n/2], took[n*9/10], n)
		return took[n/2]
	}
	cost := func(f func()) (octets int, ticks int) {
		o, c := s.wireBytes(t, serverHost), s.ticks(t)
		f()
		return s.wireBytes(t, serverHost) - o, s.ticks(t) - c
	}
	relayed, direct := time.Duration(0), time.Duration(0)
	octets, ticks := cost(func() { relayed = times("relayed") })
	t.Logf("relayed: the server's wire %d octets a message, its processor %.1f ms", octets/(2*n),
		10*float64(ticks)/float64(2*n))
	for way, flags := range map[string][]string{"direct": nil, "kept": {"--keep-here"}} {
		program.stop()
		program.start(flags...)
		calls.hears("from computer to computer")
		answers.hears("from computer to computer")
		began := time.Now()
		octets, ticks = cost(func() { direct = times(way) })
		took := time.Since(began)
		idle, idleTicks := cost(func() { time.Sleep(took) }) // heartbeats and who is here
		t.Logf("%s: the server's wire carried %d octets and its processor worked %d ms in %v; without a message "+
			"in as much time %d octets and %d ms", way, octets, 10*ticks, took.Round(time.Millisecond), idle, 10*idleTicks)
	}
	t.Logf("direct / relayed: %.2f", float64(direct)/float64(relayed))
	if direct >= relayed {
		t.Errorf("past the server it takes %v, and by it %v", direct, relayed)
	}
}

// wireBytes are those that the wire of the server's host has carried, both ways.
func (s *server) wireBytes(t *testing.T, at host) int {
	t.Helper()
	return carried(t, sh(t, at.args("cat", "/proc/net/dev")...), "e0")
}

// ticks are those of the server's processor time, hundredths of a second.
func (s *server) ticks(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return user + system
}
