// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/chmail/chmail/guard/signin"
	"github.com/chmail/chmail/imapd"
)

// anyone is accounts of which every password is right.
type anyone struct{}

func (anyone) Verify(context.Context, string, string) error { return nil }

// serveIMAP serves a store over IMAP.
func serveIMAP(t testing.TB, s *Store) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &imapd.Server{
		SignIn: signin.New(signin.Options{Accounts: anyone{}}), Store: s.IMAP(), Log: s.o.Log,
		InsecureAuth: true, MaxConnectionsPerIP: 10_000,
	}
	done := make(chan struct{})
	go func() { srv.Serve(l); close(done) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return l.Addr().String()
}

func imapSignIn(t testing.TB, address, login string) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(login, "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select(Inbox, nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// all is every message of a mailbox.
func all() imap.UIDSet { return imap.UIDSet{{Start: 1}} }

// fetchAll asks for one section of every message and returns the texts by UID.
func fetchAll(t testing.TB, c *imapclient.Client, section imap.FetchItemBodySection) (map[uint32]string, error) {
	t.Helper()
	texts := make(map[uint32]string)
	found, err := c.Fetch(all(), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{&section}}).Collect()
	for _, m := range found {
		for _, body := range m.BodySection {
			texts[uint32(m.UID)] = string(body.Bytes)
		}
	}
	return texts, err
}

// memoryLog keeps what is logged.
type memoryLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *memoryLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *memoryLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// has says whether one line has all these parts.
func (l *memoryLog) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(strings.Split(l.text.String(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line+" ", part) })
	})
}

// Where the messages of damageStore have their bodies, by UID.
const (
	damageFirst = "1"     // at the beginning of the first blob file
	damageSmall = "1,2,3" // in the first blob file, those included
	damageAlive = "4,5,6" // in the second
	damageLarge = "7"     // a file
	damageMore  = "8"     // another file
	damageParts = "9"     // several chunks in the second blob file
)

// damageStore makes a store whose messages' bodies lie in two blob files and
// two files of their own.
func damageStore(t *testing.T) (string, map[uint32]string) {
	t.Helper()
	dir := t.TempDir()
	s := openStore(t, dir, Options{LargeBody: 100_000})
	addAccounts(t, s, "a@x")
	for i, size := range []int{4000, 4000, 4000, 0, 4000, 4000, 4000, 150_000, 150_000, 3 * chunkSize} {
		if size == 0 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mustPut(t, s, text(strconv.Itoa(i), size), "a@x")
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	texts := contents(t, inbox(t, s, "a@x"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, texts
}

// blobs lists the blob files of a store, oldest first.
func blobs(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "index", "*.blob"))
	if err != nil || len(files) != 2 {
		t.Fatal("want two blob files:", files, err)
	}
	return files
}

// largeFile is the file of the nth large body.
func largeFile(t *testing.T, dir string, n int) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "bodies", "*", "*"))
	if err != nil || len(files) != 2 {
		t.Fatal("want two files of bodies:", files, err)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	return files[n]
}

