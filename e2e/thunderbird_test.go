// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/web/mailclient"
)

// thunderbird is Debian's Thunderbird on a screen of its own, driven over its Marionette
// port: scripts run in its main window as its own code does.
type thunderbird struct {
	t    *testing.T
	conn net.Conn
	from *bufio.Reader
	id   int
}

// quietPreferences keep Thunderbird from asking the Internet, and people, anything.
const quietPreferences = `
user_pref("marionette.port", 0);
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.spotlight.firstRunDone", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mail.rights.version", 1);
user_pref("mailnews.start_page.enabled", false);
user_pref("mailnews.auto_config_url", "");
user_pref("mail.biff.alert.show", false);
user_pref("mail.biff.play_sound", false);
user_pref("app.donation.eoy.version.viewed", 999);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("toolkit.telemetry.unified", false);
user_pref("extensions.update.enabled", false);
user_pref("extensions.blocklist.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://localhost:1");
user_pref("intl.locale.requested", "en-US");
user_pref("network.proxy.type", 1);
user_pref("xpinstall.signatures.required", false);
user_pref("extensions.webextensions.remote", false);
user_pref("extensions.webextOptionalPermissionPrompts", false);
user_pref("network.proxy.no_proxies_on", "localhost, 127.0.0.1");
`

// startThunderbird starts one for which a proxy is the Internet.
func startThunderbird(t *testing.T, proxy net.Addr) *thunderbird {
	t.Helper()
	profile := t.TempDir()
	host, port, _ := net.SplitHostPort(proxy.String())
	prefs := quietPreferences
	for _, kind := range []string{"http", "ssl"} {
		prefs += fmt.Sprintf("user_pref(\"network.proxy.%s\", %q);\nuser_pref(\"network.proxy.%[1]s_port\", %s);\n",
			kind, host, port)
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(prefs), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testpart.Need(t, "thunderbird"), "--marionette", "--remote-allow-system-access",
		"--no-remote", "--profile", profile)
	cmd.Env = append(os.Environ(), "DISPLAY="+screen(t), "HOME="+t.TempDir(), "MOZ_CRASHREPORTER_DISABLE=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	tb := &thunderbird{t: t}
	active := filepath.Join(profile, "MarionetteActivePort")
	for range 400 {
		if b, err := os.ReadFile(active); err == nil && len(b) > 0 {
			if tb.conn, err = net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(b))); err == nil {
				break
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	if tb.conn == nil {
		t.Fatal("Thunderbird opened no port for the test within 40 s")
	}
	t.Cleanup(func() { tb.conn.Close() })
	tb.from = bufio.NewReader(tb.conn)
	tb.read(nil)
	tb.ask("WebDriver:NewSession", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"timeouts": map[string]int{"script": 60000}}}}, nil)
	tb.ask("Marionette:SetContext", map[string]string{"value": "chrome"}, nil)
	return tb
}

// screen starts an X server without a picture, and returns its name.
func screen(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(testpart.Need(t, "Xvfb"), "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	number, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// read takes one answer: its length, a colon, JSON.
func (tb *thunderbird) read(into any) {
	tb.t.Helper()
	tb.conn.SetReadDeadline(time.Now().Add(90 * time.Second))
	length, err := tb.from.ReadString(':')
	n, convErr := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil || convErr != nil {
		tb.t.Fatalf("Thunderbird answered %q: %v", length, err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(tb.from, b); err != nil {
		tb.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			tb.t.Fatalf("%s: %v", b, err)
		}
	}
}

// ask sends a command of Marionette and decodes the value of its answer.
func (tb *thunderbird) ask(command string, params, into any) {
	tb.t.Helper()
	tb.id++
	b, err := json.Marshal([]any{0, tb.id, command, params})
	if err != nil {
		tb.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(tb.conn, "%d:%s", len(b), b); err != nil {
		tb.t.Fatal(err)
	}
	var answer [4]json.RawMessage
	tb.read(&answer)
	if string(answer[2]) != "null" {
		if command == "WebDriver:ExecuteScript" {
			tb.shot("failed")
		}
		tb.t.Fatalf("Thunderbird: %s: %s", command, answer[2])
	}
	var value struct{ Value json.RawMessage }
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer[3], &value); err != nil || json.Unmarshal(value.Value, into) != nil {
		tb.t.Fatalf("%s answered %s", command, answer[3])
	}
}

// run runs the body of an async function in the main window. until(f) in it waits for f
// to return something.
func (tb *thunderbird) run(into any, body string, args ...any) {
	tb.t.Helper()
	script := `const args = [...arguments];
const until = async (what, f, seconds = 30) => {
  for (let end = Date.now() + seconds * 1000; Date.now() < end; await new Promise((r) => setTimeout(r, 100))) {
    const found = await f();
    if (found) return found;
  }
  throw new Error('there is no ' + what);
};
return (async () => {` + body + `})();`
	if args == nil {
		args = []any{}
	}
	tb.ask("WebDriver:ExecuteScript", map[string]any{"script": script, "args": args, "sandbox": "system"}, into)
}

// shot keeps a picture of the window where CHMAIL_SHOTS says.
func (tb *thunderbird) shot(name string) {
	tb.t.Helper()
	dir := os.Getenv("CHMAIL_SHOTS")
	if dir == "" {
		return
	}
	var picture string
	tb.ask("WebDriver:TakeScreenshot", map[string]any{"full": false}, &picture)
	b, err := base64.StdEncoding.DecodeString(picture)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "thunderbird-"+name+".png"), b, 0o644)
	}
	if err != nil {
		tb.t.Error(err)
	}
}

