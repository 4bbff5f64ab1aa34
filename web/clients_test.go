// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/chmail/chmail/web/mailclient"
)

var (
	securePorts = []mailclient.Server{{Protocol: "smtp", Port: 465, TLS: true}, {Protocol: "smtp", Port: 587},
		{Protocol: "imap", Port: 993, TLS: true}, {Protocol: "pop3", Port: 995, TLS: true}}
	popAlone = []mailclient.Server{{Protocol: "smtp", Port: 587}, {Protocol: "pop3", Port: 110}}
)

func mailSite(t *testing.T, servers []mailclient.Server) *site {
	return newSite(t, func(o *Options) {
		o.MailPrograms = &MailPrograms{Host: "chat.mall.example", Servers: func() []mailclient.Server { return servers },
			Domain: func(d string) bool { return d == "mall.example" }}
	})
}

func (st *site) ask(method, host, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = host
	return serve(st.server, r)
}

// inOrder fails unless a text has the parts, one behind the other.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	for rest := text; len(parts) > 0; parts = parts[1:] {
		_, after, ok := strings.Cut(rest, parts[0])
		if !ok {
			t.Errorf("%q is missing, or not in its place, in %s", parts[0], text)
			return
		}
		rest = after
	}
}

// TestAutoconfig: Thunderbird is told the ports that there are, at every address at which
// it asks, and of an address that nobody has the same as of any other.
func TestAutoconfig(t *testing.T) {
	t.Parallel()
	st := mailSite(t, securePorts)
	const dotWell = "/.well-known/autoconfig/mail/config-v1.1.xml"
	var first string
	for _, c := range []struct{ host, path string }{
		{"autoconfig.mall.example", "/mail/config-v1.1.xml"},
		{"AutoConfig.Mall.Example:443", "/mail/config-v1.1.xml?emailaddress=mina%40mall.example"},
		{"chat.mall.example", "/mail/config-v1.1.xml?emailaddress=nobody@MALL.example"},
		{"mall.example", dotWell}, {"chat.mall.example", dotWell + "?emailaddress=x@mall.example"},
	} {
		w := st.ask("GET", c.host, c.path, "")
		if first == "" {
			first = w.Body.String()
		}
		if w.Code != 200 || w.Body.String() != first || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
			t.Errorf("%v: %d %v %s", c, w.Code, w.Header(), w.Body)
		}
	}
	inOrder(t, first, `<clientConfig version="1.1">`, "<domain>mall.example</domain>", `type="imap"`,
		"<hostname>chat.mall.example</hostname>", "<port>993<", "<socketType>SSL<", "<username>%EMAILADDRESS%<",
		"<authentication>password-cleartext<", `type="pop3"`, "<port>995<", `<outgoingServer type="smtp"`, "<port>465<",
		"<port>587<", "STARTTLS")
	for _, address := range []string{"a@far.example", "a@b@", "%3Ca@mall.example%3E"} {
		if w := st.ask("GET", "mall.example", dotWell+"?emailaddress="+address, ""); w.Code != 404 {
			t.Errorf("%s: %d", address, w.Code)
		}
	}
	if w := mailSite(t, popAlone).ask("GET", "mall.example", dotWell, ""); strings.Contains(w.Body.String(), "imap") {
		t.Errorf("IMAP is not served: %s", w.Body)
	}
	if w := mailSite(t, securePorts[:2]).ask("GET", "mall.example", dotWell, ""); w.Code != 404 {
		t.Errorf("nothing to read mail with: %d %s", w.Code, w.Body)
	}
}

const outlookAsks = `<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request>
<EMailAddress>ADDRESS</EMailAddress><AcceptableResponseSchema>` +
	`http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
</Request></Autodiscover>`

