// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// broken are mistakes in a configuration of quickstart: what is replaced by what, and
// what check says. Its exit status is 1 unless that is a warning.
var broken = map[string]struct{ from, to, want string }{
	"nothing": {},
	"directive": {
		"    presence &presence\n}\n\nchmail.imap", "    presense &presence\n}\n\nchmail.imap",
		`:\d+: error: .*presense`,
	},
	"block": {"chat.relay relay", "chat.relays relay", `:\d+: error: .*chat.relays`},
	"reference": {
		"deliver_to &remote_queue", "deliver_to &remote_que",
		`:\d+: .*no block named remote_que; did you mean remote_queue`,
	},
	"reference of endpoint": {
		"auth &sign_in\n    storage", "auth &signin\n    storage",
		`:\d+: .*no block named signin; did you mean sign_in`,
	},
	"brace":               {},
	"certificate missing": {"fullchain.pem", "chain.pem", `:\d+: error: .*chain.pem: no such file`},
	"state folder":        {"state_dir \"", "state_dir \"/proc/1/", `:\d+: state_dir cannot be used`},
	"port too high": {
		"pop3 tls://0.0.0.0:995", "pop3 tls://0.0.0.0:250000",
		`:\d+: pop3: tls://0.0.0.0:250000`,
	},
	"port twice": {
		"chmail.imap tls://0.0.0.0:993", "chmail.imap tls://0.0.0.0:995",
		`:\d+: .*0.0.0.0:995 is taken by pop3 in line`,
	},
	"pages without TLS":    {"base https://chat.", "base http://chat.", `:\d+: error: .*http`},
	"links without scheme": {"web https://chat.", "web htps://chat.", `:\d+: error: .*htps`},
	"LDAP": {
		"auth.accounts accounts {", "auth.ldap ldap { }\nauth.accounts accounts {",
		`:\d+: auth.ldap of this maddy lets`,
	},
	"ports turned round":  {"ports 20000-29999", "ports 29999-20000", `:\d+: error: .*29999-20000`},
	"ports of the system": {"ports 20000-29999", "ports 80-500", `:\d+: warning: ports below 1024`},
	"unit":                {"appendlimit 64M", "appendlimit 5 Gigs", `:\d+: error: .*`},
	"variable": {
		"domains $(domain)", "domains $(domian)",
		`:\d+: \$\(domian\) is not defined above; did you mean domain`,
	},
	"not signed":       {"        chmail_dkim {", "        dkim_not {", `:\d+: error: .*dkim_not`},
	"signing removed":  {"DKIM", "", `:\d+: warning: mail of chmail.submission is not signed`},
	"stamp not signed": {" CHmail-Chat\n", "\n", `:\d+: warning: CHmail-Chat is not signed`},
	"no stamp": {
		"    default_destination {\n        deliver_to &stamp",
		"    default_destination {\n        deliver_to &outgoing",
		`:\d+: warning: mail of chmail.submission gets no link`},
	"log folder": {
		"hostname $(host)", "log /nowhere/at/all.log\nhostname $(host)",
		`error: .*/nowhere/at/all.log`,
	},
	"PostgreSQL away": {
		`database "sqlite:rooms.db"`, `database "postgres://127.0.0.1:1/chmail"`,
		`(?s):\d+: warning: .*127.0.0.1:1`,
	},
	"Redis away": {
		"presence.local presence {\n    path presence.db", "presence.redis presence {\n    url redis://127.0.0.1:1",
		`:\d+: warning: .*the Redis does not answer`,
	},
	"bodies refused": {
		"storage.maildrop mailboxes {", "storage.imapsql mailboxes {\n    driver sqlite3\n    dsn x.db",
		`:\d+: .*_txlock=immediate`,
	},
	"interval":           {"interval 10s", "interval 10", `:\d+: error: .*interval`},
	"typographic quotes": {`tls file "`, `tls file “`, `error`},
	"domain is an URL": {
		"$(domain) = mall.example", "$(domain) = https://mall.example/",
		`:\d+: .*no name of a domain`,
	},
	"certificate expired": {"fullchain.pem", "expired.pem", `:\d+: warning: .*expired.pem expired on \d`},
	"certificate of another": {
		"fullchain.pem", "other.pem",
		`:\d+: warning: the certificate is not for chat.mall.example`,
	},
	"nothing uses it": {
		"openmetrics tcp", "msgpipeline left {\n    default_destination {\n        reject\n    }\n}\nopenmetrics tcp",
		`:\d+: error: .*nothing refers to left`,
	},
}

