// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
)

// TestAddresses: groups, notices, filters and imported accounts, by commands beside a
// server that runs.
func TestAddresses(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	s.admin(t, "domain", "add", "second.example")
	s.admin(t, "alias", "add", "team@mall.example", "host@mall.example", "customer@mall.example", "friend@mall.example")
	s.admin(t, "alias", "add", "@second.example", "friend@mall.example")

	// Each member has a link of their own.
	s.send(t, "host", "From: host@mall.example\nTo: team@mall.example\nSubject: for all of us\n\nhello\n",
		"team@mall.example")
	link := regexp.MustCompile(`(?i)CHmail-Chat: <([^>]+)>`)
	links := make(map[string]string)
	for _, role := range []string{"host", "customer", "friend"} {
		m := link.FindStringSubmatch(s.mailWith(t, role, "for all of us"))
		if m == nil || links[m[1]] != "" {
			t.Errorf("%s has the link %q, and %s the same", role, m, links[m[1]])
			continue
		}
		links[m[1]] = role
	}

	// Who belongs to a group writes as the group, and any address of a domain with a
	// catch-all is somebody's; postmaster and abuse are there from the start.
	s.send(t, "host", "From: The team <team@mall.example>\nTo: anybody@second.example\nSubject: from the team\n\nx\n",
		"anybody@second.example", "abuse@second.example", "postmaster@mall.example")
	if m := s.mailWith(t, "friend", "Subject: from the team"); !strings.Contains(m, "team@mall.example") {
		t.Errorf("the group's mail came as\n%s", m)
	}

	// Nobody makes a login of a group's address.
	res, err := http.PostForm(s.Web+"/register", url.Values{"name": {"team"}, "password": {"a long password"}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusConflict {
		t.Errorf("registering a group's address: %s", res.Status)
	}

	// A notice comes once, and a filter has its folder.
	s.setMail(t, "friend", `{"forward":[],"keep":false,"vacation":{"on":true,"subject":"","text":"Back on Monday.",`+
		`"until":""},"filters":[{"field":"subject","contains":"BARGAIN","folder":"Shop","seen":true}]}`)
	for i := range 2 {
		s.send(t, "customer", fmt.Sprintf("From: customer@mall.example\nTo: friend@mall.example\n"+
			"Subject: bargain %d\n\nx\n", i), "friend@mall.example")
	}
	s.mailWith(t, "customer", "Back on Monday.")
	if n := s.inFolder(t, "friend", "Shop"); n != "2" {
		t.Errorf("the filter's folder has %s mails", n)
	}
	notices := 0
	for _, m := range s.fetch(t, "customer") {
		if strings.Contains(m, "Back on Monday.") {
			notices++
		}
	}
	if notices != 1 {
		t.Errorf("%d notices came", notices)
	}

	// Accounts of another server keep their passwords.
	list := filepath.Join(t.TempDir(), "users.csv")
	text := "login,password,quota\nold@mall.example,{SSHA}2v7zmQQpYMD8y3i3Od3sr/xCV6dzYWx0,5M\n" +
		"new@second.example,{SHA512-CRYPT}$6$saltsalt$pyc8jajkrrOuB8Im.jaoDf/cziALBTCpw2joH06BZt7DPCImf/" +
		".He1Pjc7HzKK1O0A0JOuNZDrSdWq9ynHMoh/,\nhost@mall.example,{PLAIN}whatever it is,\nx@nowhere.example,12345678,\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	complaint, err := runBriefly("--config", filepath.Join(s.state, "maddy.conf"), "user", "add", "--from", list)
	if err == nil || !strings.Contains(complaint, "users.csv:4: host@mall.example is there already") ||
		!strings.Contains(complaint, "users.csv:5: nowhere.example is not a domain") {
		t.Errorf("the import said %v: %s", err, complaint)
	}
	session := s.pop3(t, "old@mall.example", "a fine password")
	if !session.open || !s.pop3(t, "new@second.example", "a fine password").open {
		t.Error("an imported account cannot sign in")
	}
	// The hash is another one by now, where it is asked for again.
	if status := s.deskStatus(t, "new@second.example", "a fine password"); status != http.StatusNoContent {
		t.Errorf("the desk answers %d to an imported account", status)
	}
	if out := s.admin(t, "user", "list", "--json"); !bytes.Contains(out, []byte(`"quota": 5000000`)) &&
		!bytes.Contains(out, []byte(`"quota": 5242880`)) {
		t.Errorf("the accounts are %s", out)
	}

	// A disabled account is refused with words, at once.
	s.admin(t, "user", "disable", "--reason", "the bill is open", "old@mall.example")
	session.wantEnd()
	if answer := s.popAnswer(t, "old@mall.example", "a fine password"); !strings.Contains(answer, "the bill is open") {
		t.Errorf("a disabled account is answered %q", answer)
	}
	if status := s.deskStatus(t, "old@mall.example", "a fine password"); status != http.StatusForbidden {
		t.Errorf("the desk answers %d to a disabled account", status)
	}
	s.admin(t, "user", "enable", "old@mall.example")
	if !s.pop3(t, "old@mall.example", "a fine password").open {
		t.Error("an enabled account cannot sign in")
	}
}

// setMail sets what a role's mail does, as the desk does.
func (s *server) setMail(t *testing.T, role, rules string) {
	t.Helper()
	login, password := s.password(role)
	body, _ := json.Marshal(map[string]string{"login": login, "password": password})
	res, err := http.Post(s.Web+"/desk/sign-in", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	req, err := http.NewRequest("PUT", s.Web+"/desk/mail", strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, c := range res.Cookies() {
		req.AddCookie(c)
	}
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("PUT /desk/mail: %d: %s", res.StatusCode, readAll(t, res))
	}
}

// inFolder counts the mails of a folder, by Python's imaplib.
func (s *server) inFolder(t *testing.T, role, folder string) string {
	t.Helper()
	login, password := s.password(role)
	host, port, _ := net.SplitHostPort(s.IMAP)
	out, err := exec.Command(testpart.Need(t, "python3"), "-c", `import imaplib, sys
m = imaplib.IMAP4(sys.argv[1], int(sys.argv[2]))
m.login(sys.argv[3], sys.argv[4])
print(m.select(sys.argv[5])[1][0].decode())`, host, port, login, password, folder).Output()
	if err != nil {
		t.Fatalf("imaplib: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// popAnswer is what POP3 says to a password.
func (s *server) popAnswer(t *testing.T, login, password string) (answer string) {
	t.Helper()
	c := dial(t, s.POP3[strings.LastIndexByte(s.POP3, ':')+1:], "+OK")
	defer c.Close()
	c.ask(t, "+OK", "USER %s", login)
	return c.ask(t, "-ERR", "PASS %s", password)
}
