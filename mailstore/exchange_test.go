// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap"
	_ "github.com/foxcpp/maddy" // storage.imapsql
	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

func TestMaildirAndMbox(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := openStore(t, t.TempDir(), Options{})
	addAccounts(t, s, "a@x", "b@x", "c@x")
	texts := []string{text("one", 500), text("two", 100_000), "Subject: from\r\n\r\nFrom here\r\n>From there\r\n"}
	for _, text := range texts {
		if err := s.Import(ctx, Recipient{Login: "a@x", Flags: []string{`\Seen`}, Date: time.Unix(1e9, 0)},
			strings.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Import(ctx, Recipient{Login: "a@x", Mailbox: "Über.Täglich"},
		strings.NewReader("x\r\n"), 3); err != nil {
		t.Fatal(err)
	}
	count := 0
	counted := func() { count++ }
	dir := filepath.Join(t.TempDir(), "Maildir")
	if err := s.ExportMaildir(ctx, "a@x", dir, counted); err != nil || count != 4 {
		t.Fatal(count, err)
	}
	if err := ImportMaildir(ctx, s, "b@x", dir, counted); err != nil || count != 8 {
		t.Fatal(count, err)
	}
	want, got := contents(t, inbox(t, s, "a@x")), contents(t, inbox(t, s, "b@x"))
	for uid := range want {
		if got[uid] != want[uid] {
			t.Errorf("message %d changed on its way through a Maildir", uid)
		}
	}
	m, err := inbox(t, s, "b@x").message(1)
	if err != nil || m.date != 1e9 || !slices.Equal(m.flagNames(), []string{`\Seen`}) {
		t.Errorf("%+v, %v", m, err)
	}
	if box, err := s.Mailbox("b@x", "Über.Täglich"); err != nil || len(uids(t, box)) != 1 {
		t.Error("the folder is not there:", err)
	}
	var mbox bytes.Buffer
	if err := s.ExportMbox(ctx, "a@x", Inbox, &mbox, counted); err != nil || count != 11 {
		t.Fatal(count, err)
	}
	if err := ImportMbox(ctx, s, "c@x", Inbox, &mbox, counted); err != nil || count != 14 {
		t.Fatal(count, err)
	}
	got = contents(t, inbox(t, s, "c@x"))
	for uid := range want {
		if got[uid] != want[uid] {
			t.Errorf("message %d changed on its way through an mbox: %q", uid, got[uid][:min(100, len(got[uid]))])
		}
	}
	if m, err := inbox(t, s, "c@x").message(1); err != nil || m.date != 1e9 {
		t.Errorf("%+v, %v", m, err)
	}
	if err := ImportMbox(ctx, s, "c@x", Inbox, strings.NewReader("no mbox\n"), counted); err == nil {
		t.Error("a file that is no mbox was imported")
	}
}

// openIMAPSQL opens a storage.imapsql with a block's directives.
func openIMAPSQL(t *testing.T, block string) module.ManageableStorage {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(block), "t")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := module.Get("storage.imapsql")("storage.imapsql", "old", nil, nil)
	if err == nil {
		err = mod.Init(config.NewMap(nil, config.Node{Children: nodes}))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mod.(io.Closer).Close() })
	return mod.(module.ManageableStorage)
}

func TestImportFromIMAPSQL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := openIMAPSQL(t, fmt.Sprintf("driver sqlite3\ndsn \"file:%s/imapsql.db?_txlock=immediate\"\n"+
		"sqlite3_busy_timeout 60000\nmsg_store fs %[1]s/messages\n", dir))
	user, err := old.GetOrCreateIMAPAcct("a@x")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := user.CreateMessage("INBOX", []string{imap.SeenFlag, "$Mine"}, time.Unix(1e9, 0),
			bytes.NewBufferString(text(fmt.Sprint(i), 3000)), nil); err != nil {
			t.Fatal(err)
		}
	}
	_, box, err := user.GetMailbox("INBOX", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	set, _ := imap.ParseSeqSet("2,5")
	if err := errors.Join(box.UpdateMessagesFlags(true, set, imap.AddFlags, true, []string{imap.DeletedFlag}),
		box.Expunge()); err != nil {
		t.Fatal(err)
	}
	status, err := user.Status("INBOX", []imap.StatusItem{imap.StatusUidValidity})
	if err != nil {
		t.Fatal(err)
	}

	s := openStore(t, t.TempDir(), Options{})
	for range 2 { // the second time there is nothing left to do
		if err := ImportIMAP(context.Background(), s, old, false, func() {}); err != nil {
			t.Fatal(err)
		}
		in := inbox(t, s, "a@x")
		if st := mustStatus(t, in); st.Validity != status.UidValidity || st.Next != 6 {
			t.Errorf("%+v, want UIDVALIDITY %d and UIDNEXT 6", st, status.UidValidity)
		}
		got := contents(t, in)
		if len(got) != 3 || got[1] != text("0", 3000) || got[3] != text("2", 3000) || got[4] != text("3", 3000) {
			t.Errorf("imported %d messages", len(got))
		}
		m, err := in.message(3)
		if err != nil || m.date != 1e9 || !slices.Equal(m.flagNames(), []string{`\Seen`, "$Mine"}) {
			t.Errorf("%+v, %v", m, err)
		}
	}
	other := openStore(t, t.TempDir(), Options{})
	addAccounts(t, other, "a@x")
	mustPut(t, other, "new\r\n", "a@x")
	if err := ImportIMAP(context.Background(), other, old, false, func() {}); !errors.Is(err, ErrValidity) {
		t.Errorf("imported beside other mail: %v", err)
	}
	if err := ImportIMAP(context.Background(), other, old, true, func() {}); err != nil ||
		len(uids(t, inbox(t, other, "a@x"))) != 4 {
		t.Error("with new UIDs:", err)
	}
	checkClean(t, s)
}