// TestBroken runs check on each mistake.
func TestBroken(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	home := t.TempDir()
	writeCertificates(t, home)
	quickstart := exec.Command("chmaild", "--config", filepath.Join(home, "maddy.conf"),
		"quickstart", "--config-only", "--cert", filepath.Join(home, "fullchain.pem"),
		"--key", filepath.Join(home, "privkey.pem"), "mall.example")
	if out, err := quickstart.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(home, "maddy.conf"))
	if err != nil {
		t.Fatal(err)
	}
	signing := regexp.MustCompile(`(?s)    modify \{\n        # CHmail's headers.*?\n    \}\n`)
	if !signing.Match(text) {
		t.Fatal("the part that signs was not found")
	}
	for name, c := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			conf := string(text)
			switch {
			case c.from == "DKIM":
				conf = signing.ReplaceAllString(conf, "")
			case name == "brace":
				conf = conf[:strings.LastIndexByte(conf, '}')]
				c.want = `maddy.conf:\d+.*EOF`
			case !strings.Contains(conf, c.from):
				t.Fatalf("the configuration has no %q", c.from)
			default:
				conf = strings.Replace(conf, c.from, c.to, 1)
			}
			conf = strings.NewReplacer("/var/lib/chmail", filepath.Join(dir, "state"),
				"/run/chmail", filepath.Join(dir, "run"), "/etc/chmail/", home+"/").Replace(conf)
			path := filepath.Join(dir, "maddy.conf")
			if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
				t.Fatal(err)
			}
			check := exec.Command("chmaild", "--config", path, "check", "--try-mail-server", "")
			if !strings.HasSuffix(name, "away") {
				check.Args = append(check.Args, "--offline")
			}
			check.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(home, "ca.pem"))
			out, err := check.CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			}
			want := 1
			switch {
			case c.want == "":
				want = 0
			case strings.Contains(c.want, "warning"):
				want = exitWarnings
			}
			if code != want {
				t.Errorf("exit status %d, want %d", code, want)
			}
			if !regexp.MustCompile(c.want).Match(out) || strings.Contains(string(out), "goroutine") {
				t.Errorf("%q is missing in:\n%s", c.want, out)
			}
		})
	}
}

// writeCertificates makes an authority, ca.pem, and certificates of one key.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("privkey.pem", "PRIVATE KEY", der)
	now := time.Now()
	var ca *x509.Certificate
	sign := func(name string, end time.Time, hosts ...string) {
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: now.AddDate(-1, 0, 0), NotAfter: end, DNSNames: hosts,
			Subject: pkix.Name{CommonName: name}, IsCA: len(hosts) == 0, BasicConstraintsValid: true,
		}
		issuer := ca
		if issuer == nil {
			issuer = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		write(name, "CERTIFICATE", der)
		if ca == nil {
			ca = c
		}
	}
	sign("ca.pem", now.AddDate(1, 0, 0))
	asked := []string{"mta-sts.mall.example", "autoconfig.mall.example", "autodiscover.mall.example"}
	sign("fullchain.pem", now.AddDate(0, 3, 0), append(asked, "chat.mall.example", "www.mall.example")...)
	sign("expired.pem", now.AddDate(0, 0, -1), "chat.mall.example", "www.mall.example")
	sign("other.pem", now.AddDate(0, 3, 0), "www.mall.example", "chat.other.example")
}