// spoil changes one octet of a file.
func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[(at+int64(len(b)))%int64(len(b))] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamage damages files of a store in all ways. Whatever it is, the server
// goes on, IMAP and POP3 say so of the messages that are hit and serve the
// others, the log and Check name them.
func TestDamage(t *testing.T) {
	t.Parallel()
	made, texts := damageStore(t)
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		hit    string // the UIDs
		fault  string // what the log and Check say
	}{
		{"a blob file is missing", func(t *testing.T, dir string) {
			must(t, os.Remove(blobs(t, dir)[0]))
		}, damageSmall, "missing"},
		{"a blob file is empty", func(t *testing.T, dir string) {
			must(t, os.Truncate(blobs(t, dir)[0], 0))
		}, damageSmall, "blob"},
		{"a blob file is cut", func(t *testing.T, dir string) {
			must(t, os.Truncate(blobs(t, dir)[0], 500))
		}, damageSmall, "blob"},
		{"a blob file's footer is damaged", func(t *testing.T, dir string) {
			spoil(t, blobs(t, dir)[0], -5)
		}, damageSmall, "blob"},
		{"a blob file's block is damaged", func(t *testing.T, dir string) {
			spoil(t, blobs(t, dir)[0], 100)
		}, damageFirst, "blob"},
		{"all blob files are missing", func(t *testing.T, dir string) {
			for _, file := range blobs(t, dir) {
				must(t, os.Remove(file))
			}
		}, damageSmall + "," + damageAlive + "," + damageParts, "missing"},
		{"a body's file is missing", func(t *testing.T, dir string) {
			must(t, os.Remove(largeFile(t, dir, 0)))
		}, damageLarge, "missing"},
		{"a body's file is cut", func(t *testing.T, dir string) {
			must(t, os.Truncate(largeFile(t, dir, 0), 70_000))
		}, damageLarge, "body"},
		{"a body's file is empty", func(t *testing.T, dir string) {
			must(t, os.Truncate(largeFile(t, dir, 1), 0))
		}, damageMore, "body"},
		{"an octet of a body's file flipped", func(t *testing.T, dir string) {
			spoil(t, largeFile(t, dir, 0), 140_000)
		}, damageLarge, "checksum"},
		{"a body's file is a folder", func(t *testing.T, dir string) {
			path := largeFile(t, dir, 0)
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		}, damageLarge, "directory"},
		{"a chunk is missing", func(t *testing.T, dir string) {
			s := openStore(t, dir, Options{LargeBody: 100_000})
			m, err := s.message(s.db, inbox(t, s, "a@x").id, 9)
			must(t, err)
			must(t, s.db.Delete(chunkKey(m.body, 1), pebble.Sync))
			must(t, s.Close())
		}, damageParts, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(made)))
			c.damage(t, dir)
			log := new(memoryLog)
			s := openStore(t, dir, Options{
				LargeBody: 100_000, Log: log.logger(), Fatal: func(err error) { t.Error("fatal:", err) },
			})
			var hit []uint32
			for uid := range strings.SplitSeq(c.hit, ",") {
				n, _ := strconv.Atoi(uid)
				hit = append(hit, uint32(n))
			}
			checkIMAP(t, s, texts, hit)
			checkPOP3(t, s, texts, hit)
			checkNames(t, s, hit, c.fault)
			for _, uid := range hit {
				if !log.has(fmt.Sprintf("uid=%d ", uid), c.fault) {
					t.Errorf("the log does not say of UID %d that it is %s: %q", uid, c.fault, log.text.String())
				}
			}
			// Mail comes and goes, also that which is damaged, and Pebble does
			// its work in the background.
			_ = s.db.Compact(context.Background(), []byte("a"), []byte("z"), false)
			mustPut(t, s, text("new", 4000), "a@x")
			must(t, s.db.Flush())
			box := inbox(t, s, "a@x")
			if n, err := box.remove(hit); n != len(hit) || err != nil {
				t.Errorf("removed %d damaged messages: %v", n, err)
			}
			must(t, s.db.Flush())
			must(t, box.Close())
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkIMAP(t *testing.T, s *Store, texts map[uint32]string, hit []uint32) {
	t.Helper()
	c := imapSignIn(t, serveIMAP(t, s), "a@x")
	var set imap.UIDSet
	for _, uid := range hit {
		set.AddNum(imap.UID(uid))
	}
	for item, section := range []imap.FetchItemBodySection{
		{Peek: true}, {Peek: true, Partial: &imap.SectionPartial{Size: 40_000}},
		{Specifier: imap.PartSpecifierText}, {},
	} {
		got, err := fetchAll(t, c, section)
		if err == nil || !strings.Contains(err.Error(), "[CORRUPTION]") ||
			!strings.HasSuffix(err.Error(), "UID "+set.String()) {
			t.Errorf("%d: the answer %v does not name UID %s", item, err, set)
		}
		for uid, text := range texts {
			want := text
			if section.Partial != nil {
				want = text[:min(len(text), 40_000)]
			} else if section.Specifier != "" {
				_, want, _ = strings.Cut(text, "\r\n\r\n")
			}
			if slices.Contains(hit, uid) {
				if _, sent := got[uid]; sent {
					t.Errorf("%d: UID %d is damaged and was sent", item, uid)
				}
			} else if got[uid] != want {
				t.Errorf("%d: UID %d: %d octets, want %d", item, uid, len(got[uid]), len(want))
			}
		}
	}
	if _, err := c.UIDSearch(&imap.SearchCriteria{Body: []string{"xxxxx"}}, nil).Wait(); err != nil {
		t.Error("search:", err)
	}
	// Only what was sent is \Seen, and the connection goes on.
	unseen, err := c.UIDSearch(&imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}, nil).Wait()
	if err != nil || unseen.All.String() != set.String() {
		t.Errorf("unseen are %v, %v; want %v", unseen, err, hit)
	}
	if err := c.Noop().Wait(); err != nil {
		t.Error("the connection ended:", err)
	}
	if err := c.Logout().Wait(); err != nil {
		t.Error(err)
	}
}

func checkPOP3(t *testing.T, s *Store, texts map[uint32]string, hit []uint32) {
	t.Helper()
	c := popSignIn(t, servePOP3(t, s), "a@x")
	for uid := uint32(1); int(uid) <= len(texts); uid++ {
		if slices.Contains(hit, uid) {
			c.ask("-ERR [SYS/PERM]", "RETR %d", uid)
			continue
		}
		c.ask("+OK", "RETR %d", uid)
		if got := strings.Join(c.lines(), "\r\n") + "\r\n"; got != texts[uid] {
			t.Errorf("RETR %d: %d octets, want %d", uid, len(got), len(texts[uid]))
		}
	}
	c.ask("+OK", "QUIT")
}

