// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// node is a chmaild with the configuration of deploy/two-nodes.conf.
type node struct {
	conf             string
	smtp, pop3, imap string // ports
	cmd              *exec.Cmd
}

// startNode runs the example as it is but for addresses, paths, certificate and
// the checks that ask DNS.
func startNode(t *testing.T, name, database, messages string, user string) *node {
	t.Helper()
	b, err := os.ReadFile("../deploy/two-nodes.conf")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	set := func(pattern, with string) {
		t.Helper()
		re := regexp.MustCompile(`(?m)` + pattern)
		if !re.MatchString(text) {
			t.Fatalf("the example has no %q", pattern)
		}
		text = re.ReplaceAllLiteralString(text, with)
	}
	dir := t.TempDir()
	n := &node{conf: filepath.Join(dir, "maddy.conf")}
	port := func() string { return strconv.Itoa(testpart.FreePort(t)) }
	n.smtp, n.pop3, n.imap = port(), port(), port()
	set(`^\$\(host\) = .*`, "$(host) = "+name+".mall.example")
	db, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	set(`^\$\(postgres\) = .*`, fmt.Sprintf("$(postgres) = host=%s port=%s user=%s dbname=%s sslmode=disable",
		db.Hostname(), db.Port(), db.User.Username(), strings.TrimPrefix(db.Path, "/")))
	set(`^\$\(messages\) = .*`, "$(messages) = "+messages)
	set(`^\$\(tls\) = .*`, "$(tls) = self_signed")
	set(`/var/lib/chmail`, filepath.Join(dir, "state"))
	set(`/run/chmail`, filepath.Join(dir, "run"))
	set(`^chmail.smtp tcp://\S+ {`, "chmail.smtp tcp://127.0.0.1:"+n.smtp+
		" {\n    max_connections_per_ip 1000\n    max_transactions 1000000")
	set(`^chmail.submission .* {`, "chmail.submission tcp://127.0.0.1:"+port()+" {")
	set(`^pop3 .* {`, "pop3 tcp://127.0.0.1:"+n.pop3+" {\n    max_connections_per_ip 1000")
	set(`^imap .* {`, "imap tcp://127.0.0.1:"+n.imap+" {")
	set(`(?s)    dmarc yes\n    check {.*?\n    }\n`, "    dmarc no\n")
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if user != "" {
		add := exec.Command(chmaild, "--config", n.conf, "user", "add", user)
		add.Stdin = strings.NewReader("a password\n")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("user add: %v: %s", err, out)
		}
	}
	n.start(t)
	return n
}

func (n *node) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(n.conf+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd = exec.Command(chmaild, "--config", n.conf, "run")
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if t.Failed() {
			b, _ := os.ReadFile(n.conf + ".log")
			t.Logf("%s:\n%s", n.conf, tail(b, 4000))
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+n.imap) // the last to listen
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal("the node does not listen:", err)
		}
	}
}

func (n *node) kill() {
	n.cmd.Process.Kill()
	n.cmd.Wait()
}

