// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestAccount: people make passwords for devices and change their own at the desk,
// and what was open with an old one closes.
func TestAccount(t *testing.T) {
	t.Parallel()
	chromium := browser(t)
	for _, l := range looks() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			changeAccount(&tour{T: t, look: l, chromium: chromium, w: words(t, l.lang), s: startServer(t, t.TempDir())})
		})
	}
}

const devicePassword = `document.querySelector(".made code")?.textContent ?? ""`

func changeAccount(o *tour) {
	const login, first, second = "new@mall.example", "the first password", "the second password"
	o.s.adminWith(o.T, first+"\n", "user", "add", login)
	desk := o.open("account", o.s.Web+"/desk#settings")
	elsewhere := o.s.deskSession(o.T, login, first)
	desk.fill(o.w("signin.login"), login)
	desk.fill(o.w("signin.password"), first)
	desk.press(o.w("signin.button"))

	desk.press(o.w("account.deviceAdd"))
	desk.has(o.w("account.deviceNameWrong"), 10*time.Second)
	desk.insert(o.w("account.deviceName"), "Phone")
	desk.press(o.w("account.deviceAdd"))
	desk.has(o.w("account.madeOnce"), 10*time.Second)
	desk.has(o.w("account.unused"), 10*time.Second)
	phone := desk.eval(devicePassword)
	desk.check("device")
	mail := o.s.pop3(o.T, login, phone)
	if !mail.open {
		o.Error("the device's password does not open the mail")
	}
	if status := o.s.deskStatus(o.T, login, phone); status != http.StatusUnauthorized {
		o.Errorf("with the device's password the desk answers %d", status)
	}
	desk.press(o.w("account.revokeWhich", "name", "Phone"))
	desk.has(o.w("account.noDevices"), 10*time.Second)
	mail.wantEnd()
	if again := o.s.pop3(o.T, login, phone); again.open {
		o.Error("a revoked password opens the mail")
	}

	desk.fill(o.w("account.current"), "not the first")
	desk.fill(o.w("account.new"), "short")
	desk.press(o.w("account.change"))
	desk.has(o.w("account.short", "n", "8"), 10*time.Second)
	desk.fill(o.w("account.new"), second) // what stands there is selected
	desk.press(o.w("account.change"))
	desk.has(o.w("account.currentWrong"), 10*time.Second)
	desk.check("password-wrong")
	mail = o.s.pop3(o.T, login, first)
	desk.fill(o.w("account.current"), first)
	desk.press(o.w("account.change"))
	desk.has(o.w("account.changed"), 10*time.Second)
	desk.check("password-changed")
	mail.wantEnd()
	if status := elsewhere(); status != http.StatusUnauthorized {
		o.Errorf("another browser's session: %d", status)
	}
	desk.run(chromedp.Reload())
	desk.waitFor("button", o.w("account.change"), 10*time.Second) // still signed in
	if o.s.pop3(o.T, login, first).open {
		o.Error("the former password opens the mail")
	}
	if !o.s.pop3(o.T, login, second).open {
		o.Error("the new password does not open the mail")
	}
}

// deskStatus is what the desk answers to a sign-in.
func (s *server) deskStatus(t *testing.T, login, password string) int {
	t.Helper()
	res, err := http.Post(s.Web+"/desk/sign-in", "application/json",
		strings.NewReader(fmt.Sprintf(`{"login":%q,"password":%q}`, login, password)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// deskSession signs in, and asks later whether the session is good.
func (s *server) deskSession(t *testing.T, login, password string) (status func() int) {
	t.Helper()
	res, err := http.Post(s.Web+"/desk/sign-in", "application/json",
		strings.NewReader(fmt.Sprintf(`{"login":%q,"password":%q}`, login, password)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	cookies := res.Cookies()
	return func() int {
		req, err := http.NewRequest("GET", s.Web+"/desk/rooms", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cookies {
			req.AddCookie(c)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
}

// popSession is a POP3 session, open if the password was right.
type popSession struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	open bool
}

func (s *server) pop3(t *testing.T, login, password string) *popSession {
	t.Helper()
	conn, err := net.Dial("tcp", s.POP3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := &popSession{t: t, conn: conn, in: bufio.NewReader(conn)}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	for _, line := range []string{"", "USER " + login, "PASS " + password} {
		if line != "" {
			fmt.Fprintf(conn, "%s\r\n", line)
		}
		answer, err := p.in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		p.open = strings.HasPrefix(answer, "+OK")
	}
	return p
}

func (p *popSession) wantEnd() {
	p.t.Helper()
	if line, err := p.in.ReadString('\n'); err == nil {
		p.t.Errorf("the session says %q instead of ending", line)
	}
}
