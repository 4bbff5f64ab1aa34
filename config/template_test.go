// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	parser "github.com/foxcpp/maddy/framework/cfgparser"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestExample keeps maddy.conf.example what the template gives.
func TestExample(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Template(&b, Example); err != nil {
		t.Fatal(err)
	}
	const path = "../maddy.conf.example"
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s is not what the template gives: go test ./config -update", path)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "two words", `a "quote"`, `back\slash`,
		"redis://u:p@h:1/0?x=1#y", "{brace}", "한글"} {
		nodes, err := parser.Read(strings.NewReader("d "+quote(s)+"\n"), "t")
		if err != nil || len(nodes) != 1 || len(nodes[0].Args) != 1 || nodes[0].Args[0] != s {
			t.Errorf("%q was read back as %+v, %v", s, nodes, err)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"well":     {"state_dir " + dir + "/state\n", ""},
		"state":    {"hostname h\nstate_dir " + file + "/x\n", "c.conf:2: state_dir cannot be used"},
		"relative": {"state_dir x\n", "not an absolute path"},
		"ldap":     {"auth.ldap l { }\n", "c.conf:1: auth.ldap"},
		"inline":   {"imap tcp://127.0.0.1:1 {\n auth ldap { }\n}\n", "c.conf:2: auth.ldap"},
		"txlock": {"storage.imapsql m {\n driver sqlite3\n dsn x.db\n sqlite3_busy_timeout 60000\n}\n",
			"_txlock=immediate"},
		"busy": {"storage.imapsql m {\n driver sqlite3\n dsn \"file:x.db?_txlock=immediate\"\n}\n",
			"sqlite3_busy_timeout"},
		"bodies": {"storage.imapsql m {\n driver postgres\n dsn host=x\n}\n", "msg_store"},
		"554": {"smtp tcp://127.0.0.1:1 {\n default_source {\n  deliver_to &m\n }\n}\n" +
			"storage.imapsql m {\n driver postgres\n dsn host=x\n msg_store fs /m\n}\n", "c.conf:3: deliver_to &m: "},
		"451": {"smtp tcp://127.0.0.1:1 {\n deliver_to deferring &m\n}\n" +
			"storage.imapsql m {\n driver postgres\n dsn host=x\n msg_store fs /m\n}\n", ""},
		"imap": {"imap tcp://127.0.0.1:1 {\n auth &a\n storage &m\n}\nstorage.maildrop m { }\n",
			"c.conf:1: imap cannot serve storage &m"},
		"other imap": {"imap tcp://127.0.0.1:1 {\n storage &m\n}\nstorage.imapsql m { }\n" +
			"storage.maildrop n { }\n", ""},
		"syntax": {"a {\n", "c.conf"},
		"variable": {"# $(old)\n$(domain) = mall.example\nhostname $(domian)\n",
			"c.conf:3: $(domian) is not defined above; did you mean domain?"},
		"inner variable": {"hostname chat.$(domain)\n", "c.conf:1: $(domain) is not defined above"},
		"comment":        {"hostname h # of $(domain)\n", ""},
		"reference": {"msgpipeline out {\n deliver_to &remote_que\n}\ntarget.queue remote_queue { }\n",
			"c.conf:2: deliver_to: there is no block named remote_que; did you mean remote_queue?"},
		"text of a table": {"msgpipeline out {\n modify {\n replace_rcpt static {\n entry a &b\n }\n }\n}\n", ""},
		"port":            {"imap tcp://127.0.0.1:250000 { }\n", "c.conf:1: imap: tcp://127.0.0.1:250000"},
		"no port":         {"imap tcp://127.0.0.1 { }\n", "port is required"},
		"one port twice": {"imap tcp://127.0.0.1:993 { }\n\nsmtp tls://0.0.0.0:993 { }\n",
			"c.conf:3: smtp: tls://0.0.0.0:993 is taken by imap in line 1"},
		"one port, two hosts": {"imap tcp://127.0.0.1:993 { }\nsmtp tls://127.0.0.2:993 { }\n", ""},
		"no address":          {"imap { }\n", "c.conf:1: imap has no address"},
		"domain": {"msgpipeline m {\n destination https://mall.example/ {\n reject\n }\n}\n",
			"is no name of a domain"},
		"people": {"msgpipeline m {\n destination postmaster kim@몰.example {\n reject\n }\n}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "c.conf")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
	if _, err := Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing file was read")
	}
}
