// SPDX-License-Identifier: GPL-3.0-or-later

package imapd_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/mailstore"
)

// differs are the mails of which our answer is another one than Dovecot's on
// purpose, and what of it.
var differs = map[string]string{
	// The line end before a boundary belongs to it (RFC 2046 section 5.1.1), also
	// behind another one's end.
	"forwarded BODYSTRUCTURE":               "size",
	"forwarded BODY":                        "size",
	"forwarded BODY.PEEK[1]":                "line end",
	"forwarded BODY.PEEK[1.TEXT]":           "line end",
	"same-boundary BODY.PEEK[1]":            "line end",
	"message-in-base64 BODY.PEEK[1.HEADER]": "line end",
	// A part that is neither a multipart nor a message has no parts.
	"cut-off BODY.PEEK[1.1]":         "no part",
	"delivery-status BODY.PEEK[1.1]": "no part",
	"unquoted-names BODY.PEEK[1.1]":  "no part",
	// The empty line is of the header, also where nothing else is, or where there is
	// no body.
	"empty-parts BODY.PEEK[1.MIME]":             "empty line",
	"no-body BODY.PEEK[HEADER.FIELDS.NOT (TO)]": "empty line",
	// What has no valid type is text/plain (RFC 2045 section 5.2).
	"no-boundary BODYSTRUCTURE":     "type",
	"no-boundary BODY":              "type",
	"no-boundary BODY.PEEK[1]":      "type",
	"no-boundary BODY.PEEK[1.MIME]": "type",
	"no-type BODYSTRUCTURE":         "type",
	"no-type BODY":                  "type",
	// Of two subjects the first counts, here.
	"two-of-each ENVELOPE": "subject",
	// Parameters stand in the mail's order.
	"long-names BODYSTRUCTURE": "order",
}

// TestBesideDovecot appends odd mails to this server and to Dovecot, and compares
// what both say of them.
func TestBesideDovecot(t *testing.T) {
	t.Parallel()
	theirs := dovecot(t)
	ours := signIn(t, start(t, newServer(t, openStore(t, mailstore.Options{}))))
	files, err := filepath.Glob("testdata/mails/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mail := strings.ReplaceAll(string(text), "\n", "\r\n")
		for _, c := range []*client{ours, theirs} {
			c.send(fmt.Sprintf("a APPEND INBOX {%d}", len(mail)))
			c.expect("+ …")
			c.send(mail)
			for !strings.HasPrefix(c.line(), "a OK") {
			}
			c.ask("OK …", "SELECT INBOX")
		}
		name := strings.TrimSuffix(filepath.Base(file), ".eml")
		for _, item := range []string{
			"BODYSTRUCTURE", "BODY", "ENVELOPE", "RFC822.SIZE", "BODY.PEEK[HEADER]", "BODY.PEEK[TEXT]", "BODY.PEEK[1]",
			"BODY.PEEK[2]", "BODY.PEEK[1.MIME]", "BODY.PEEK[1.HEADER]", "BODY.PEEK[1.TEXT]", "BODY.PEEK[1.1]",
			"BODY.PEEK[1.2.MIME]", "BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]", "BODY.PEEK[HEADER.FIELDS.NOT (TO)]",
		} {
			got, want := fetchValue(t, ours, i+1, item), fetchValue(t, theirs, i+1, item)
			switch same, why := reflect.DeepEqual(got, want), differs[name+" "+item]; {
			case same && why != "":
				t.Errorf("%s: %s: there is no difference any more: %s", name, item, why)
			case !same && why == "":
				t.Errorf("%s: %s:\nhere    %v\nDovecot %v", name, item, got, want)
			}
		}
	}
}

