// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mall/sample"
	"github.com/chmail/chmail/mall/store"
)

// signInMall signs a browser in at the mall.
func (s *server) signInMall(p *page, db *store.Store, login string) {
	p.t.Helper()
	cookie := "a-cookie-of-" + login
	sum := sha256.Sum256([]byte(cookie))
	err := db.AddSession(p.t.Context(), base64.RawURLEncoding.EncodeToString(sum[:]), login, time.Now())
	if err == nil {
		_, err = ask(p, network.SetCookie, network.SetCookieParams{Name: "mall_session", Value: cookie, URL: s.Mall})
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// TestPublicity: a shop publicises goods to the mall's 200 members and the customer. The
// customer reads the mail by POP3, follows its link and presses Chat now; the shop's
// desk rings and answers. Then they unsubscribe with one click, and a mail comes back.
func TestPublicity(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir())
	db := mallStore(t, s.state)
	host, _ := s.password("host")
	shop, err := db.ShopBySlug(t.Context(), "lamps")
	if err != nil {
		t.Fatal(err)
	}

	// 1. The shop writes a campaign, chooses goods, looks at it and sends it.
	chrome := browser(t)
	console := open(t, chrome, "console", s.Mall+"/")
	s.signInMall(console, db, host)
	console.run(chromedp.Navigate(s.Mall + "/console/lamps/publicity/new"))
	const subject = "Lamps that fold flat"
	console.fill("Subject", subject)
	console.fill("Text", "Hello, **they are here**.")
	console.eval(`document.querySelector("[name=goods]").click(), ""`)
	console.shot("campaign-form")
	console.press("Save and preview")
	console.waitFor("button", "Send now", 20*time.Second)
	console.waitFor("Iframe", "On a phone", 10*time.Second)
	console.shot("campaign-draft")
	console.press("Send now")
	var sent store.Campaign
	figures := func() store.CampaignFigures {
		t.Helper()
		all, err := db.Campaigns(t.Context(), shop.ID, "", 1)
		if err != nil || len(all) != 1 || all[0].Subject != subject {
			t.Fatalf("campaigns %+v, %v", all, err)
		}
		sent = all[0]
		f, err := db.CampaignFigures(t.Context(), shop.ID, sent.ID)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	members := sample.Members("mall.example")
	console.wait("the end of the campaign", 3*time.Minute, func() bool {
		figures()
		return sent.State == store.CampaignDone
	})
	if f := figures(); f.Queued != len(members)+1 || f.All() != f.Queued {
		t.Errorf("figures %+v", f)
	}

	// 2. The customer's mail: goods, signature, and a link that rings the shop.
	mail := s.mailWith(t, "customer", subject)
	checkSignature(t, s, mail, "list-unsubscribe", "list-unsubscribe-post")
	if text := decode(body(mail)); !strings.Contains(text, s.Mall+"/goods/") ||
		!strings.Contains(text, s.Mall+"/pictures/") {
		t.Errorf("the mail shows no goods:\n%s", text)
	}
	link := strings.Trim(headers(mail, "CHmail-Chat")[0], "<>")
	desk := open(t, chrome, "host", s.Web+"/desk")
	s.signIn(desk, "host")
	jun := open(t, chrome, "customer", link)
	if f := figures(); f.Talks != 0 {
		t.Errorf("the link was opened, and %d talk", f.Talks)
	}
	jun.press("Chat now")
	desk.waitFor("alertdialog", "Incoming chat", 15*time.Second)
	desk.press("Answer")
	jun.statusBegins(20*time.Second, "Connected")
	jun.say("Do they fold?")
	desk.hears("Do they fold?")
	desk.say("They do.")
	jun.hears("They do.")
	console.wait("the answered talk in the figures", 10*time.Second, func() bool {
		f := figures()
		return f.Talks == 1 && f.Answered == 1
	})
	console.run(chromedp.Navigate(s.Mall + "/console/lamps/publicity/" + sent.ID))
	console.shot("campaign-sent")

	// 3. A GET of the link that unsubscribes changes nothing, one click does.
	away := strings.Trim(unfolded(mail, "List-Unsubscribe"), "<>")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(addr) // browsers alone know what *.localhost is
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	}}}
	for _, c := range []struct {
		send func() (*http.Response, error)
		want int
	}{
		{func() (*http.Response, error) { return client.Get(away) }, 0},
		{func() (*http.Response, error) {
			return client.PostForm(away, url.Values{"List-Unsubscribe": {"One-Click"}})
		}, 1},
	} {
		res, err := c.send()
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if f := figures(); res.StatusCode != http.StatusOK || f.Unsubscribed != c.want {
			t.Errorf("%s %s: %s, %d unsubscribed", res.Request.Method, away, res.Status, f.Unsubscribed)
		}
	}

	// 4. A mail system says that the mail could not be delivered.
	back := strings.Trim(headers(mail, "Return-Path")[0], "<>")
	report := strings.ReplaceAll(fmt.Sprintf(bounce, back), "\n", "\r\n")
	mta, err := smtp.Dial(s.SMTP)
	if err != nil {
		t.Fatal(err)
	}
	defer mta.Close()
	if err := errors.Join(mta.Mail(""), mta.Rcpt(back)); err != nil {
		t.Fatal(err)
	}
	out, err := mta.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(out, report); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if f := figures(); f.Bounced != 1 || f.Unsubscribed != 0 {
		t.Errorf("after a bounce: %+v", f)
	}
	twice := 0
	for _, m := range s.fetch(t, "customer") {
		twice += strings.Count(m, "Subject: "+subject)
	}
	if twice != 1 {
		t.Errorf("the customer got it %d times", twice)
	}

	// 5. Everybody else has it once.
	s.stop(t)
	boxes, err := mailstore.Open(filepath.Join(s.state, mailstore.DefaultPath), mailstore.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer boxes.Close()
	for _, login := range members {
		box, err := boxes.Mailbox(login, mailstore.Inbox)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := box.Status(); err != nil || st.Messages != 1 {
			t.Errorf("%s has %d mails, %v", login, st.Messages, err)
		}
		box.Close()
	}
}

// unfolded is a field that may go over several lines.
func unfolded(mail, name string) string {
	head, _, _ := strings.Cut(mail, "\r\n\r\n")
	head = strings.NewReplacer("\r\n ", " ", "\r\n\t", " ").Replace(head)
	for line := range strings.Lines(head) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

const bounce = `From: MAILER-DAEMON@far.example
To: %s
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; far.example

Final-Recipient: rfc822; customer@far.example
Action: failed
Status: 5.1.1

--b--
`
