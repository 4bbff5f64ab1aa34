// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import "testing"

func TestForeign(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"GET / HTTP/1.1\r\n": true, "\x16\x03\x01\x02\x00\x01": false, "SSH-2.0-Go\r\n": true,
		"EHLO mail.example\r\n": false, "USER mina\r\n": false, "a1 CAPABILITY\r\n": false, "\r\n": false,
	} {
		if Foreign([]byte(line)) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
	for path, want := range map[string]bool{
		"/wp-login.php": true, "/.env": true, "/x/.git/config": true, "/favicon.ico": false, "/robots.txt": false,
		"/apple-touch-icon.png": false, "/c/3q2-7wAAQ0mXk1Zr9m0V4A": false,
		"/.well-known/acme-challenge/x": false, "/.well-known/autoconfig/mail/config-v1.1.xml": false,
	} {
		if ProbedPath(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}