// fetchValue is the value of one item of a message.
func fetchValue(t *testing.T, c *client, n int, item string) any {
	t.Helper()
	c.send(fmt.Sprintf("t FETCH %d %s", n, item))
	var value any
	for {
		v := c.value()
		words, _ := v.([]any)
		switch {
		case len(words) > 1 && words[0] == "t":
			if words[1] != "OK" {
				t.Fatalf("%s: %v", item, words)
			}
			return value
		case len(words) == 4 && words[2] == "FETCH":
			list := words[3].([]any)
			value = normal(list[len(list)-1], strings.HasPrefix(item, "BODY.PEEK"))
		default:
			t.Fatalf("%s: %v", item, words)
		}
	}
}

// normal takes out of a value what may differ: Dovecot says that a text without a
// charset is in US-ASCII, and has words of its own for what an address lacks; media
// types are the same in any case.
func normal(v any, text bool) any {
	if word, ok := v.(string); ok && !text {
		if strings.HasPrefix(word, "MISSING_") {
			return ""
		}
		return strings.ToLower(word)
	}
	list, ok := v.([]any)
	if !ok || text {
		return v
	}
	if len(list) == 2 && list[0] == "charset" && list[1] == "us-ascii" {
		return nil
	}
	out := make([]any, len(list))
	for i := range list {
		out[i] = normal(list[i], false)
	}
	return out
}

// value reads a response: a list of words, of which strings are strings, NIL is nil
// and lists are lists.
func (c *client) value() any {
	c.t.Helper()
	var stack [][]any
	list := []any{}
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			c.t.Fatal(err)
		}
		switch b {
		case ' ':
		case '\r':
			_, _ = c.r.ReadByte()
			return list
		case '(':
			stack = append(stack, list)
			list = []any{}
		case ')':
			up := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			list = append(up, list)
		case '"':
			var s []byte
			for b, _ = c.r.ReadByte(); b != '"'; b, _ = c.r.ReadByte() {
				if b == '\\' {
					b, _ = c.r.ReadByte()
				}
				s = append(s, b)
			}
			list = append(list, string(s))
		case '{':
			size, _ := c.r.ReadString('\n')
			n, err := strconv.Atoi(strings.TrimRight(size, "}\r\n"))
			if err != nil {
				c.t.Fatal(err)
			}
			s := make([]byte, n)
			if _, err := io.ReadFull(c.r, s); err != nil {
				c.t.Fatal(err)
			}
			list = append(list, string(s))
		default:
			word := []byte{b}
			brackets := 0
			for {
				next, err := c.r.Peek(1)
				if err != nil {
					c.t.Fatal(err)
				}
				if slices.Contains([]byte("\r)"), next[0]) && brackets == 0 || next[0] == ' ' && brackets == 0 {
					break
				}
				switch next[0] {
				case '[':
					brackets++
				case ']':
					brackets--
				}
				word = append(word, next[0])
				_, _ = c.r.ReadByte()
			}
			if string(word) == "NIL" {
				list = append(list, nil)
			} else {
				list = append(list, string(word))
			}
		}
	}
}

// dovecot is a session of Dovecot's IMAP server, which runs for it alone.
func dovecot(t *testing.T) *client {
	t.Helper()
	program := testpart.Need(t, "/usr/lib/dovecot/imap")
	dir, err := os.MkdirTemp("", "dovecot") // outside of the test's folder, which others may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if who.Uid == "0" { // Dovecot serves root no mail
		if who, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf("protocols = imap\nbase_dir = %s/run\nmail_location = maildir:%[1]s/mail\n"+
		"log_path = %[1]s/log\nssl = no\n"+
		"mail_uid = %d\nmail_gid = %d\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n", dir, uid, gid)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	near, far, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", conf)
	cmd.Env = append(os.Environ(), "USER="+who.Username, "HOME="+dir)
	cmd.Stdin, cmd.Stdout = far, far
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	far.Close()
	t.Cleanup(func() {
		near.Close()
		_ = cmd.Wait()
	})
	c := &client{near, t, newReader(near)}
	c.expect("* PREAUTH …")
	return c
}

// socketPair is a connection of which a program gets the far end.
func socketPair() (near net.Conn, far *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "near")
	defer file.Close()
	near, err = net.FileConn(file)
	return near, os.NewFile(uintptr(fds[1]), "far"), err
}
