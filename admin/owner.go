// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/mailstore"
)

// Options are what an Owner works on.
type Options struct {
	Parts   Parts
	Choice  Choice
	State   string // state directory
	Config  string // configuration file
	Files   string // folder of the conversations' files; empty: none are kept
	Mall    MallFiles
	Domains []string // that the server serves; empty: any
}

// Owner does the work in the process that has the files open.
type Owner struct {
	Options
	mallKeys *sync.Mutex // held by who needs the mall's keys to stay, and who changes them
}

var _ Admin = (*Owner)(nil)

// NewOwner returns an Owner. The caller opens and closes the parts.
func NewOwner(o Options) *Owner { return &Owner{o, new(sync.Mutex)} }

// with is the same owner for other blocks.
func (o *Owner) with(c Choice) *Owner {
	other := *o
	other.Choice = c
	return &other
}

// Close implements Admin.
func (o *Owner) Close() error { return nil }

// CreateAccount implements mailstore.Importer.
func (o *Owner) CreateAccount(login string, folders ...mailstore.Folder) error {
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return err
	}
	return mail.CreateAccount(login, folders...)
}

// Import implements mailstore.Importer.
func (o *Owner) Import(ctx context.Context, to mailstore.Recipient, body io.Reader, size int64) error {
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return err
	}
	return mail.Import(ctx, to, body, size)
}

// Stats implements Mails.
func (o *Owner) Stats(context.Context) (mailstore.Stats, error) {
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return mailstore.Stats{}, err
	}
	return mail.Stats()
}

// Check implements Mails.
func (o *Owner) Check(ctx context.Context, progress mailstore.Progress) (*mailstore.Report, error) {
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return nil, err
	}
	return mail.Check(ctx, progress)
}

// ExportMail implements Mails.
func (o *Owner) ExportMail(ctx context.Context, x MailExport, progress mailstore.Progress) (MailExported, error) {
	var done MailExported
	mail, err := o.Parts.Mail(o.Choice.Storage)
	if err != nil {
		return done, err
	}
	if err := x.To.same(); err != nil {
		return done, err
	}
	if len(x.Logins) == 0 {
		if x.Logins, err = mail.Accounts(); err != nil {
			return done, err
		}
	}
	step := func() { done.Messages++; progress(done.Messages, 0) }
	for _, login := range x.Logins {
		if strings.ContainsRune(login, filepath.Separator) {
			return done, fmt.Errorf("%q cannot be a file's name", login)
		}
		path := filepath.Join(x.To.Path, login)
		if x.Format == "mbox" {
			err = exportMbox(ctx, mail, login, path+".mbox", step)
		} else {
			err = mail.ExportMaildir(ctx, login, path, step)
		}
		if err != nil {
			return done, x.To.explain(err)
		}
		done.Accounts++
	}
	return done, nil
}

func exportMbox(ctx context.Context, mail Mail, login, path string, step func()) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(mail.ExportMbox(ctx, login, mailstore.Inbox, f, step), f.Close())
}

// Rooms implements People.
func (o *Owner) Rooms(ctx context.Context, who string) (int, error) {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return 0, err
	}
	list, err := rooms.Memberships(ctx, who)
	return len(list), err
}

// Erase implements People.
func (o *Owner) Erase(ctx context.Context, who string) (chat.Erased, error) {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return chat.Erased{}, err
	}
	return rooms.Erase(ctx, who)
}
