// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/chmail/chmail/internal/testpart"
)

const letter = `From: Mina <host@mall.example>
To: Jun <customer@mall.example>
Cc: Sora <friend@mall.example>
Subject: %s
Date: Mon, 23 Nov 2026 10:00:00 +0900
Message-ID: <%s@mall.example>

Shall we talk about the lamp?
`

// TestStory is what CHmail is for, with a real mail client, a real
// redis-server and real browsers: a submitted mail becomes a live chat.
func TestStory(t *testing.T) { tellStory(t, "webtransport") }

// inNamespace marks the child process of TestStoryWithoutUDP.
const inNamespace = "CHMAIL_E2E_WITHOUT_UDP"

// TestStoryWithoutUDP tells the same story in a network that drops every UDP
// packet to a granted port: this test again, in a network namespace.
func TestStoryWithoutUDP(t *testing.T) {
	if os.Getenv(inNamespace) != "" {
		tellStory(t, "websocket")
		return
	}
	ip, nft := testpart.Need(t, "ip"), testpart.Need(t, "nft")
	cmd := exec.Command(testpart.Need(t, "unshare"), "--map-root-user", "--net", "sh", "-ec", `
		`+ip+` link set lo up
		`+nft+` "add table inet t; add chain inet t i { type filter hook input priority 0; };`+
		` add rule inet t i udp dport 20000-29999 drop"
		exec "$@"`, "sh", os.Args[0], "-test.run", "^TestStoryWithoutUDP$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a network without UDP: %v\n%s", err, out)
	}
}

