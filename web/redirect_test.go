// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestRedirect: plain HTTP leads to the same page over TLS, the authority is answered, and other
// mail servers find the policies of our domains.
func TestRedirect(t *testing.T) {
	t.Parallel()
	s := &Server{opts: Options{
		Base: &url.URL{Scheme: "https", Host: "chat.mall.example:8443"},
		Challenge: func(w http.ResponseWriter, r *http.Request) bool {
			ours := strings.HasPrefix(r.URL.Path, "/.well-known/acme-challenge/")
			if ours {
				w.Write([]byte("key"))
			}
			return ours
		},
		MailPolicy: func(domain string) string {
			return map[string]string{"mall.example": "version: STSv1\r\n"}[domain]
		},
	}}
	for at, to := range map[string]string{
		"http://chat.mall.example/desk?x=1":                     "https://chat.mall.example:8443/desk?x=1",
		"http://CHAT.mall.example:80//far.example/":             "https://chat.mall.example:8443//far.example/",
		"http://autoconfig.mall.example/mail/":                  "https://autoconfig.mall.example/mail/",
		"http://[2001:db8::1]/":                                 "https://[2001:db8::1]/",
		"http://chat.mall.example/.well-known/acme-challenge/1": "",
	} {
		rec := httptest.NewRecorder()
		s.redirect(rec, httptest.NewRequest("GET", at, nil))
		if got := rec.Header().Get("Location"); got != to || to == "" && rec.Body.String() != "key" {
			t.Errorf("%s leads to %q, want %q: %s", at, got, to, rec.Body)
		}
	}
	rec := httptest.NewRecorder()
	s.mailPolicy(rec, httptest.NewRequest("GET", "https://MTA-STS.mall.example:443/.well-known/mta-sts.txt", nil))
	if rec.Body.String() != "version: STSv1\r\n" || rec.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("the policy is %q, %v", rec.Body, rec.Header())
	}
}