// checkNames runs Check, which must name the messages and no others.
func checkNames(t *testing.T, s *Store, hit []uint32, fault string) {
	t.Helper()
	r, err := s.Check(context.Background(), nil)
	must(t, err)
	var named []uint32
	for _, p := range r.Problems {
		named = append(named, p.UID)
		if p.Login != "a@x" || p.Mailbox != Inbox {
			t.Errorf("check: %v", p)
		}
	}
	slices.Sort(named)
	if !slices.Equal(named, hit) {
		t.Errorf("check names UIDs %v, want %v: %v", named, hit, r.Problems)
	}
}

// TestDamageWhileSent cuts a body's file while it is being sent: the connection
// ends, and nothing that comes behind it looks like a part of it.
func TestDamageWhileSent(t *testing.T) {
	t.Parallel()
	const octets = 16 << 20 // more than the sockets' buffers hold
	for _, protocol := range []string{"IMAP", "POP3"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			log := new(memoryLog)
			s := openStore(t, dir, Options{Log: log.logger()})
			addAccounts(t, s, "a@x")
			mustPut(t, s, text("large", octets), "a@x")
			mustPut(t, s, text("behind", 1000), "a@x")
			files, err := filepath.Glob(filepath.Join(dir, "bodies", "*", "*"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			commands := map[string]string{
				"IMAP": "a LOGIN a@x secret\r\nb SELECT INBOX\r\nc FETCH 1:2 BODY[]\r\n",
				"POP3": "USER a@x\r\nPASS secret\r\nRETR 1\r\nRETR 2\r\n",
			}
			address := serveIMAP(t, s)
			if protocol == "POP3" {
				address = servePOP3(t, s)
			}
			conn, err := net.Dial("tcp", address)
			must(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, commands[protocol])
			must(t, err)
			head := make([]byte, 2000)
			_, err = io.ReadFull(conn, head)
			must(t, err)
			must(t, os.Truncate(files[0], 1<<20))
			rest, _ := io.ReadAll(conn) // the end may come as a reset
			if len(rest) < 1_000_000 || len(rest) >= octets-len(head) {
				t.Errorf("got %d octets, want a part of %d", len(rest), octets)
			}
			for _, after := range []string{"c OK", "behind", "\r\n.\r\n", "+OK", "FETCH"} {
				if strings.Contains(string(rest), after) {
					t.Errorf("after what could not be sent came %q", after)
				}
			}
			if !log.has("cut short") && protocol == "IMAP" {
				t.Errorf("the log does not say so: %q", log.text.String())
			}
			// The others are served, on another connection.
			conn.Close()
			waitFor(t, "the session to end", func() bool { return !held(s) })
			c := popSignIn(t, servePOP3(t, s), "a@x")
			c.ask("-ERR [SYS/PERM]", "RETR 1")
			c.ask("+OK", "RETR 2")
			c.lines()
		})
	}
}

// held says whether a POP3 session has the INBOX of a@x.
func held(s *Store) bool {
	box, err := s.Mailbox("a@x", Inbox)
	if err != nil {
		return false
	}
	defer box.Close()
	_, err = box.Hold()
	return err != nil
}

// panicFS panics while it is armed, whatever is read of a body's file.
type panicFS struct {
	vfs.FS
	armed atomic.Bool
}

func (fs *panicFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	fs.panics(name)
	return fs.FS.Open(name, opts...)
}

func (fs *panicFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	fs.panics(name)
	return fs.FS.Create(name, category)
}

func (fs *panicFS) panics(name string) {
	if fs.armed.Load() && strings.Contains(name, "bodies") {
		panic("no luck")
	}
}

// TestPanic lets one command of IMAP, one of POP3 and one delivery panic: each
// fails, and everything goes on.
func TestPanic(t *testing.T) {
	t.Parallel()
	fs := &panicFS{FS: vfs.NewMem()}
	s := openStore(t, "/store", Options{FS: fs, LargeBody: 1000, Log: testLog(t)})
	addAccounts(t, s, "a@x")
	large := text("large", 5000)
	mustPut(t, s, large, "a@x")
	c := imapSignIn(t, serveIMAP(t, s), "a@x")
	pop3 := servePOP3(t, s)

	fs.armed.Store(true)
	if got, err := fetchAll(t, c, imap.FetchItemBodySection{}); err == nil || len(got) != 0 {
		t.Errorf("fetched %d messages, %v", len(got), err)
	}
	p := popSignIn(t, pop3, "a@x")
	p.ask("-ERR", "RETR 1")
	p.ask("+OK", "QUIT")
	if err := put(s, large, "a@x"); err == nil {
		t.Error("a delivery that panicked was taken")
	}

	fs.armed.Store(false)
	mustPut(t, s, large, "a@x")
	must(t, c.Noop().Wait()) // tells of the new one
	if got, err := fetchAll(t, c, imap.FetchItemBodySection{}); err != nil || len(got) != 2 {
		t.Errorf("fetched %d messages, %v", len(got), err)
	}
	p = popSignIn(t, pop3, "a@x")
	p.ask("+OK", "RETR 2")
	p.lines()
	p.ask("+OK", "QUIT")
	checkClean(t, s)
}
