// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/mailstore"
)

var (
	host   = chat.Person{Login: "host@mall.example", Addr: "host@mall.example", Name: "Host"}
	friend = chat.Person{Addr: "friend@far.example", Name: "Friend"}
)

// mailed opens a conversation of host and friend and returns it with the host's ID.
func (w *world) mailed(t *testing.T, id string) (room string, from int64) {
	t.Helper()
	mail := chat.Mail{MessageID: id, Subject: "Hello", Sender: host, Recipients: []chat.Person{friend}}
	o, err := w.rooms.OpenFromMail(t.Context(), mail)
	if err != nil {
		t.Fatal(err)
	}
	me, err := w.rooms.Member(t.Context(), host.Login, o.Room)
	if err != nil {
		t.Fatal(err)
	}
	return o.Room, me.ID
}

func (w *world) say(t *testing.T, room string, from int64, text string) {
	t.Helper()
	// Nobody who talks waits as long as that.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := w.rooms.Append(ctx, "", room, chat.Message{From: from, Kind: chat.KindText, Text: text}); err != nil {
		t.Fatalf("saying %q: %v", text, err)
	}
}

// texts are what was said in a room.
func texts(t *testing.T, rooms *store.Store, room string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	list, err := rooms.Messages(ctx, room, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, m := range list {
		if m.Kind == chat.KindText {
			said = append(said, m.Text)
		}
	}
	return strings.Join(said, " ")
}

// heldMail is mail whose backup waits in its midst.
type heldMail struct {
	Mail
	began, goOn chan struct{}
}

func (m *heldMail) Backup(ctx context.Context, dir string) error {
	m.began <- struct{}{}
	<-m.goOn
	return m.Mail.Backup(ctx, dir)
}

// TestBackup: while a backup is being made, mails open rooms and people talk
// and read. What was acknowledged before it is in it, with the files, and what
// is restored begins new epochs.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.mail.CreateAccount("host@mall.example"); err != nil {
		t.Fatal(err)
	}
	text := "Subject: x\r\n\r\nx\r\n"
	inbox := mailstore.Recipient{Login: "host@mall.example", Mailbox: "INBOX"}
	if err := w.mail.Import(t.Context(), inbox, strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
	accounts, err := sql.Open("sqlite3", filepath.Join(w.state, "credentials.db"))
	if err == nil {
		_, err = accounts.Exec("CREATE TABLE passwords (key, value); INSERT INTO passwords VALUES ('a@x', 'x')")
		accounts.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.state, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	goods, err := sql.Open("sqlite3", mallIn(w.state).Database)
	if err == nil {
		_, err = goods.Exec("CREATE TABLE goods (title); INSERT INTO goods VALUES ('lamp')")
		goods.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"files/mall.example/ab/picture", "dkim_keys/mall.example.key", "shop/keys",
		"shop/pictures/ab/1.jpg"}
	for _, name := range append(files, "other.db", "mall-sent.mark") {
		path := filepath.Join(w.state, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err = errors.Join(err, os.WriteFile(path, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	room, me := w.mailed(t, "1@x")
	w.say(t, room, me, "before")
	held := &heldMail{w.mail, make(chan struct{}), make(chan struct{})}
	w.mail = held
	c := w.client(t)
	to, err := FolderAt(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Backup(t.Context(), to) }()
	<-held.began
	other, _ := w.mailed(t, "2@x")
	w.say(t, room, me, "meanwhile")
	if got := texts(t, w.rooms, room); got != "before meanwhile" {
		t.Errorf("the room says %q", got)
	}
	close(held.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	w.say(t, room, me, "after")
	if err := c.Backup(t.Context(), to); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}

	state := t.TempDir()
	places := Places{State: state, Mail: filepath.Join(state, "mailstore"), Files: filepath.Join(state, "files"),
		Mall: mallIn(state)}
	r, err := Restore(to.Path, places)
	if err != nil || r != (Restored{Accounts: 1, Messages: 1, Others: 3}) {
		t.Fatalf("restored %+v, %v", r, err)
	}
	for _, name := range files {
		if b, err := os.ReadFile(filepath.Join(state, name)); string(b) != name {
			t.Errorf("%s holds %q: %v", name, b, err)
		}
	}
	goods, err = sql.Open("sqlite3", mallIn(state).Database)
	var title string
	if err == nil {
		err = goods.QueryRow("SELECT title FROM goods").Scan(&title)
		goods.Close()
	}
	if err != nil || title != "lamp" {
		t.Errorf("the mall has %q, %v", title, err)
	}
	// Without the mark of what was sent, package publicity pauses all campaigns.
	if _, err := os.Stat(filepath.Join(state, "mall-sent.mark")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mark of what was sent is in the backup: %v", err)
	}
	if link, err := c.Invite(t.Context(), time.Hour); err != nil || !strings.HasSuffix(link, "=1h0m0s") {
		t.Errorf("the invitation is %s, %v", link, err)
	}
	if n, err := c.RotateMallKeys(t.Context()); err != nil || n != 7 {
		t.Errorf("rotated %d, %v", n, err)
	}
	if _, err := Restore(to.Path, Places{State: t.TempDir(), Mail: filepath.Join(t.TempDir(), "m")}); err == nil {
		t.Error("a mall is restored where none is configured")
	}
	rooms, err := store.Open(t.Context(), store.Options{DSN: "sqlite:" + filepath.Join(state, "rooms.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer rooms.Close()
	if got := texts(t, rooms, room); got != "before meanwhile" {
		t.Errorf("the restored room says %q", got)
	}
	was, err := w.rooms.Info(t.Context(), room)
	if err != nil {
		t.Fatal(err)
	}
	is, err := rooms.Info(t.Context(), room)
	if err != nil || is.Epoch == "" || is.Epoch == was.Epoch {
		t.Errorf("the restored room has the epoch %q, and had %q: %v", is.Epoch, was.Epoch, err)
	}
	if _, err := rooms.Info(t.Context(), other); err != nil {
		t.Errorf("the room of a mail that came meanwhile: %v", err)
	}
	if _, err := Restore(to.Path, places); err == nil || !strings.Contains(err.Error(), "move away first") {
		t.Errorf("restored over what is there: %v", err)
	}
	if _, err := Restore(state, places); err == nil || !strings.Contains(err.Error(), "is not a backup") {
		t.Error(err)
	}
}

// TestErase: what was said just now is erased too, and a server that has the
// rooms goes on with them.
func TestErase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, ctx := w.client(t), t.Context()
	room, me := w.mailed(t, "1@x")
	you, err := w.rooms.Info(ctx, room)
	if err != nil {
		t.Fatal(err)
	}
	w.say(t, room, me, "mine")
	for _, p := range you.Participants {
		if p.ID != me {
			w.say(t, room, p.ID, "yours")
		}
	}
	if n, err := c.Rooms(ctx, host.Login); err != nil || n != 1 {
		t.Error(n, err)
	}
	if _, err := w.rooms.AddTeamNote(ctx, host.Login, room, chat.TeamNote{ID: "1", Text: "likes tea"}); err != nil {
		t.Fatal(err)
	}
	to, err := FolderAt(filepath.Join(t.TempDir(), "export"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := c.Export(ctx, "Host@mall.example", to)
	if err != nil || sum.Rooms != 1 || sum.Messages != 1 || len(sum.Left) > 0 {
		t.Errorf("exported %+v, %v", sum, err)
	}
	b, err := os.ReadFile(filepath.Join(to.Path, "person.json"))
	if !strings.Contains(string(b), `"subject": "Hello"`) {
		t.Errorf("person.json holds %s: %v", b, err)
	}
	exported, err := filepath.Glob(filepath.Join(to.Path, "rooms", "*.json"))
	if err == nil && len(exported) == 1 {
		b, err = os.ReadFile(exported[0])
	}
	if err != nil || !strings.Contains(string(b), "likes tea") {
		t.Errorf("the export of the owner has no note: %v, %s", err, b)
	}
	w.say(t, room, me, "newest")
	e, err := c.Erase(ctx, host.Login)
	if err != nil || e.Rooms != 1 || e.Messages != 2 {
		t.Errorf("erased %+v, %v", e, err)
	}
	w.say(t, room, 0, "on")
	if got := strings.Fields(texts(t, w.rooms, room)); len(got) != 2 || got[0] != "yours" || got[1] != "on" {
		t.Errorf("the room says %q", got)
	}
}
