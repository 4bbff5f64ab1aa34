// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// submitBadly signs in wrongly, then sends as somebody else, then as oneself.
const submitBadly = `
import smtplib, ssl, sys, time
port, ca, login, password, other = int(sys.argv[1]), *sys.argv[2:6]
def session():
    s = smtplib.SMTP("localhost", port, timeout=30)
    s.starttls(context=ssl.create_default_context(cafile=ca))
    return s
for who in (login, "nobody@mall.example"):
    s = session()
    start = time.time()
    try:
        s.login(who, "wrong")
        sys.exit("a wrong password was taken")
    except smtplib.SMTPResponseException as e:
        took = time.time() - start
        if not 0.9 < took < 8:
            sys.exit(f"{who} was refused after {took}")
        print(e.smtp_code, e.smtp_error.decode())
    s.close()
s = session()
s.login(login, password)
code, text = s.mail(other)
if code == 250:
    code, text = s.rcpt(other)
if code // 100 != 5:
    sys.exit(f"another sender: {code} {text}")
s.rset()
s.sendmail(login, [other], f"From: {login}\r\nTo: {other}\r\nSubject: After a refusal\r\n\r\nhi\r\n")
code, text = s.docmd("MAIL", f"FROM:<{login}>")
code, text = s.rcpt("nobody@mall.example")
if code // 100 != 5:
    sys.exit(f"an unknown recipient: {code} {text}")
s.quit()
`

// TestRefusals: bad sign-ins, senders and links are refused clearly, and harm
// nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	login, password := s.password("host")
	_, port, _ := net.SplitHostPort(s.Submission)
	out, err := exec.Command(testpart.Need(t, "python3"), "-c", submitBadly, port, s.CA, login, password,
		"customer@mall.example").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	answers := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(answers) != 2 || !bytes.Equal(answers[0], answers[1]) {
		t.Errorf("the refusals tell which part was wrong: %q", answers)
	}
	s.mailWith(t, "customer", "After a refusal")

	for path, want := range map[string]int{"/c/AAAAAAAAAAAAAAAAAAAAAA": 404,
		"/c/x": 404, "/nothing": 404, "/healthz": 200} {
		res, err := http.Get(s.Web + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	start := time.Now()
	res, err := http.Post(s.Web+"/desk/sign-in", "application/json",
		strings.NewReader(fmt.Sprintf(`{"login":%q,"password":"wrong"}`, login)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if took := time.Since(start); res.StatusCode != http.StatusUnauthorized || took < 400*time.Millisecond {
		t.Errorf("a wrong password at the desk: %s after %v", res.Status, took)
	}

	// Scanners follow links: they ring nobody and claim nothing.
	s.send(t, "host", fmt.Sprintf(letter, "For a scanner", "scan"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "For a scanner"))
	for i := range 1000 {
		method := http.MethodGet
		if i%2 == 1 {
			method = http.MethodHead
		}
		req, err := http.NewRequest(method, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || len(res.Cookies()) > 0 {
			t.Fatalf("%s of the link: %s, %d cookies", method, res.Status, len(res.Cookies()))
		}
	}
	metrics, err := http.Get(s.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	if text := readAll(t, metrics); strings.Contains(text, "chmail_relay_attempts_total{") {
		t.Error("following the link made an attempt")
	}
}
