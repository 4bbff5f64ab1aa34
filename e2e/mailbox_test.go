// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/chmail/chmail/internal/testpart"
)

// newMailServer writes the configuration of a server with SMTP, POP3 and IMAP
// on a storage.maildrop, and makes its accounts. All have the password `secret`.
func newMailServer(t *testing.T, directives string, logins ...string) *node {
	t.Helper()
	dir := t.TempDir()
	port := func() string { return strconv.Itoa(testpart.FreePort(t)) }
	n := &node{conf: filepath.Join(dir, "maddy.conf"), smtp: port(), pop3: port(), imap: port()}
	// A hash without $, which would be a group of the regular expression.
	salt := []byte("0123456789abcdef")
	hash := base64.StdEncoding.EncodeToString(salt) + ":" +
		base64.StdEncoding.EncodeToString(argon2.IDKey([]byte("secret"), salt, 1, 8, 1, 64))
	text := fmt.Sprintf(`state_dir %s/state
runtime_dir %[1]s/run
hostname mail.test
tls off
auth.pass_table accounts {
    table regexp "(.+)" "argon2:1:8:1:%s"
}
storage.maildrop mailboxes {
    min_free 32M
%s
}
chmail.smtp tcp://127.0.0.1:%s {
    dmarc no
    max_connections_per_ip 1000
    max_transactions 1000000
    deliver_to &mailboxes
}
pop3 tcp://127.0.0.1:%s {
    insecure_auth yes
    max_connections_per_ip 1000
    auth &accounts
    storage &mailboxes
}
chmail.imap tcp://127.0.0.1:%s {
    insecure_auth yes
    auth &accounts
    storage &mailboxes
}
`, dir, hash, directives, n.smtp, n.pop3, n.imap)
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	for _, login := range logins {
		c := n.pop(t, login) // makes the account
		c.ask(t, "+OK", "QUIT")
		c.Close()
	}
	return n
}

func (n *node) store() string { return filepath.Join(filepath.Dir(n.conf), "state", "mailstore") }

// client is a connection of a line protocol.
type client struct{ *textproto.Conn }

func dial(t *testing.T, port, greeting string) *client {
	t.Helper()
	conn, err := textproto.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{conn}
	t.Cleanup(func() { c.Close() })
	c.answer(t, greeting)
	return c
}

// answer reads a reply to its last line, and wants it to begin so.
func (c *client) answer(t *testing.T, want string) string {
	t.Helper()
	for {
		line, err := c.ReadLine()
		if err != nil {
			t.Fatalf("wanted %q: %v", want, err)
		}
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, want) {
			t.Fatalf("got %q, want %q", line, want)
		}
		return line
	}
}

func (c *client) ask(t *testing.T, want, format string, args ...any) string {
	t.Helper()
	if err := c.PrintfLine(format, args...); err != nil {
		t.Fatal(err)
	}
	return c.answer(t, want)
}

func (n *node) smtpDial(t *testing.T) *client {
	t.Helper()
	c := dial(t, n.smtp, "220")
	c.ask(t, "250", "EHLO load.test")
	return c
}

func (n *node) pop(t *testing.T, login string) *client {
	t.Helper()
	c := dial(t, n.pop3, "+OK")
	c.ask(t, "+OK", "USER %s", login)
	c.ask(t, "+OK", "PASS secret")
	return c
}