// nodesSession delivers to both machines at once over several connections,
// while POP3 sessions at both delete, and an IMAP session at B waits in IDLE for
// what comes to A. Every answer is 250 or 4xx, and what was answered 250 is there
// or was deleted, once.
const nodesSession = `
import imaplib, poplib, re, smtplib, ssl, sys, threading, time
login, password, smtpA, smtpB, popA, popB, imapB, count = sys.argv[1:9]
count = int(count)
tls = ssl.create_default_context(); tls.check_hostname = False; tls.verify_mode = ssl.CERT_NONE
lock, accepted, deferred, wrong = threading.Lock(), [], [], []
def mail(s, name):
    try:
        s.sendmail("out@example.org", [login], "Subject: %s\r\n\r\ntext\r\n" % name)
        with lock: accepted.append(name)
        return
    except smtplib.SMTPRecipientsRefused as e: code, text = list(e.recipients.values())[0]
    except smtplib.SMTPResponseException as e: code, text = e.smtp_code, e.smtp_error
    with lock: (deferred if 400 <= code < 500 else wrong).append((name, code, text))
def send(port, who):
    s = smtplib.SMTP("127.0.0.1", int(port), timeout=60)
    for i in range(count):
        mail(s, "%s-%d" % (who, i))
    s.quit()
def pop(port):
    p = poplib.POP3("127.0.0.1", int(port), timeout=60); p.stls(tls); p.user(login); p.pass_(password)
    return p
def names(p, most=10**6):
    found = {}
    for i in range(min(most, p.stat()[0])):
        found[i + 1] = re.search(rb"Subject: (\S+)", b"\n".join(p.top(i + 1, 0)[1])).group(1).decode()
    return found
deleted, later, stop = [], [], threading.Event()
def delete(port):
    while not stop.is_set():
        try:
            p = pop(port)
            some = names(p, 5)
            for n in some: p.dele(n)
            p.quit()
            with lock: deleted.extend(some.values())
        except poplib.error_proto as e:
            if b"-ERR [" not in e.args[0]: wrong.append(e.args[0])
            later.append(e.args[0])
        time.sleep(.05)

# What comes to A wakes who waits at B.
m = imaplib.IMAP4("127.0.0.1", int(imapB)); m.starttls(tls); m.login(login, password); m.select("INBOX")
m.send(b"x1 IDLE\r\n"); assert m.readline().startswith(b"+")
s = smtplib.SMTP("127.0.0.1", int(smtpA)); mail(s, "wakes"); s.quit()
m.sock.settimeout(20)
line = m.readline()
assert line.strip().endswith(b"1 EXISTS"), line
m.send(b"DONE\r\n")
while not m.readline().startswith(b"x1 OK"): pass
p = pop(popB)
assert names(p) == {1: "wakes"}, names(p)
p.quit()
try:
    s = smtplib.SMTP("127.0.0.1", int(smtpA)); s.sendmail("out@example.org", ["nobody@mall.example"], "x"); assert False
except smtplib.SMTPRecipientsRefused as e: assert list(e.recipients.values())[0][0] in (501, 550), e

threads = [threading.Thread(target=send, args=(port, "%s%d" % (who, i)))
           for who, port in (("a", smtpA), ("b", smtpB)) for i in range(4)]
deleter = threading.Thread(target=delete, args=(popB,)); deleter.start()
for t in threads: t.start()
for t in threads: t.join()
stop.set(); deleter.join()
left = names(pop(popA))
assert left == names(pop(popB))
there = sorted(list(left.values()) + deleted)
assert not wrong, wrong[:5]
assert there == sorted(accepted), (len(left), len(deleted), len(accepted))
assert len(accepted) > count and deleted, (len(accepted), len(deleted))
print("%d accepted, %d deferred, %d deleted, %d deletions put off %s" % (
    len(accepted), len(deferred), len(deleted), len(later), later[:1]))
`

// TestTwoNodes runs the example of two machines on one PostgreSQL: the same
// mailboxes at both, nothing refused for good, nothing lost or doubled; and what
// one took before it was killed is read at the other.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	python := testpart.Need(t, "python3")
	database := testpart.Postgres(t)
	messages := filepath.Join(t.TempDir(), "messages")
	const login = "customer@mall.example"
	a := startNode(t, "mx1", database, messages, login)
	b := startNode(t, "mx2", database, messages, "")
	const count = 40
	run := exec.Command(python, "-c", nodesSession, login, "a password", a.smtp, b.smtp,
		a.pop3, b.pop3, b.imap, fmt.Sprint(count))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
	send := exec.Command(python, "-c", `
import smtplib, sys
s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
s.sendmail("out@example.org", [sys.argv[2]], "Subject: last\r\n\r\nwords\r\n")`, a.smtp, login)
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a.kill()
	last := exec.Command(python, "-c", `
import poplib, ssl, sys
tls = ssl.create_default_context(); tls.check_hostname = False; tls.verify_mode = ssl.CERT_NONE
p = poplib.POP3("127.0.0.1", int(sys.argv[1])); p.stls(tls); p.user(sys.argv[2]); p.pass_("a password")
assert b"Subject: last" in p.retr(p.stat()[0])[1]`, b.pop3, login)
	if out, err := last.CombinedOutput(); err != nil {
		t.Errorf("after the kill of the machine that took it: %v: %s", err, out)
	}
}