// trust makes Thunderbird trust an authority.
func (tb *thunderbird) trust(der []byte) {
	tb.t.Helper()
	tb.run(nil, `Cc['@mozilla.org/security/x509certdb;1'].getService(Ci.nsIX509CertDB)
		.addCertFromBase64(args[0], 'CT,C,C');`, base64.StdEncoding.EncodeToString(der))
}

// internet is a proxy that has nothing but the names at which mail programs ask about a
// domain, over https: it leads them to the demo. authority signed its certificate.
func internet(t *testing.T, s *server, domain string) (proxy net.Addr, authority []byte) {
	t.Helper()
	cert, authority := certificate(t, mailclient.Names(domain)...)
	demo, err := url.Parse(s.Web)
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(demo) // Host stays
		r.Out.Host = r.In.Host
	}})
	site.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	site.StartTLS()
	t.Cleanup(site.Close)
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Host)
		if r.Method != http.MethodConnect || cert.Leaf.VerifyHostname(host) != nil {
			http.Error(w, "not there", http.StatusBadGateway)
			return
		}
		far, err := net.Dial("tcp", site.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer far.Close()
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer near.Close()
		fmt.Fprint(near, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() {
			io.Copy(far, near)
			far.Close()
		}()
		io.Copy(near, far)
	}))
	t.Cleanup(door.Close)
	return door.Listener.Addr(), authority
}

// certificate is one for names, and the authority that signed it: Thunderbird takes none
// that is its own.
func certificate(t *testing.T, names ...string) (cert tls.Certificate, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	}
	ca, leaf := of("authority of a test"), of(names[0])
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	leaf.DNSNames, leaf.KeyUsage = names, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if authority, err = x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &own.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own, Leaf: leaf}, authority
}

// addAccount types name, address and password into Thunderbird's Account Hub, and
// nothing else. Of what it found, it takes a protocol.
func (tb *thunderbird) addAccount(name, address, password, protocol string) {
	tb.t.Helper()
	tb.run(nil, `
const [name, address, password, protocol] = args;
await openAccountHub('MAIL');
const hub = await until('Account Hub', () => document.querySelector('account-hub-container')?.modal);
const view = await until('form', () => hub.querySelector('account-hub-email'));
const step = (tag) => until(tag, () => [...view.querySelectorAll(tag)].find((e) => !e.hidden && e.firstElementChild));
const type = (where, id, text) => {
  const field = where.querySelector('#' + id);
  field.value = text;
  field.dispatchEvent(new Event('input', { bubbles: true }));
};
const go = async () => (await until('Continue', () =>
  [...view.querySelectorAll('#forward')].find((b) => !b.disabled && !b.hidden))).click();
const start = await step('email-auto-form');
type(start, 'realName', name);
type(start, 'email', address);
await go();
const found = await step('email-config-found');
await until('protocol', () => !found.querySelector('#' + protocol).hidden);
found.querySelector('#' + protocol + ' input').click();
await go();
type(await step('email-password-form'), 'password', password);
await go();
`, name, address, password, protocol)
	tb.shot("account-" + protocol)
	tb.run(nil, `
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
await until('account', () => MailServices.accounts.accounts.some((a) => a.incomingServer.type === args[1] &&
  a.identities.some((i) => i.email === args[0])));
`, address, protocol)
}

