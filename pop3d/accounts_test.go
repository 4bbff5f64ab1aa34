// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap"
	imapbackend "github.com/emersion/go-imap/backend"
	_ "github.com/foxcpp/maddy" // storage.imapsql
	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/internal/testpart"
)

func parse(t *testing.T, text string) config.Node {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(text), "test.conf")
	if err != nil {
		t.Fatal(err)
	}
	return config.Node{Children: nodes, File: "test.conf"}
}

// quiet silences maddy's log, which is one for all tests.
var quiet = sync.OnceFunc(func() { log.DefaultLogger.Out = log.NopOutput{} })

// imapStorage is a real storage.imapsql on SQLite.
func imapStorage(t *testing.T) module.Storage {
	t.Helper()
	quiet()
	dir := t.TempDir()
	mod, err := module.Get("storage.imapsql")("storage.imapsql", t.Name(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = mod.Init(config.NewMap(nil, parse(t, fmt.Sprintf(
		"driver sqlite3\ndsn \"file:%s?_txlock=immediate\"\nsqlite3_busy_timeout 60000\nmsg_store fs %s\n",
		filepath.Join(dir, "imapsql.db"), filepath.Join(dir, "messages")))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mod.(io.Closer).Close() })
	return mod.(module.Storage)
}

func account(t *testing.T, storage module.Storage, messages ...string) imapbackend.User {
	t.Helper()
	user, err := storage.GetOrCreateIMAPAcct(alice)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range messages {
		if err := user.CreateMessage(inbox, nil, time.Now(), bytes.NewBufferString(text), nil); err != nil {
			t.Fatal(err)
		}
	}
	return user
}

// flagsOf lists the messages of a mailbox: UID to flags.
func flagsOf(t *testing.T, user imapbackend.User, mailbox string) map[uint32][]string {
	t.Helper()
	_, box, err := user.GetMailbox(mailbox, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	found := make(chan *imap.Message, 1000)
	all, _ := imap.ParseSeqSet("1:*")
	if err := box.ListMessages(true, all, []imap.FetchItem{imap.FetchUid, imap.FetchFlags}, found); err != nil {
		t.Fatal(err)
	}
	flags := make(map[uint32][]string)
	for m := range found {
		flags[m.Uid] = m.Flags
	}
	return flags
}

func numbered(n int) string {
	return fmt.Sprintf("From: bob@example.org\r\nSubject: %d\r\n\r\n.message %d\r\n", n, n)
}

// listener is an IMAP session that hears what happens.
type listener struct {
	mu       sync.Mutex
	expunged int
}

func (l *listener) SendUpdate(u imapbackend.Update) error {
	if _, ok := u.(*imapbackend.ExpungeUpdate); ok {
		l.mu.Lock()
		l.expunged++
		l.mu.Unlock()
	}
	return nil
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	storage := imapStorage(t)
	big := "From: bob@example.org\r\nSubject: big\r\n\r\n" +
		strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 20_000)
	user := account(t, storage, numbered(1), numbered(2), big, numbered(4), numbered(5))
	_, selected, err := user.GetMailbox(inbox, false, new(listener))
	if err != nil {
		t.Fatal(err)
	}
	heard := selected.(interface{ Conn() imapbackend.Conn }).Conn().(*listener)
	defer selected.Close()
	// Message 4 is marked by an IMAP client, and message 1 is copied by one.
	four, _ := imap.ParseSeqSet("4")
	if err := selected.UpdateMessagesFlags(true, four, imap.AddFlags, true, []string{imap.DeletedFlag}); err != nil {
		t.Fatal(err)
	}
	if err := user.CreateMailbox("Kept"); err != nil {
		t.Fatal(err)
	}
	one, _ := imap.ParseSeqSet("1")
	if err := selected.CopyMessages(true, one, "Kept"); err != nil {
		t.Fatal(err)
	}

	_, address := serve(t, NewAccounts(storage))
	c := signedIn(t, address, alice)
	c.say("UIDL", "LIST")
	c.want("+OK 5 messages*")
	var uidl []string
	for n := 1; n <= 5; n++ {
		line, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		uidl = append(uidl, strings.TrimPrefix(line, fmt.Sprintf("%d ", n)))
	}
	c.want(".")
	c.want("+OK*")
	for n := 1; n <= 5; n++ {
		size := len(numbered(n))
		if n == 3 {
			size = len(big)
		}
		c.want(fmt.Sprintf("%d %d", n, size))
	}
	c.want(".")
	c.say("RETR 2", "TOP 3 0", "RETR 3")
	c.want(fmt.Sprintf("+OK %d octets", len(numbered(2))))
	for _, line := range []string{"From: bob@example.org", "Subject: 2", "", "..message 2", "."} {
		c.want(line)
	}
	c.want("+OK*")
	for _, line := range []string{"From: bob@example.org", "Subject: big", "", "."} {
		c.want(line)
	}
	c.want("+OK*")
	got := 0
	for {
		line, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if line == "." {
			break
		}
		got += len(line) + 2
	}
	if got != len(big) {
		t.Errorf("the big message came with %d octets, want %d", got, len(big))
	}

	account(t, storage, numbered(6)) // it arrives during the session
	c.say("DELE 1", "DELE 3", "QUIT")
	c.want("+OK*")
	c.want("+OK*")
	c.want("+OK bye")

	left := flagsOf(t, user, inbox)
	if len(left) != 4 || left[2] == nil || left[4] == nil || left[5] == nil || left[6] == nil {
		t.Fatalf("left are %v, want UIDs 2, 4, 5, 6", left)
	}
	if !strings.Contains(strings.Join(left[4], " "), imap.DeletedFlag) {
		t.Error("message 4 lost the mark of the IMAP client")
	}
	if strings.Contains(strings.Join(left[2], " "), imap.SeenFlag) {
		t.Error("reading by POP3 set a flag")
	}
	if mailboxes, err := user.ListMailboxes(false); err != nil || len(mailboxes) != 2 {
		t.Errorf("mailboxes are %v (%v), want INBOX and Kept", mailboxes, err)
	}
	if kept := flagsOf(t, user, "Kept"); len(kept) != 1 {
		t.Errorf("Kept holds %v, want the copy", kept)
	}
	_, box, err := user.GetMailbox("Kept", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := &imap.BodySectionName{Peek: true}
	copies := make(chan *imap.Message, 1)
	if err := box.ListMessages(true, &imap.SeqSet{Set: []imap.Seq{{Start: 1, Stop: 9}}},
		[]imap.FetchItem{whole.FetchItem()}, copies); err != nil {
		t.Fatal(err)
	}
	if m := <-copies; m == nil {
		t.Error("the copy lost its body")
	}
	if err := selected.Poll(true); err != nil {
		t.Fatal(err)
	}
	if heard.expunged != 2 {
		t.Errorf("the IMAP session heard of %d deletions, want 2", heard.expunged)
	}

	c = signedIn(t, address, alice)
	c.say("UIDL")
	c.want("+OK*")
	c.want("1 " + uidl[1])
	c.want("2 " + uidl[3])
	c.want("3 " + uidl[4])
}

// stuck is a storage whose mailboxes fail to move messages a few times.
type stuck struct {
	module.Storage
	failures int
}

type stuckUser struct {
	imapbackend.User
	storage *stuck
}

type stuckBox struct {
	imapbackend.MoveMailbox
	storage *stuck
}

func (s *stuck) GetOrCreateIMAPAcct(name string) (imapbackend.User, error) {
	user, err := s.Storage.GetOrCreateIMAPAcct(name)
	return stuckUser{user, s}, err
}

func (u stuckUser) GetMailbox(
	name string, readOnly bool, conn imapbackend.Conn,
) (*imap.MailboxStatus, imapbackend.Mailbox, error) {
	status, box, err := u.User.GetMailbox(name, readOnly, conn)
	if err != nil {
		return nil, nil, err
	}
	return status, stuckBox{box.(imapbackend.MoveMailbox), u.storage}, nil
}

func (b stuckBox) MoveMessages(uid bool, set *imap.SeqSet, dest string) error {
	if b.storage.failures--; b.storage.failures >= 0 {
		return errors.New("database is locked")
	}
	return b.MoveMailbox.MoveMessages(uid, set, dest)
}

func TestDeletionIsTriedAgain(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	for failures, want := range map[int]string{deleteAttempts - 1: "+OK bye", deleteAttempts: "-ERR [SYS/TEMP]*"} {
		t.Run(fmt.Sprintf("%d failures", failures), func(t *testing.T) {
			t.Parallel() // each waits for seconds between its attempts
			storage := &stuck{imapStorage(t), failures}
			user := account(t, storage.Storage, numbered(1), numbered(2))
			_, address := serve(t, NewAccounts(storage))
			c := signedIn(t, address, alice)
			c.say("DELE 2", "QUIT")
			c.want("+OK*")
			c.want(want)
			left := map[bool]int{true: 1, false: 2}[strings.HasPrefix(want, "+OK")]
			if n := len(flagsOf(t, user, inbox)); n != left {
				t.Errorf("%d messages are left, want %d", n, left)
			}
		})
	}
}

// Deliveries beside deletions: neither fails nor loses mail.
func TestDeliveryBesideDeletion(t *testing.T) {
	t.Parallel()
	storage := imapStorage(t)
	user := account(t, storage)
	_, address := serve(t, NewAccounts(storage))
	const total = 60
	done := make(chan error, 1)
	go func() {
		for n := range total {
			if err := user.CreateMessage(inbox, nil, time.Now(), bytes.NewBufferString(numbered(n)), nil); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	deleted := 0
	for deadline := time.Now().Add(25 * time.Second); deleted < total && time.Now().Before(deadline); {
		c := signedIn(t, address, alice)
		c.say("STAT")
		line, err := c.read()
		var count int
		if _, scanned := fmt.Sscanf(line, "+OK %d", &count); err != nil || scanned != nil {
			t.Fatal(line, err)
		}
		for n := 1; n <= count; n++ {
			c.say(fmt.Sprintf("DELE %d", n))
			c.want("+OK*")
		}
		c.say("QUIT")
		c.want("+OK bye")
		deleted += count
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if deleted != total {
		t.Errorf("%d messages came through, want %d", deleted, total)
	}
}
