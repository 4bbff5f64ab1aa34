// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// narrow is a browser whose requests to the server pass a proxy without WebSockets, in a network without UDP. With
// whole the proxy hands an answer on when it has ended, as some scanners do.
func narrow(t *testing.T, s *server, whole bool) (b *page) {
	t.Helper()
	to, err := url.Parse(s.Web)
	if err != nil {
		t.Fatal(err)
	}
	back := *to
	back.Host = "127.0.0.1:" + to.Port()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&back)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Upgrade")
			r.Out.Header.Del("Connection")
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	if whole {
		proxy.ModifyResponse = func(res *http.Response) error {
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
				return nil
			}
			_, err := io.Copy(io.Discard, res.Body)
			return err
		}
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	at, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	chrome := browser(t, chromedp.Flag("disable-quic", true),
		chromedp.Flag("host-resolver-rules", fmt.Sprintf("MAP localhost:%s %s", to.Port(), at.Host)))
	p := open(t, chrome, "behind a proxy", "about:blank")
	p.before(`window.WebTransport = class {
		constructor() { this.closed = this.ready = new Promise(() => {}); }
		close() {}
	};`)
	return p
}

// TestOverHTTP: where neither UDP nor WebSockets get through, both sides talk over HTTP, and come back.
func TestOverHTTP(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	s.send(t, "host", fmt.Sprintf(letter, "A narrow way", "narrow"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: A narrow way"))
	desk := narrow(t, s, false)
	desk.run(chromedp.Navigate(s.Web + "/desk"))
	s.signIn(desk, "host")
	customer := narrow(t, s, false)
	customer.run(chromedp.Navigate(link))
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	desk.press("Answer")
	customer.statusBegins(20*time.Second, "Connected")
	for i := range 3 {
		customer.say(fmt.Sprintf("question %d", i))
		desk.hears(fmt.Sprintf("question %d", i))
		desk.say(fmt.Sprintf("answer %d", i))
		customer.hears(fmt.Sprintf("answer %d", i))
	}
	if over := customer.eval(`document.querySelector("[data-carrier]").dataset.carrier`); over != "http" {
		t.Errorf("they talk over %q", over)
	}
	customer.run(chromedp.Reload())
	customer.statusBegins(20*time.Second, "Connected")
	customer.hears("answer 2")
	if text := customer.log(); strings.Count(text, "answer 2") != 1 {
		t.Errorf("after loading again: %s", text)
	}
}

// TestNothingGetsThrough: the page says so and how to answer, and the host is not left ringing.
func TestNothingGetsThrough(t *testing.T) {
	s := startServer(t, t.TempDir())
	s.send(t, "host", fmt.Sprintf(letter, "No way", "noway"), "customer@mall.example")
	_, link := checkStamp(t, s, s.mailWith(t, "customer", "Subject: No way"))
	desk := open(t, browser(t), "desk", s.Web+"/desk")
	s.signIn(desk, "host")
	customer := narrow(t, s, true)
	customer.run(chromedp.Navigate(link))
	customer.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	desk.wait("the end of the ring", 15*time.Second, func() bool {
		_, rings := desk.find("alertdialog", "Incoming chat")
		return !rings
	})
	customer.waitFor("link", "Reply by e-mail", 25*time.Second)
	customer.statusBegins(time.Second, "Connecting")
}
