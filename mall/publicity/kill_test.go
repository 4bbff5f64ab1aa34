// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-message/textproto"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/internal/testpart"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/mall/store"
)

// killEnv, set to a folder, makes the test binary a server that sends campaigns
// until it is killed; killDSN is its database.
const (
	killEnv = "CHMAIL_PUBLICITY_TEST_DIR"
	killDSN = "CHMAIL_PUBLICITY_TEST_DSN"
)

func openMail(dir string) (*mailstore.Store, error) {
	return mailstore.Open(filepath.Join(dir, "mail"), mailstore.Options{MinFree: -1})
}

// sendUntilKilled sends what is due into a real mail store. It prints a line at
// each step of a mail, so that the parent can kill it at any of them.
func sendUntilKilled(dir, dsn string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	w := &world{dsn: dsn, dir: dir}
	var err error
	w.s, err = store.Open(context.Background(), dsn, nil)
	fail(err)
	mail, err := openMail(dir)
	fail(err)
	o := w.options()
	o.Now = func() time.Time { return time.Date(2026, 5, 6, 3, 0, 0, 0, time.UTC) }
	o.Submit = func(ctx context.Context, l chat.Letter) error {
		header, body, err := notify.ComposeLetter(l, time.Now())
		if err != nil {
			return err
		}
		var all bytes.Buffer
		if err := textproto.WriteHeader(&all, header); err != nil {
			return err
		}
		all.Write(body)
		fmt.Println("stage")
		staged, err := mail.Stage(&all)
		if err != nil {
			return err
		}
		defer staged.Abort()
		fmt.Println("put")
		once := ""
		if l.Once {
			once = l.MessageID
		}
		err = staged.Put(ctx, []mailstore.Recipient{{Login: l.To.Addr, Once: once}})
		fmt.Println("there")
		return err
	}
	p, err := New(o)
	fail(err)
	p.batch = killBatch
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			due, err := w.s.Campaigns(ctx, os.Getenv(killShop), "", 1)
			fail(err)
			if due[0].State != store.CampaignScheduled && due[0].State != store.CampaignSending {
				fmt.Println("end " + due[0].State)
				cancel()
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	fail(p.Run(ctx))
	fail(mail.Close())
}

const killShop = "CHMAIL_PUBLICITY_TEST_SHOP"

// killBatch is so small that kills come before, within and after batches.
const killBatch = atOnce

// TestKilled kills the server at 50 random points of a campaign: each member has it
// once in the end.
func TestKilled(t *testing.T) {
	testpart.Slow(t)
	each(t, func(t *testing.T, w *world) {
		const members, kills = 600, 50
		w.members(members)
		c := w.campaign(store.Campaign{})
		mail, err := openMail(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		var making sync.WaitGroup
		for part := range 20 { // which share the waits for the disk
			making.Go(func() {
				for i := part; i < members; i += 20 {
					if err := mail.CreateAccount(fmt.Sprintf("m%05d@mall.example", i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		making.Wait()
		if err := mail.Close(); err != nil {
			t.Fatal(err)
		}
		killed := 0
		for ; killed < kills; killed++ {
			if w.runServer(rand.IntN(2 * 3 * killBatch)) {
				break
			}
		}
		if killed < kills {
			t.Fatalf("the campaign ended after %d kills", killed)
		}
		if !w.runServer(-1) {
			t.Fatal("the last server did not end the campaign")
		}
		if f := w.figures(c); f.Queued != members || f.All() != members {
			t.Errorf("figures %+v", f)
		}
		if state, _ := w.state(c); state != store.CampaignDone {
			t.Errorf("the campaign is %s", state)
		}
		if mail, err = openMail(w.dir); err != nil {
			t.Fatal(err)
		}
		defer mail.Close()
		for i := range members {
			login := fmt.Sprintf("m%05d@mall.example", i)
			box, err := mail.Mailbox(login, mailstore.Inbox)
			if err != nil {
				t.Fatal(err)
			}
			if st, err := box.Status(); err != nil || st.Messages != 1 {
				t.Errorf("%s has %d mails, %v", login, st.Messages, err)
			}
			box.Close()
		}
	})
}

// runServer runs a server until it has printed some lines, and kills it; -1: until
// it ends. ended: the campaign was over.
func (w *world) runServer(lines int) (ended bool) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), killEnv+"="+w.dir, killDSN+"="+w.dsn, killShop+"="+w.shop.ID)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	printed := bufio.NewScanner(out)
	for n := 0; (lines < 0 || n < lines) && printed.Scan(); n++ {
		if bytes.HasPrefix(printed.Bytes(), []byte("end ")) {
			ended = true
			break
		}
	}
	if !ended {
		if err := cmd.Process.Kill(); err != nil {
			w.t.Fatal(err)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	if ended && err != nil || complaint.Len() > 0 {
		w.t.Fatalf("the server: %v\n%s", err, complaint.String())
	}
	return ended
}
