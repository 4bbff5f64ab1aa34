// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
)

// imapSession uses the mailboxes with Python's imaplib, and waits in IDLE for a
// mail that it then sends by SMTP.
const imapSession = `
import imaplib, smtplib, sys
host, port, login, password, smtp = sys.argv[1:6]
m = imaplib.IMAP4(host, int(port)); m.login(login, password)
def ok(r):
    assert r[0] == "OK", r
    return r[1]
folders = b"\n".join(ok(m.list()))
for use in (b"\\Sent", b"\\Trash", b"\\Junk", b"\\Drafts"):
    assert use in folders, folders
count = int(ok(m.select("INBOX"))[0])
assert count >= 1
body = b"From: a@x\r\nSubject: appended\r\n\r\nneedle in a haystack\r\n"
ok(m.append("INBOX", "(\\Seen)", None, body))
found = ok(m.uid("SEARCH", None, "TEXT", "needle"))[0].split()
assert len(found) == 1, found
uid = found[0]
got = ok(m.uid("FETCH", uid, "(FLAGS RFC822.SIZE BODY.PEEK[] BODYSTRUCTURE ENVELOPE)"))
assert got[0][1] == body and b"\\Seen" in got[0][0], got
part = ok(m.uid("FETCH", uid, "BODY.PEEK[]<11.7>"))
assert part[0][1] == body[11:18], part
ok(m.uid("COPY", uid, "Archive"))
ok(m.uid("MOVE", uid, "Trash"))
assert ok(m.uid("SEARCH", None, "TEXT", "needle"))[0] == b""
ok(m.select("Trash"))
ok(m.store("1", "+FLAGS", "(\\Deleted)")); ok(m.expunge())
assert ok(m.status("Trash", "(MESSAGES)"))[0].endswith(b"(MESSAGES 0)")
assert ok(m.status("Archive", "(MESSAGES)"))[0].endswith(b"(MESSAGES 1)")
ok(m.select("INBOX"))
m.send(b"x1 IDLE\r\n")
assert m.readline().startswith(b"+")
host2, port2 = smtp.split(":")
s = smtplib.SMTP(host2, int(port2)); s.sendmail("out@example.org", [login], "Subject: wakes\r\n\r\nup\r\n"); s.quit()
line = m.readline()
assert line.strip().endswith(b"EXISTS"), line
assert int(line.split()[1]) == count + 1, line
m.send(b"DONE\r\n")
while not m.readline().startswith(b"x1 OK"): pass
ok(m.close()); m.logout()
`

// TestMailStore reads by IMAP, administers beside the running server, and
// restores a backup.
func TestMailStore(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	s := startServer(t, state)
	login, password := s.password("customer")
	host, port, _ := net.SplitHostPort(s.IMAP)
	run := exec.Command(testpart.Need(t, "python3"), "-c", imapSession, host, port, login, password, s.SMTP)
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("imaplib: %v: %s", err, out)
	}
	// An account that is added while the server runs gets mail at once.
	add := exec.Command(chmaild, "--config", filepath.Join(state, "maddy.conf"), "user", "add", "new@mall.example")
	add.Stdin = strings.NewReader("a password\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("user add: %v: %s", err, out)
	}
	s.send(t, "host", "From: host@mall.example\nTo: new@mall.example\nSubject: welcome\n\nHello.\n", "new@mall.example")
	var stats struct{ Accounts, Messages int }
	if err := json.Unmarshal(s.admin(t, "store", "stats", "--json"), &stats); err != nil ||
		stats.Accounts != 204 { // 200 of them are members of the mall
		t.Errorf("stats: %+v, %v", stats, err)
	}
	if out := s.admin(t, "store", "check"); !bytes.Contains(out, []byte(" 0 problems")) {
		t.Errorf("check: %s", out)
	}
	export := t.TempDir()
	s.admin(t, "store", "export", export)
	if files, _ := filepath.Glob(filepath.Join(export, "new@mall.example", "cur", "*")); len(files) != 1 {
		t.Errorf("exported %v", files)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	s.admin(t, "backup", backup)
	want := s.fetch(t, "customer")
	s.stop(t)

	// Everything is lost but the backup.
	gone, _ := filepath.Glob(filepath.Join(state, "*.db*"))
	for _, path := range append(gone, filepath.Join(state, "mailstore"), filepath.Join(state, "dkim_keys"),
		filepath.Join(state, "mall.keys"), filepath.Join(state, "mall", "pictures")) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	s.admin(t, "restore", backup)
	if complaint, err := runBriefly("--config", filepath.Join(state, "maddy.conf"), "restore", backup); err == nil ||
		!strings.Contains(complaint, "move away") {
		t.Errorf("restored over what is there: %v, %s", err, complaint)
	}
	s = startServer(t, state)
	if got := s.fetch(t, "customer"); !slices.Equal(got, want) {
		t.Errorf("restored %d mails, want %d", len(got), len(want))
	}
	if out := s.admin(t, "store", "check"); !bytes.Contains(out, []byte(" 0 problems")) {
		t.Errorf("check after the restore: %s", out)
	}
	s.send(t, "host", "From: host@mall.example\nTo: customer@mall.example\n"+
		"Subject: goes on\n\nHello.\n", "customer@mall.example")
	s.mailWith(t, "customer", "goes on")
}