// admin runs an admin command and returns what it wrote and its exit code.
func (n *node) admin(args ...string) (stdout, stderr string, code int) {
	cmd := exec.Command(chmaild, append([]string{"--config", n.conf}, args...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	_ = cmd.Run()
	return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
}

func message(subject string, octets int) string {
	return "Subject: " + subject + "\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", octets/72+1)
}

func (c *client) send(t *testing.T, want, rcpt, text string) {
	t.Helper()
	c.ask(t, "250", "MAIL FROM:<out@example.org>")
	c.ask(t, "250", "RCPT TO:<%s>", rcpt)
	c.ask(t, "354", "DATA")
	c.ask(t, want, "%s.", text)
}

// TestQuotaAnswers: what does not fit is refused at RCPT where the client says
// SIZE, after the body where it does not.
func TestQuotaAnswers(t *testing.T) {
	t.Parallel()
	n := newMailServer(t, "quota 20K\nquota_domain whole.test 30K\nquota_login big@whole.test 1M",
		"a@one.test", "big@whole.test", "b@whole.test")
	c := n.smtpDial(t)
	rcpt := func(size int, want, to string) {
		t.Helper()
		c.ask(t, "250", "MAIL FROM:<out@example.org> SIZE=%d", size)
		c.ask(t, want, "RCPT TO:<%s>", to)
		c.ask(t, "250", "RSET")
	}
	rcpt(100<<10, "552 5.2.3 ", "a@one.test")
	rcpt(31<<10, "552 5.2.3 ", "big@whole.test") // more than the domain's
	rcpt(10<<10, "250", "a@one.test")
	rcpt(10<<10, "550 5.1.1 ", "nobody@one.test")
	c.send(t, "250", "a@one.test", message("fits", 15<<10))
	rcpt(10<<10, "452 4.2.2 ", "a@one.test")
	c.send(t, "452 4.2.2 ", "a@one.test", message("does not", 10<<10))
	c.send(t, "552 5.2.3 ", "a@one.test", message("never will", 50<<10))
	c.send(t, "250", "big@whole.test", message("fills the domain", 25<<10))
	rcpt(10<<10, "452 4.2.2 ", "b@whole.test")
	c.send(t, "250", "a@one.test", message("small", 1<<10))
	p := n.pop(t, "a@one.test")
	p.ask(t, "+OK 2 ", "STAT")
	p.ask(t, "+OK", "DELE 1")
	p.ask(t, "+OK", "QUIT")
	rcpt(10<<10, "250", "a@one.test")
}

// TestSecondServer: another chmaild on the same store says so and ends; a store
// of a newer version is refused, and an admin command on it as well.
func TestSecondServer(t *testing.T) {
	t.Parallel()
	n := newMailServer(t, "", "a@one.test")
	b, err := os.ReadFile(n.conf)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, port := range []string{n.smtp, n.pop3, n.imap} {
		text = strings.Replace(text, ":"+port, ":"+strconv.Itoa(testpart.FreePort(t)), 1)
	}
	text = strings.Replace(text, "/run\n", "/run2\n", 1)
	second := n.conf + ".second"
	if err := os.WriteFile(second, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if complaint, err := runBriefly("--config", second, "run"); err == nil || !strings.Contains(complaint,
		filepath.Dir(n.store())+" is in use by another process") {
		t.Errorf("a second server: %v: %s", err, complaint)
	}
	n.smtpDial(t).send(t, "250", "a@one.test", message("still here", 100))
	n.kill()
	if err := os.WriteFile(filepath.Join(n.store(), "FORMAT"), []byte("99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run"}, {"store", "stats"}, {"store", "check"}} {
		if complaint, err := runBriefly(append([]string{"--config", n.conf}, args...)...); err == nil ||
			!strings.Contains(complaint, "format 99") || !strings.Contains(complaint, "newer") {
			t.Errorf("%v on a newer store: %v: %s", args, err, complaint)
		}
	}
}

// TestStoreKilled kills the whole server again and again while mail comes by
// SMTP and goes by POP3: what was answered 250 is there or was deleted, once,
// and nothing that QUIT acknowledged comes back.
func TestStoreKilled(t *testing.T) {
	t.Parallel()
	const rounds = 10
	logins := []string{"a@one.test", "b@one.test"}
	n := newMailServer(t, "large_body 32K", logins...)
	var (
		mu                           sync.Mutex
		delivered, deleting, deleted = map[string]bool{}, map[string]bool{}, map[string]bool{}
	)
	note := func(m map[string]bool, keys ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, k := range keys {
			m[k] = true
		}
	}
	deliver := func(round, worker int) {
		c, err := textproto.Dial("tcp", "127.0.0.1:"+n.smtp)
		if err != nil {
			return
		}
		defer c.Close()
		ask := func(want, format string, args ...any) bool {
			if c.PrintfLine(format, args...) != nil {
				return false
			}
			for {
				line, err := c.ReadLine()
				if err != nil {
					return false
				}
				if len(line) > 3 && line[3] == '-' {
					continue
				}
				if !strings.HasPrefix(line, want) {
					t.Errorf("%q was answered %q", format, line)
				}
				return strings.HasPrefix(line, want)
			}
		}
		if _, err := c.ReadLine(); err != nil || !ask("250", "EHLO load.test") {
			return
		}
		for i := 0; ; i++ {
			id := fmt.Sprintf("r%d-w%d-%d", round, worker, i)
			size := 2000
			if i%10 == 9 {
				size = 60_000
			}
			if !ask("250", "MAIL FROM:<out@example.org>") || !ask("250", "RCPT TO:<a@one.test>") ||
				!ask("250", "RCPT TO:<b@one.test>") ||
				!ask("354", "DATA") || !ask("250", "%s.", message(id, size)) {
				return
			}
			note(delivered, "a@one.test "+id, "b@one.test "+id)
		}
	}
	remove := func(login string) {
		for {
			c, err := textproto.Dial("tcp", "127.0.0.1:"+n.pop3)
			if err != nil {
				return
			}
			ask := func(format string, args ...any) bool {
				if c.PrintfLine(format, args...) != nil {
					return false
				}
				line, err := c.ReadLine()
				return err == nil && strings.HasPrefix(line, "+OK")
			}
			_, err = c.ReadLine()
			if err != nil || !ask("USER %s", login) || !ask("PASS secret") {
				c.Close()
				return
			}
			var marked []string
			for i := 1; i <= 20; i++ {
				if !ask("RETR %d", i) {
					break
				}
				lines, err := c.ReadDotLines()
				if err != nil {
					break
				}
				if i%2 == 0 && ask("DELE %d", i) {
					marked = append(marked, login+" "+subject(lines))
				}
			}
			note(deleting, marked...)
			if ask("QUIT") {
				note(deleted, marked...)
			}
			c.Close()
		}
	}
	for round := range rounds {
		var working sync.WaitGroup
		for w := range 4 {
			working.Go(func() { deliver(round, w) })
		}
		for _, login := range logins {
			working.Go(func() { remove(login) })
		}
		time.Sleep(300*time.Millisecond + rand.N(700*time.Millisecond))
		n.kill()
		working.Wait()
		n.start(t)
		if out, complaint, code := n.admin("store", "check"); code != 0 || !strings.Contains(out, " 0 problems") {
			t.Fatalf("round %d: check: %d: %s%s", round, code, out, complaint)
		}
		there := make(map[string]int)
		for _, login := range logins {
			c := n.pop(t, login)
			var count int
			if _, err := fmt.Sscanf(c.ask(t, "+OK", "STAT"), "+OK %d", &count); err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= count; i++ {
				c.ask(t, "+OK", "RETR %d", i)
				lines, err := c.ReadDotLines()
				if err != nil {
					t.Fatal(err)
				}
				there[login+" "+subject(lines)]++
			}
			c.ask(t, "+OK", "QUIT")
		}
		for key := range delivered {
			if there[key] > 1 || there[key] == 0 && !deleting[key] {
				t.Errorf("round %d: %s was answered 250 and is there %d times", round, key, there[key])
			}
		}
		for key := range deleted {
			if there[key] > 0 {
				t.Errorf("round %d: %s was deleted and is back", round, key)
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d kills: %d deliveries and %d deletions acknowledged", rounds, len(delivered), len(deleted))
	if len(delivered) < 5*rounds || len(deleted) == 0 {
		t.Error("too little happened")
	}
}

func subject(lines []string) string {
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "Subject: "); ok {
			return rest
		}
	}
	return ""
}

// TestStoreDamaged flips a bit of a large body under a server that does not run:
// check names the message and exits with 1, and the other one is read.
func TestStoreDamaged(t *testing.T) {
	t.Parallel()
	n := newMailServer(t, "large_body 32K", "a@one.test")
	c := n.smtpDial(t)
	c.send(t, "250", "a@one.test", message("large", 100_000))
	c.send(t, "250", "a@one.test", message("small", 1000))
	n.kill()
	files, _ := filepath.Glob(filepath.Join(n.store(), "bodies", "*", "*"))
	if len(files) != 1 {
		t.Fatal("bodies that are files:", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[50_000] ^= 4
	if err := os.WriteFile(files[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	var report struct {
		Found    int
		Problems []struct {
			Login, Mailbox, What string
			UID                  int
		}
	}
	out, _, code := n.admin("store", "check", "--json")
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Found != 1 ||
		report.Problems[0].Login != "a@one.test" || report.Problems[0].Mailbox != "INBOX" ||
		report.Problems[0].UID != 1 {
		t.Errorf("check: %d, %v: %s", code, err, out)
	}
	p := n.pop(t, "a@one.test")
	p.ask(t, "+OK", "RETR 2")
	if lines, err := p.ReadDotLines(); err != nil || subject(lines) != "small" {
		t.Error("the other message:", err)
	}
}

// TestStoreExchange imports and exports beside the running server, and says
// what was wrong with bad input.
func TestStoreExchange(t *testing.T) {
	t.Parallel()
	n := newMailServer(t, "", "a@one.test", "b@one.test")
	dir := t.TempDir()
	mbox := filepath.Join(dir, "mbox")
	if err := os.WriteFile(mbox, []byte("From x Thu Jan  1 00:00:00 2026\nSubject: one\n\n1\n\n"+
		"From x Thu Jan  1 00:00:01 2026\nSubject: two\n\n>From 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect := func(code int, say string, args ...string) {
		t.Helper()
		stdout, stderr, got := n.admin(append([]string{"store"}, args...)...)
		if got != code || !strings.Contains(stdout+stderr, say) || strings.Contains(stderr, "panic") {
			t.Errorf("store %s: exit code %d, want %d and %q: %s%s",
				strings.Join(args, " "), got, code, say, stdout, stderr)
		}
	}
	maildir := filepath.Join(dir, "out", "a@one.test")
	expect(0, "Imported 2 messages.", "import", "mbox", mbox, "a@one.test", "Old.Mail")
	expect(0, "Exported 2 messages of 2 accounts", "export", filepath.Join(dir, "out"))
	expect(0, "Imported 2 messages.", "import", "maildir", maildir, "b@one.test")
	// INBOX only
	expect(0, "Exported 0 messages of 1 accounts", "export", "--format", "mbox",
		filepath.Join(dir, "mboxes"), "a@one.test")
	expect(0, "0 problems", "check")
	expect(1, "exists", "export", filepath.Join(dir, "out"), "a@one.test")
	expect(1, "no such account", "import", "mbox", mbox, "nobody@one.test")
	expect(1, "no such account", "export", filepath.Join(dir, "x"), "nobody@one.test")
	expect(1, "no mbox file", "import", "mbox", n.conf, "a@one.test")
	expect(1, "no such file", "import", "mbox", filepath.Join(dir, "none"), "a@one.test")
	expect(1, "no such file", "import", "maildir", dir, "a@one.test")
	expect(1, "no such file", "import", "imapsql", "file:none.db?_txlock=immediate")
	expect(2, "usage", "import", "tar", "x", "y")
	expect(2, "usage", "export", "--format", "tar", dir)
	if files, _ := filepath.Glob(filepath.Join(maildir, ".Old.Mail", "cur", "*")); len(files) != 2 {
		t.Error("exported:", files)
	}
	b, err := os.ReadFile(filepath.Join(dir, "mboxes", "a@one.test.mbox"))
	if err != nil || len(b) != 0 {
		t.Errorf("mbox: %q, %v", b, err)
	}
}

// TestStoreFull: with the disk full, mail is answered 452 and all else goes on;
// what is then deleted makes room for it again.
func TestStoreFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=160m"); err != nil {
		testpart.Missing(t, fmt.Sprint("a file system of its own: ", err))
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	n := newMailServer(t, "path "+filepath.Join(dir, "store"), "a@one.test")
	c := n.smtpDial(t)
	var noise strings.Builder // which Pebble cannot compress
	noise.WriteString("Subject: fills\r\n\r\n")
	line := make([]byte, 54)
	for noise.Len() < 200<<10 {
		for i := range line {
			line[i] = byte(rand.IntN(256))
		}
		noise.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
	text := noise.String()
	// fill sends until so many are taken, or none for a while.
	fill := func(most int, patience time.Duration) (taken int) {
		for last := time.Now(); taken < most && time.Since(last) < patience; {
			c.ask(t, "250", "MAIL FROM:<out@example.org>")
			line := c.ask(t, "", "RCPT TO:<a@one.test>")
			if strings.HasPrefix(line, "250") {
				c.ask(t, "354", "DATA")
				line = c.ask(t, "", "%s.", text)
			} else {
				c.ask(t, "250", "RSET")
			}
			switch {
			case strings.HasPrefix(line, "250"):
				taken++
				last = time.Now()
			case strings.HasPrefix(line, "452 4.3.1 "):
				time.Sleep(100 * time.Millisecond)
			default:
				t.Fatal(line)
			}
		}
		return taken
	}
	count := fill(3000, time.Second)
	if count < 50 || count == 3000 {
		t.Fatalf("refused after %d messages", count)
	}
	p := n.pop(t, "a@one.test")
	p.ask(t, fmt.Sprintf("+OK %d ", count), "STAT")
	for i := 1; i <= count; i++ {
		p.ask(t, "+OK", "DELE %d", i)
	}
	p.ask(t, "+OK", "QUIT")
	if again := fill(count/2, 30*time.Second); again < count/2 {
		t.Errorf("%d messages were deleted, and %d taken after that", count, again)
	}
	if out, complaint, code := n.admin("store", "check"); code != 0 {
		t.Errorf("check: %s%s", out, complaint)
	}
}

// TestQuarantine: what a check quarantines goes to Junk, marked, and not to the
// maildrop.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	n := newMailServer(t, "", "a@one.test")
	b, err := os.ReadFile(n.conf)
	if err != nil {
		t.Fatal(err)
	}
	n.kill()
	text := strings.Replace(string(b), "    deliver_to &mailboxes\n", "    check {\n        require_tls {\n"+
		"            fail_action quarantine\n        }\n    }\n    deliver_to &mailboxes\n", 1)
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	n.smtpDial(t).send(t, "250", "a@one.test", message("doubtful", 100))
	n.pop(t, "a@one.test").ask(t, "+OK 0 0", "STAT")
	c := dial(t, n.imap, "* OK")
	c.ask(t, "1 OK", "1 LOGIN a@one.test secret")
	c.ask(t, "* ", "2 SELECT Junk")
	for !strings.HasPrefix(c.answer(t, ""), "2 OK") {
	}
	if line := c.ask(t, "* 1 FETCH", "3 FETCH 1 FLAGS"); !strings.Contains(strings.ToLower(line), "$junk") {
		t.Error("it is not marked:", line)
	}
}