func TestAutodiscover(t *testing.T) {
	t.Parallel()
	st := mailSite(t, securePorts)
	asks := func(address string) string { return strings.Replace(outlookAsks, "ADDRESS", address, 1) }
	for _, path := range []string{"/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"} {
		w := st.ask("POST", "autodiscover.mall.example", path, asks("a&amp;b@mall.example"))
		inOrder(t, w.Body.String(), `outlook/responseschema/2006a">`, "<AccountType>email<", "<Action>settings<", "<Type>IMAP<",
			"<Server>chat.mall.example<", "<Port>993<", "<LoginName>a&amp;b@mall.example<", "<Encryption>SSL<",
			"<Type>POP3<", "<Type>SMTP<", "<Port>465<")
		w = st.ask("GET", "autodiscover.mall.example", path, "")
		inOrder(t, w.Body.String(), "<Type>IMAP<")
		if strings.Contains(w.Body.String(), "LoginName") {
			t.Errorf("nobody named a login: %s", w.Body)
		}
	}
	w := mailSite(t, popAlone).ask("POST", "x", "/autodiscover/autodiscover.xml", asks("a@mall.example"))
	inOrder(t, w.Body.String(), "<Type>POP3<", "<Port>110<", "<Encryption>TLS<")
	bomb := `<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>`
	for name, body := range map[string]string{
		"nothing": "", "no XML": "a@mall.example",
		"Exchange": strings.Replace(asks("a@mall.example"), "2006a", "2006b", 1),
		"entities": bomb + asks("&b;@mall.example"), "a file": bomb + asks("&file;"),
		"deep": strings.Repeat("<a>", 2000), "large": asks(strings.Repeat("a", 5000) + "@mall.example"),
	} {
		if w := st.ask("POST", "mall.example", "/autodiscover/autodiscover.xml", body); w.Code != 400 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := st.ask("POST", "mall.example", "/autodiscover/autodiscover.xml", asks("a@far.example")); w.Code != 404 {
		t.Errorf("a domain that is not here: %d", w.Code)
	}
}

// TestSetup: people's page, and the profile for Apple's Mail.
func TestSetup(t *testing.T) {
	t.Parallel()
	st := mailSite(t, securePorts)
	empty := st.do("GET", "/setup/mail", "")
	st.want(empty, 200)
	inOrder(t, empty.body, "Set up your mail program", "your whole e-mail address", "IMAP", "993", "SSL/TLS",
		"POP3", "995", "465",
		"Thunderbird", "Outlook", "iPhone", "Type your address above first", "Android", "Choose <bdi>IMAP</bdi>")
	r := st.do("GET", "/setup/mail?address=mina%40mall.example", "", "Accept-Language", "ko")
	inOrder(t, r.body, `value="mina@mall.example"`, "<code>mina@mall.example</code>",
		`href="/setup/mail.mobileconfig?address=mina%40mall.example"`, "프로파일 받기")
	r = st.do("GET", "/setup/mail?address=x%40far.example%3Cb%3E", "")
	inOrder(t, r.body, `value="x@far.example&lt;b&gt;"`, `role="alert"`)
	if strings.Contains(r.body, "mobileconfig") {
		t.Errorf("there is a profile for a domain that is not here: %s", r.body)
	}

	r = st.do("GET", "/setup/mail.mobileconfig?address=a%26b%40mall.example", "")
	st.want(r, 200)
	if kind := r.Header.Get("Content-Type"); kind != "application/x-apple-aspen-config" {
		t.Error(kind)
	}
	inOrder(t, r.body, "<key>PayloadType</key><string>Configuration<", "not signed", "<array>",
		"com.apple.mail.managed",
		"<string>EmailTypeIMAP<", "<string>a&amp;b@mall.example<", "IncomingMailServerPortNumber</key><integer>993<",
		"OutgoingMailServerPortNumber</key><integer>465<", "</array>", "</plist>")
	uuid := regexp.MustCompile(`<string>([0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12})<`)
	if ids := uuid.FindAllString(r.body, -1); len(ids) != 2 || ids[0] == ids[1] {
		t.Errorf("UUIDs %v", ids)
	}
	if again := st.do("GET", "/setup/mail.mobileconfig?address=a%26b%40mall.example", ""); again.body != r.body {
		t.Error("the same profile has other identifiers, and would not take the place of the older one")
	}
	inOrder(t, mailSite(t, popAlone).do("GET", "/setup/mail.mobileconfig?address=a@mall.example", "").body,
		"EmailTypePOP", "<integer>110<", "<integer>587<")
	st.want(newSite(t).do("GET", "/setup/mail", ""), 404)
}