// TestThunderbird: an account is there after name, address and password were typed, for
// IMAP and for POP3; mail is sent and fetched.
func TestThunderbird(t *testing.T) {
	s := startServer(t, filepath.Join(t.TempDir(), "state"))
	proxy, authority := internet(t, s, "mall.example")
	tb := startThunderbird(t, proxy)
	tb.trust(authority)
	ca, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := s.password("host")
	block, _ := pem.Decode(ca)
	tb.trust(block.Bytes)
	for protocol, role := range map[string]string{"imap": "customer", "pop3": "friend"} {
		login, password := s.password(role)
		tb.addAccount("Jae", login, password, protocol)
		// The demo has a mail for each.
		tb.run(nil, `
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const { incomingServer: server } = MailServices.accounts.accounts.find((a) => a.incomingServer.type === args[0]);
const inbox = await until('inbox', () => server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox));
await until('mail', () => {
  if (!server.serverBusy) server.getNewMessages(inbox, msgWindow, null);
  return inbox.getTotalMessages(false) > 0;
});`, protocol)
		tb.run(nil, `
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const account = MailServices.accounts.accounts.find((a) => a.incomingServer.type === args[0]);
const make = (id, kind) => Cc['@mozilla.org/messengercompose/' + id + ';1'].createInstance(kind);
const params = make('composeparams', Ci.nsIMsgComposeParams);
const fields = make('composefields', Ci.nsIMsgCompFields);
fields.to = args[1];
fields.from = account.defaultIdentity.email;
fields.subject = 'Sent over ' + args[0];
fields.body = 'Hello\r\n';
Object.assign(params, { composeFields: fields, format: Ci.nsIMsgCompFormat.PlainText,
  identity: account.defaultIdentity });
await MailServices.compose.initCompose(params)
  .sendMsg(Ci.nsIMsgCompDeliverMode.Now, account.defaultIdentity, account.key, null, null);`, protocol, host)
		if mail := s.mailWith(t, "host", "Sent over "+protocol); !strings.Contains(mail, "CHmail-Login: "+login) {
			t.Errorf("the mail is not stamped: %s", mail)
		}
	}
	tb.chat(s)
}

// chat tries the add-on: one signs in to be rung, a mail has the button, and a ring shows.
func (tb *thunderbird) chat(s *server) {
	t := tb.t
	t.Helper()
	xpi := filepath.Join(t.TempDir(), "chmail.xpi")
	pack := exec.Command("go", "run", "./deploy/thunderbird/pack", xpi)
	pack.Dir = ".."
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("packing the add-on: %v: %s", err, out)
	}
	tb.ask("Addon:Install", map[string]any{"path": xpi, "temporary": true}, nil)
	login, password := s.password("customer")
	tb.run(nil, `
document.querySelector('account-hub-container').modal.close();
const policy = WebExtensionPolicy.getByID('chmail@chmail.example');
const tabs = document.getElementById('tabmail');
const tab = tabs.openTab('contentTab', { url: policy.getURL('options.html'), linkHandler: 'single-page',
  triggeringPrincipal: policy.extension.principal });
const page = await until('settings', () => {
  const d = tab.browser.contentDocument;
  return d?.URL.startsWith('moz-extension:') && d.querySelector('#sign-in button')?.textContent && d;
});
const form = page.querySelector('#sign-in');
[form.server.value, form.login.value, form.password.value] = args;
const pressing = page.defaultView.windowUtils.setHandlingUserInput(true);
form.requestSubmit();
await until('sign-on', () => page.querySelector('#as').textContent);
pressing.destruct();
const { MailServices } = ChromeUtils.importESModule('resource:///modules/MailServices.sys.mjs');
const { incomingServer: server } = MailServices.accounts.accounts.find((a) => a.incomingServer.type === 'imap');
tabs.switchToTab(0);
const pane = tabs.currentAbout3Pane;
pane.displayFolder(server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox).URI);
await until('row', () => pane.threadTree?.view?.rowCount > 0);
pane.threadTree.selectedIndex = 0;
const view = tabs.currentAboutMessage.document;
await until('button with the availability of the sender', () => {
  const b = view.getElementById('chmail_chmail_example-messageDisplayAction-toolbarbutton');
  return b && !b.disabled && /Offline|Available/.test(b.getAttribute('tooltiptext') ?? b.label);
});`, s.Web, login, password)
	tb.shot("button")
	// The host got a mail of the customer, and presses its link.
	link := strings.Trim(headers(s.mailWith(t, "host", "Sent over imap"), "CHmail-Chat")[0], "<>")
	s.visit(t, link).send(frame.Frame{T: frame.TAttempt})
	tb.run(nil, `
const page = document.getElementById('tabmail').tabInfo
  .find((t) => t.browser?.contentDocument?.URL.startsWith('moz-ext')).browser.contentWindow;
const code = Cu.Sandbox(page, { sandboxPrototype: page, wantXrays: false });
await until('ring', () => Cu.evalInSandbox(
  'messenger.notifications.getAll().then((all) => Object.keys(all).length)', code));`)
}
