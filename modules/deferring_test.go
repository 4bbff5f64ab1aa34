// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-smtp"
	imapsql "github.com/foxcpp/go-imap-sql"
	_ "github.com/foxcpp/maddy" // storage.imapsql
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/lib/pq"
)

// faulty is a target that fails at one step.
type faulty struct {
	module.DeliveryTarget
	step string
	err  error
}

func (f faulty) at(step string) error {
	if f.step == step {
		return f.err
	}
	return nil
}

func (f faulty) Start(context.Context, *module.MsgMetadata, string) (module.Delivery, error) {
	return f, f.at("Start")
}
func (f faulty) AddRcpt(context.Context, string, smtp.RcptOptions) error { return f.at("AddRcpt") }
func (f faulty) Body(context.Context, textproto.Header, buffer.Buffer) error {
	return f.at("Body")
}
func (f faulty) Abort(context.Context) error  { return nil }
func (f faulty) Commit(context.Context) error { return f.at("Commit") }

// deliverOnce runs one delivery through its steps.
func deliverOnce(to module.DeliveryTarget, rcpt string) error {
	ctx := context.Background()
	d, err := to.Start(ctx, &module.MsgMetadata{ID: "test"}, "sender@example.org")
	if err != nil {
		return err
	}
	h := textproto.Header{}
	h.Add("Subject", "test")
	if err = d.AddRcpt(ctx, rcpt, smtp.RcptOptions{}); err == nil {
		if err = d.Body(ctx, h, buffer.MemoryBuffer{Slice: []byte("text\r\n")}); err == nil {
			return d.Commit(ctx)
		}
	}
	_ = d.Abort(ctx) // the endpoint answers what failed first
	return err
}

// openIMAPSQL opens a storage.imapsql with a block's directives.
func openIMAPSQL(t *testing.T, block string) module.ManageableStorage {
	t.Helper()
	m, err := initModule(t, "storage.imapsql", block)
	if err != nil {
		t.Fatal(err)
	}
	return m.(module.ManageableStorage)
}

func TestDeferring(t *testing.T) {
	t.Parallel()
	permanent := func(err error) error {
		return &exterrors.SMTPError{Code: 501, EnhancedCode: exterrors.EnhancedCode{5, 1, 1},
			Message: "no such user", Err: err}
	}
	for name, c := range map[string]struct {
		err  error
		code int
	}{
		"not serialized":      {imapsql.SerializationError{Err: &pq.Error{Code: "40001"}}, 451},
		"deadlock, as it is":  {fmt.Errorf("Body (addMsg): %w", &pq.Error{Code: "40P01"}), 451},
		"unknown":             {errors.New("database is locked"), 451},
		"nobody":              {permanent(errors.New("user does not exist")), 501},
		"nobody, unexplained": {permanent(nil), 501},
		"a table that fails":  {permanent(fmt.Errorf("looking up: %w", &pq.Error{Code: "57P01"})), 451},
		"its own 4xx":         {&exterrors.SMTPError{Code: 453, EnhancedCode: exterrors.EnhancedCode{4, 3, 2}}, 453},
	} {
		for _, step := range []string{"Start", "AddRcpt", "Body", "Commit"} {
			err := deliverOnce(&Deferring{target: faulty{step: step, err: c.err}}, "a@x")
			code, _ := exterrors.Fields(err)["smtp_code"].(int)
			if code != c.code || !errors.Is(err, c.err) || exterrors.IsTemporary(err) != (code < 500) {
				t.Errorf("%s at %s: %d %v, want %d", name, step, code, err, c.code)
			}
		}
	}
	if err := deliverOnce(&Deferring{target: faulty{}}, "a@x"); err != nil {
		t.Error(err)
	}
	if _, err := initModule(t, deferringName, ""); err == nil {
		t.Error("a block without a target was taken")
	}
}

// TestDeferringBusySQLite: a database that another one has locked for longer
// than storage.imapsql waits is a 451, and the mail is taken afterwards.
func TestDeferringBusySQLite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "imapsql.db")
	old := openIMAPSQL(t, fmt.Sprintf("driver sqlite3\ndsn \"file:%s?_txlock=immediate\"\nsqlite3_busy_timeout 50\n"+
		"msg_store fs %s/messages\n", path, dir))
	if err := old.CreateIMAPAcct("a@x"); err != nil {
		t.Fatal(err)
	}
	to := &Deferring{target: old.(module.DeliveryTarget)}
	other, err := sql.Open("sqlite3", "file:"+path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	wantSMTP(t, deliverOnce(to, "a@x"), 451, exterrors.EnhancedCode{4, 3, 0})
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := deliverOnce(to, "a@x"); err != nil {
		t.Error("with the lock gone:", err)
	}
	var code *exterrors.SMTPError
	if err := deliverOnce(to, "nobody@x"); !errors.As(err, &code) || code.Code != 501 {
		t.Error("to nobody:", err)
	}
}