func tellStory(t *testing.T, carrier string) {
	redis := testpart.Redis(t)
	s := startServer(t, t.TempDir(), "--presence", redis.URL())
	chromium := browser(t)

	// 1. The host sends a mail to the customer, with a third person in Cc.
	s.send(t, "host", fmt.Sprintf(letter, "About the lamp", "lamp"), "customer@mall.example", "friend@mall.example")

	// 2. They fetch it by POP3 and find the headers and the link.
	toCustomer := s.mailWith(t, "customer", "About the lamp")
	toFriend := s.mailWith(t, "friend", "About the lamp")
	port, link := checkStamp(t, s, toCustomer)
	friendPort, friendLink := checkStamp(t, s, toFriend)
	if port != friendPort || link == friendLink {
		t.Errorf("the copies lead to ports %d and %d, and to %s and %s", port, friendPort, link, friendLink)
	}
	checkSignature(t, s, toCustomer)

	// 3. Chat now rings the host's desk within a second.
	desk := open(t, chromium, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	customer := open(t, chromium, "customer", link)
	customer.statusBegins(10*time.Second, "Available")
	customer.shot("card")
	customer.press("Chat now")
	took := desk.waitFor("alertdialog", "Incoming chat", 10*time.Second)
	t.Logf("from Chat now to the ring: %v, of which this test's polling is some", took)
	customer.statusBegins(5*time.Second, "Ringing")
	desk.shot("ringing")
	customer.shot("ringing")

	// 4. The host answers; both talk, and the one in Cc is there as well.
	desk.press("Answer")
	customer.statusBegins(10*time.Second, "Connected")
	customer.say("Is the lamp warm or cold?")
	desk.hears("Is the lamp warm or cold?")
	desk.say("Warm, 2700 kelvin.")
	customer.hears("Warm, 2700 kelvin.")
	friend := open(t, chromium, "friend", friendLink)
	friend.press("Chat now")
	friend.say("Then we take it!")
	desk.hears("Then we take it!")
	customer.hears("Then we take it!")
	if strings.Contains(friend.log(), "2700 kelvin") {
		t.Error("who has only pressed a link reads what was said before")
	}
	desk.shot("talking")
	customer.shot("talking")
	s.checkCarrier(t, carrier, 3)
	checkAdmin(t, s, port)

	// 5. The desk is closed; an attempt ends in an alarm; the alarm
	// mail's link leads into the same room.
	customer.close()
	friend.close()
	desk.close()
	time.Sleep(500 * time.Millisecond)
	customer = open(t, chromium, "customer2", link)
	customer.press("Chat now")
	// Another browser than the one that claimed the link: a code goes by mail.
	customer.press("E-mail a code to c…@mall.example")
	code := regexp.MustCompile(`\b\d{6}\b`).FindString(body(s.mailWith(t, "customer", "Your chat code")))
	customer.fill("Code from the e-mail", code)
	customer.press("Continue")
	customer.hears("Then we take it!")
	customer.statusBegins(60*time.Second, "Alerted", "No answer")
	customer.statusBegins(20*time.Second, "Alerted")
	customer.shot("alerted")
	customer.say("Please call me back.")
	alarm := s.mailWith(t, "host", "tried to reach you")
	alarmLink := regexp.MustCompile(`http://localhost:\d+/c/[A-Za-z0-9_-]{22}`).FindString(decode(body(alarm)))
	if alarmLink == "" {
		t.Fatalf("no link in the alarm mail:\n%s", alarm)
	}
	back := open(t, chromium, "host2", alarmLink)
	back.press("Chat now")
	for _, text := range []string{"Is the lamp warm or cold?", "Warm, 2700 kelvin.",
		"Then we take it!", "Please call me back."} {
		back.hears(text)
	}
	back.say("Here I am.")
	customer.hears("Here I am.")
	customer.statusBegins(10*time.Second, "Connected")
	s.stop(t)
}

func body(mail string) string {
	_, b, _ := strings.Cut(mail, "\r\n\r\n")
	return b
}

// decode undoes what quoted-printable does to a link.
func decode(s string) string {
	return strings.NewReplacer("=\r\n", "", "=3D", "=").Replace(s)
}

func headers(mail, name string) (values []string) {
	head, _, _ := strings.Cut(mail, "\r\n\r\n")
	for line := range strings.Lines(head) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// checkStamp checks the four headers and the link in the body.
func checkStamp(t *testing.T, s *server, mail string) (port int, link string) {
	t.Helper()
	one := func(name string) string {
		v := headers(mail, name)
		if len(v) != 1 {
			t.Fatalf("%d %s headers in\n%s", len(v), name, mail)
		}
		return v[0]
	}
	login, _ := s.password("host")
	if got := one("CHmail-Login"); got != login {
		t.Errorf("CHmail-Login: %s", got)
	}
	if got := one("CHmail-Host"); got != "localhost" {
		t.Errorf("CHmail-Host: %s", got)
	}
	port, err := strconv.Atoi(one("CHmail-Port"))
	if err != nil || port < 20000 || port > 29999 {
		t.Errorf("CHmail-Port: %d, %v", port, err)
	}
	link = strings.Trim(one("CHmail-Chat"), "<>")
	if !regexp.MustCompile(`^` + regexp.QuoteMeta(s.Web) + `/c/[A-Za-z0-9_-]{22}$`).MatchString(link) {
		t.Errorf("CHmail-Chat: %s", link)
	}
	if !strings.Contains(decode(body(mail)), link) {
		t.Errorf("the link is not in the body:\n%s", body(mail))
	}
	if !strings.Contains(body(mail), "Shall we talk about the lamp?") {
		t.Errorf("the text is not in the body:\n%s", body(mail))
	}
	return port, link
}

// checkSignature verifies the DKIM signature with the key that the server
// made, and that it covers CHmail's headers, and more.
func checkSignature(t *testing.T, s *server, mail string, more ...string) {
	t.Helper()
	record, err := os.ReadFile(filepath.Join(s.state, "dkim_keys", "mall.example_default.dns"))
	if err != nil {
		t.Fatal(err)
	}
	// What the mailbox added on top is outside the signature; popped lines lost their last CRLF.
	res, err := dkim.VerifyWithOptions(strings.NewReader(mail+"\r\n"), &dkim.VerifyOptions{
		LookupTXT: func(string) ([]string, error) { return []string{strings.TrimSpace(string(record))}, nil },
	})
	if err != nil || len(res) != 1 || res[0].Err != nil {
		t.Fatalf("verifying the signature: %v, %+v", err, res)
	}
	for _, name := range append(more, "chmail-login", "chmail-host", "chmail-port", "chmail-chat") {
		if !strings.Contains(strings.ToLower(strings.Join(res[0].HeaderKeys, ",")), name) {
			t.Errorf("%s is not signed: %v", name, res[0].HeaderKeys)
		}
	}
}

// checkCarrier asks the server's metrics over what the chats run.
func (s *server) checkCarrier(t *testing.T, carrier string, want int) {
	t.Helper()
	res, err := http.Get(s.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	m := regexp.MustCompile(`(?m)^chmail_relay_connections\{[^}]*carrier="`+carrier+
		`"[^}]*\} (\d+)`).FindAllStringSubmatch(readAll(t, res), -1)
	total := 0
	for _, v := range m {
		n, _ := strconv.Atoi(v[1])
		total += n
	}
	if total < want {
		t.Errorf("%d of %d conversations run over %s", total, want, carrier)
	}
}

// checkAdmin reads what the admin commands say of a chat in progress.
func checkAdmin(t *testing.T, s *server, port int) {
	t.Helper()
	var grants []struct {
		Login string
		Port  int
		Held  bool
	}
	if err := json.Unmarshal(s.admin(t, "grants", "--json"), &grants); err != nil {
		t.Fatal(err)
	}
	var who []struct {
		Login   string
		Source  string
		Devices []struct{ Source string }
	}
	if err := json.Unmarshal(s.admin(t, "who", "--json"), &who); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, g := range grants {
		found = found || g.Login == "host@mall.example" && g.Port == port
	}
	if !found {
		t.Errorf("chmaild grants does not show port %d of the host: %+v", port, grants)
	}
	found = false
	for _, w := range who {
		found = found || w.Login == "host@mall.example" && w.Source == "desk" && len(w.Devices) == 1
	}
	if !found {
		t.Errorf("chmaild who does not show the host's desk: %+v", who)
	}
}

// TestKill: after SIGKILL the same state gives the same accounts, mail, port
// and conversation.
func TestKill(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := startServer(t, state)
	s.send(t, "host", fmt.Sprintf(letter, "Before the kill", "before"), "customer@mall.example")
	port, link := checkStamp(t, s, s.mailWith(t, "customer", "Before the kill"))
	s.kill()
	again := startServer(t, state)
	if again.Accounts[0] != s.Accounts[0] {
		t.Error("the accounts changed")
	}
	again.mailWith(t, "customer", "Before the kill")
	again.send(t, "host", fmt.Sprintf(letter, "After the kill", "after"), "customer@mall.example")
	if after, _ := checkStamp(t, again, again.mailWith(t, "customer", "After the kill")); after != port {
		t.Errorf("the port was %d and is %d", port, after)
	}
	u := again.Web + link[strings.Index(link, "/c/"):]
	res, err := http.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("GET of the link after the kill: %s", res.Status)
	}
	again.stop(t)
}

// TestRedisGone: without Redis mail goes out at once, without a port; with it
// back everything is as before.
func TestRedisGone(t *testing.T) {
	t.Parallel()
	redis := testpart.Redis(t)
	s := startServer(t, t.TempDir(), "--presence", redis.URL())
	s.send(t, "host", fmt.Sprintf(letter, "With Redis", "r1"), "customer@mall.example")
	port, _ := checkStamp(t, s, s.mailWith(t, "customer", "With Redis"))
	redis.Kill()
	s.send(t, "host", fmt.Sprintf(letter, "Without Redis", "r2"), "customer@mall.example")
	mail := s.mailWith(t, "customer", "Without Redis")
	if got := headers(mail, "CHmail-Port"); len(got) != 0 {
		t.Errorf("CHmail-Port without Redis: %v", got)
	}
	if got := headers(mail, "CHmail-Chat"); len(got) != 1 {
		t.Errorf("CHmail-Chat without Redis: %v", got)
	}
	redis.Start(t)
	time.Sleep(time.Second)
	s.send(t, "host", fmt.Sprintf(letter, "Redis is back", "r3"), "customer@mall.example")
	if back, _ := checkStamp(t, s, s.mailWith(t, "customer", "Redis is back")); back != port {
		t.Errorf("the port was %d and is %d after an empty Redis came back", port, back)
	}
}

// TestBadStart: what cannot start says in one line which, where and why.
func TestBadStart(t *testing.T) {
	port := testpart.FreePorts(t, 6) + 1
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	bad := filepath.Join(dir, "bad.conf")
	os.WriteFile(bad,
		[]byte("state_dir "+dir+"/s\nruntime_dir "+dir+"/r\nhostname localhost\npresence.local p {\n    colour blue\n"+
			"}\npop3 tcp://127.0.0.1:0 {\n    tls off\n    presence &p\n    auth dummy\n    storage dummy\n}\n"), 0o600)
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"listener": {[]string{"demo", "--state", filepath.Join(dir, "a"), "--base-port", strconv.Itoa(port - 1)},
			[]string{strconv.Itoa(port), "address already in use"}},
		"state":   {[]string{"demo", "--state", filepath.Join(file, "x")}, []string{file, "not a directory"}},
		"unknown": {[]string{"--config", bad, "run"}, []string{"bad.conf:5", "colour"}},
		"missing": {[]string{"--config", filepath.Join(dir, "none.conf"), "run"},
			[]string{"none.conf", "no such file"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := runBriefly(c.args...)
			if err == nil {
				t.Fatalf("it started: %s", out)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("it did not end: %s", out)
			}
			if strings.Count(strings.TrimSpace(out), "\n") > 0 {
				t.Errorf("more than one line:\n%s", out)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("%q is missing in: %s", w, out)
				}
			}
		})
	}
}

// TestExample checks maddy.conf.example with folders of the test's own.
func TestExample(t *testing.T) {
	s := startServer(t, t.TempDir())
	s.stop(t)
	text, err := os.ReadFile("../maddy.conf.example")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "maddy.conf")
	replaced := strings.NewReplacer("/var/lib/chmail", filepath.Join(dir, "state"),
		"/run/chmail", filepath.Join(dir, "run"),
		"/etc/chmail/fullchain.pem", filepath.Join(s.state, "cert.pem"), "/etc/chmail/privkey.pem",
		filepath.Join(s.state, "key.pem")).Replace(string(text))
	if err := os.WriteFile(conf, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := runBriefly("--config", conf, "check", "--start"); err != nil {
		t.Errorf("chmaild check: %v: %s", err, out)
	}
}
