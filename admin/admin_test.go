// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/presence"
	"github.com/chmail/chmail/presence/local"
)

// world is a server's parts, on the disk but for the passwords.
type world struct {
	state string
	mail  Mail
	rooms *store.Store
	dir   Presence
	// addresses is nil where a test needs none.
	addresses *addresses.Store
	ending    chan string // logins that were signed out

	mu        sync.Mutex
	passwords map[string]string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{state: t.TempDir(), passwords: map[string]string{}, ending: make(chan string, 10)}
	mail, err := mailstore.Open(filepath.Join(w.state, "mailstore"), mailstore.Options{MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mail.Close() })
	w.mail = mail
	w.rooms, err = store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(w.state, "rooms.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.rooms.Close() })
	dir, err := local.Open(local.Options{Ranges: presence.HostRanges{{Host: "chat.mall.example"}}, ID: "id"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	w.dir = dir
	if err := os.WriteFile(filepath.Join(w.state, "c.conf"), []byte("# a configuration\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) owner() *Owner {
	return NewOwner(Options{Parts: w, State: w.state, Config: filepath.Join(w.state, "c.conf"),
		Mall: mallIn(w.state), Files: filepath.Join(w.state, "files"), Domains: []string{"mall.example"}})
}

// mallIn are the files of a mall below a folder.
func mallIn(dir string) MallFiles {
	return MallFiles{filepath.Join(dir, "shop", "goods.db"), filepath.Join(dir, "shop", "keys"),
		filepath.Join(dir, "shop", "pictures")}
}

// client is a client of a server of this world.
func (w *world) client(t *testing.T) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), SocketName)
	s, err := Serve(path, w.owner(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := Dial(path, Choice{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) Accounts(name string) (Accounts, error) {
	if name != "" {
		return nil, errors.New("there is no block named " + name)
	}
	return w, nil
}
func (w *world) Mailboxes(string) (Mailboxes, error)  { return boxes{w.mail}, nil }
func (w *world) Mail(string) (Mail, error)            { return w.mail, nil }
func (w *world) Rooms() (Rooms, error)                { return w.rooms, nil }
func (w *world) Presence() (Presence, error)          { return w.dir, nil }
func (w *world) Addresses() (*addresses.Store, error) { return w.addresses, nil }
func (w *world) Mall() (Mall, error)                  { return w, nil }
func (w *world) Sessions() []Sessions                 { return []Sessions{w} }
func (w *world) Guard() (Guard, error)                { return nil, ErrNoGuard }
func (w *world) Queue() (Queue, error)                { return nil, errors.New("no queue") }
func (w *world) Door() (Door, error)                  { return w, nil }

func (w *world) Invite(life time.Duration) (string, error) {
	return "https://chat.mall.example/download?invitation=" + life.String(), nil
}

func (w *world) SignOut(_ context.Context, login string) error {
	w.ending <- login
	return nil
}

// RotateKeys is the mall's.
func (w *world) RotateKeys(context.Context) (int, error) { return 7, nil }

func (w *world) ListUsers() ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.passwords)), nil
}

func (w *world) CreateUser(login, password string) error { return w.SetUserPassword(login, password) }

func (w *world) SetUserPassword(login, password string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.passwords[strings.ToLower(login)] = password
	return nil
}

func (w *world) DeleteUser(login string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.passwords, strings.ToLower(login))
	return nil
}

// boxes are accounts of a mail store, as maddy's modules have them.
type boxes struct{ Mail }

func (b boxes) ListIMAPAccts() ([]string, error) { return b.Accounts() }
func (b boxes) CreateIMAPAcct(login string) error {
	return b.CreateAccount(strings.ToLower(login), mailstore.DefaultFolders...)
}
func (b boxes) DeleteIMAPAcct(login string) error {
	return b.Mail.(*mailstore.Store).DeleteAccount(strings.ToLower(login))
}

func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client(t), t.Context()
	if err := c.AddUser(ctx, "Host@mall.example", "the first"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetPassword(ctx, "Host@mall.example", "the second"); err != nil {
		t.Error(err)
	}
	if login := <-w.ending; login != "host@mall.example" {
		t.Errorf("with a new password the sessions of %q ended", login)
	}
	for want, err := range map[string]error{
		"is there already":            c.MayAdd(ctx, "host@mall.example"),
		"is not a login":              c.AddUser(ctx, "host", "x"),
		"not a domain of this server": c.AddUser(ctx, "host@other.example", "x"),
		"no password":                 c.AddUser(ctx, "new@mall.example", ""),
		"longer than 200":             c.SetPassword(ctx, "host@mall.example", strings.Repeat("x", 201)),
		"shorter than 8":              c.SetPassword(ctx, "host@mall.example", "seven77"),
		"have no app passwords":       c.RevokeAppPassword(ctx, "host@mall.example", "phone"),
		"there is no account a@b":     c.SetPassword(ctx, "a@b", "x"),
		"there is no account c@d":     c.RemoveUser(ctx, "c@d"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if got, err := c.Logins(ctx); err != nil || !slices.Equal(got, []string{"host@mall.example"}) {
		t.Error(got, err)
	}
	if err := c.RemoveUser(ctx, "host@mall.example"); err != nil {
		t.Error(err)
	}
	if login := <-w.ending; login != "host@mall.example" {
		t.Errorf("with the account the sessions of %q ended", login)
	}
	if got, err := c.Logins(ctx); err != nil || got == nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if st, err := c.Stats(ctx); err != nil || st.Accounts != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	c.query = "auth=other"
	if _, err := c.Logins(ctx); err == nil || !strings.Contains(err.Error(), "no block named other") {
		t.Error(err)
	}
}

func TestMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client(t), t.Context()
	if err := c.CreateAccount("c@x", mailstore.DefaultFolders...); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateAccount("c@x"); !errors.Is(err, mailstore.ErrExists) {
		t.Error(err)
	}
	// It is more than a server reads after it has answered.
	big := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcd\r\n", 100<<10)
	to := mailstore.Recipient{Login: "c@x", Mailbox: "Old", UID: 77, Validity: 9}
	if err := c.Import(ctx, to, strings.NewReader(big), int64(len(big))); err != nil {
		t.Error(err)
	}
	to.Login = "b@x"
	if err := c.Import(ctx, to, strings.NewReader(big), int64(len(big))); !errors.Is(err, mailstore.ErrNoAccount) {
		t.Error(err)
	}
	if err := c.Import(ctx, mailstore.Recipient{Login: "c@x"}, strings.NewReader("short"), 10); err == nil {
		t.Error("took half a message")
	}
	if st, err := c.Stats(ctx); err != nil || st.Messages != 1 || st.Accounts != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if r, err := c.Check(ctx, nil); err != nil || r.Messages != 1 || r.Found != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	out, err := FolderAt(filepath.Join(t.TempDir(), "new", "out"))
	if err != nil {
		t.Fatal(err)
	}
	done, err := c.ExportMail(ctx, MailExport{To: out, Format: "maildir"}, func(int, int) {})
	if err != nil || done != (MailExported{1, 1}) {
		t.Error(done, err)
	}
	mails, _ := filepath.Glob(filepath.Join(out.Path, "c@x", ".Old", "cur", "*"))
	if len(mails) != 1 {
		t.Errorf("exported %q", mails)
	} else if b, err := os.ReadFile(mails[0]); err != nil || string(b) != big {
		t.Errorf("exported %d octets of %d: %v", len(b), len(big), err)
	}
}

// TestGone: a command that is interrupted, and a server that ends, end what runs.
func TestGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stuck := &slowMail{Mail: w.mail, began: make(chan struct{}), ended: make(chan error, 1)}
	w.mail = stuck
	c := w.client(t)
	to, err := FolderAt(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- c.Backup(ctx, to) }()
	<-stuck.began
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-stuck.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the server went on: %v", err)
	}

	path := filepath.Join(t.TempDir(), SocketName)
	s, err := Serve(path, w.owner(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = Dial(path, Choice{}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { failed <- c.Backup(t.Context(), to) }()
	<-stuck.began
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("a backup of a server that ended")
	}
	if left, _ := filepath.Glob(to.Path + "*"); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the socket is still there", err)
	}
}

// slowMail is mail whose backup takes until its context ends.
type slowMail struct {
	Mail
	began chan struct{}
	ended chan error
}

func (m *slowMail) Backup(ctx context.Context, _ string) error {
	m.began <- struct{}{}
	<-ctx.Done()
	m.ended <- ctx.Err()
	return ctx.Err()
}

// TestStaleSocket: a socket that a killed server left is replaced, and is the
// owner's alone.
func TestStaleSocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Dial(path, Choice{}); err == nil {
		t.Error("a server that is gone answers")
	}
	s, err := Serve(path, w.owner(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if c, err := Dial(path, Choice{}); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

// TestBounds: a request that is no request, and arguments without an end.
func TestBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client(t), t.Context()
	if err := c.MayAdd(ctx, strings.Repeat("x", maxLine)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%.200v", err)
	}
	_, err := ask[none](ctx, c, "/fly", none{}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "an older one") {
		t.Error(err)
	}
	_, err = ask[none](ctx, c, "/users/add", []int{1}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "arguments") {
		t.Error(err)
	}
}

// TestClaim: a process waits for another one that has the state directory, as
// long as it was told.
func TestClaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		command, err := Claim(t.Context(), dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Claim(t.Context(), dir, time.Second); !errors.Is(err, ErrClaimed) {
			t.Error(err)
		}
		go func() {
			time.Sleep(Patience / 2)
			command.Close()
		}()
		began := time.Now()
		server, err := Claim(t.Context(), dir, Patience)
		if err != nil || time.Since(began) < Patience/2 {
			t.Fatal(time.Since(began), err)
		}
		server.Close()
	})
}

// TestConnect: a command is a client of a server, or has the state directory.
func TestConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), SocketName)
	client, claim, err := Connect(t.Context(), path, w.state, Choice{})
	if err != nil || client != nil {
		t.Fatal(client, err)
	}
	defer claim.Close()
	s, err := Serve(path, w.owner(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client, none, err := Connect(t.Context(), path, w.state, Choice{})
	if err != nil || none != nil {
		t.Fatal(none, err)
	}
	client.Close()
}

// TestFolder: the server does not write into another folder of the same name,
// and says whose rights count.
func TestFolder(t *testing.T) {
	t.Parallel()
	f, err := FolderAt(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.same(); err != nil {
		t.Error(err)
	}
	f.Ino++
	if err := f.same(); err == nil || !strings.Contains(err.Error(), "sees another folder at") {
		t.Error(err)
	}
	for _, refused := range []error{fs.ErrPermission, syscall.EROFS} {
		rights := "with the rights of " + nameOf(os.Geteuid())
		if err := f.explain(refused); !errors.Is(err, refused) || !strings.Contains(err.Error(), rights) {
			t.Error(err)
		}
	}
	if err := f.explain(io.EOF); err != io.EOF {
		t.Error(err)
	}
}

// TestLists: what who and grants list, and the names of their fields.
func TestLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d, c, ctx := w.dir.(*local.Directory), w.client(t), t.Context()
	ip := netip.MustParseAddr("192.0.2.1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := d.Grant(ctx, "host@mall.example")
	must(err)
	must(d.Connect(ctx, presence.Device{ID: "1", Login: "host@mall.example", Source: presence.Desk, IP: ip,
		Relay: "chat.mall.example", Away: true}))
	must(d.Renew(ctx, presence.Address{Login: "customer@mall.example", IP: ip, Source: presence.POP3}))

	who, err := c.Who(ctx)
	must(err)
	if len(who) != 2 || who[0].Login != "customer@mall.example" || who[0].Devices == nil || who[0].Grant != nil {
		t.Fatalf("who: %+v", who)
	}
	if h := who[1]; len(h.Devices) != 1 || !h.Devices[0].Away || h.Grant == nil || h.Grant.Port != g.Port {
		t.Errorf("who: %+v", h)
	}
	grants, err := c.Grants(ctx)
	must(err)
	if len(grants) != 1 || grants[0].Port != g.Port || !grants[0].HostAlive {
		t.Errorf("grants: %+v", grants)
	}
	b, err := json.Marshal([]any{who, grants})
	must(err)
	for _, field := range []string{"login", "ip", "source", "seen", "devices", "grant", "id", "relay", "away",
		"connected", "heartbeat", "host", "port", "granted", "renewed", "held", "host_alive"} {
		if !strings.Contains(string(b), `"`+field+`":`) {
			t.Errorf("no field %q in %s", field, b)
		}
	}
	must(d.Leave(ctx))
	if grants, err = c.Grants(ctx); err != nil || grants[0].HostAlive {
		t.Errorf("after the host left: %+v, %v", grants, err)
	}
	if hosts, err := c.Hosts(ctx); err != nil || hosts == nil || len(hosts) != 0 {
		t.Errorf("after the host left: %+v, %v", hosts, err)
	}
}
