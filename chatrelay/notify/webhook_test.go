// SPDX-License-Identifier: GPL-3.0-or-later

package notify

import "testing"

func TestWebhookChecks(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://ntfy.example/x": true, "http://127.0.0.1:8080/x": true,
		"http://localhost/x": true, "http://[::1]/x": true,
		"http://ntfy.example/x": false, "http://10.0.0.1/": false, "https://a:b@ntfy.example/": false,
		"ftp://x/": false, "https:x": false, "": false,
	} {
		if err := (Webhook{URL: url, Format: HookJSON}).Check(); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	if (Webhook{URL: "https://x/", Format: "xml"}).Check() == nil ||
		(Webhook{URL: "https://x/", Format: HookMattermost, Secret: "x"}).Check() == nil {
		t.Error("a format or a secret that cannot be")
	}
	if got := plainMarkdown("@all [x](y) *b*"); got != "@\u200ball \\[x\\]\\(y\\) \\*b\\*" {
		t.Errorf("%q", got)
	}
}
