// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/foxcpp/maddy"
	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/hooks"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/presence"
)

// adminSocket is where the server answers commands.
func adminSocket() string { return filepath.Join(maddyconfig.RuntimeDirectory, admin.SocketName) }

// Administer calls do with the server that runs, or, while none runs, with the
// files of the configuration's blocks.
func Administer(ctx context.Context, f *config.File, choice admin.Choice, do func(admin.Admin) error) error {
	registered, err := f.Register()
	if err != nil {
		return err
	}
	client, claim, err := admin.Connect(ctx, adminSocket(), maddyconfig.StateDirectory, choice)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		return do(client)
	}
	defer claim.Close()
	defer hooks.RunHooks(hooks.EventShutdown)
	p := &parts{mods: registered.Blocks}
	defer p.close()
	return do(admin.NewOwner(p.options(f, choice)))
}

// opensNothing: blocks are only read, since another process has the files. It
// is set before the first block is.
var opensNothing bool

// asksNobody: no other machine is asked. It is set before the first block is read.
var asksNobody bool

// Restore puts a backup into the places that the configuration names.
func Restore(ctx context.Context, f *config.File, dir string) (admin.Restored, error) {
	if _, err := f.Register(); err != nil { // sets the state directory, opens nothing
		return admin.Restored{}, err
	}
	mail, there := f.Folder("storage.maildrop", "path", mailstore.DefaultPath)
	if !there {
		return admin.Restored{}, errors.New("the configuration has no block storage.maildrop")
	}
	client, claim, err := admin.Connect(ctx, adminSocket(), maddyconfig.StateDirectory, admin.Choice{})
	if err != nil {
		return admin.Restored{}, err
	}
	if client != nil {
		client.Close()
		return admin.Restored{}, errors.New("a server runs: end it first, and move away what it left")
	}
	defer claim.Close()
	return admin.Restore(dir, admin.Places{State: maddyconfig.StateDirectory, Mail: mail, Files: filesFolder(f),
		Mall: mallFiles(f)})
}

// mallFiles are where a mall keeps its own; none: there is no mall.
func mallFiles(f *config.File) (m admin.MallFiles) {
	dsn, there := f.Value("mall.shop", "database", defaultMallDatabase)
	if !there {
		return m
	}
	if path, lite := strings.CutPrefix(dsn, "sqlite:"); lite {
		m.Database = inState(path)
	}
	m.Keys, _ = f.Folder("mall.shop", "keys", defaultMallKeys)
	m.Pictures = inState(mallPictures)
	return m
}

// filesFolder is the folder of the conversations' files; empty: none are kept.
func filesFolder(f *config.File) string {
	path, there := f.Folder("chat.relay", "files", defaultFiles)
	if !there || filepath.Base(path) == "off" {
		return ""
	}
	return path
}

// parts are a configuration's blocks, as commands need them.
type parts struct {
	endpoints, mods []maddy.ModInfo    // no endpoints: no server runs
	reader          presence.Directory // opened for a command
}

var (
	_ admin.Parts    = (*parts)(nil)
	_ admin.Sessions = (*Rooms)(nil)
	_ admin.Sessions = (*Relay)(nil)
)

func (p *parts) options(f *config.File, choice admin.Choice) admin.Options {
	return admin.Options{Parts: p, Choice: choice, State: maddyconfig.StateDirectory, Config: f.Path,
		Files: filesFolder(f), Domains: f.Domains(), Mall: mallFiles(f)}
}

// Accounts implements admin.Parts.
func (p *parts) Accounts(name string) (admin.Accounts, error) {
	users, err := config.One[module.PlainUserDB](p.mods, name, "block that keeps accounts (auth.accounts)")
	if err != nil {
		return nil, err
	}
	return users, nil
}

// Mailboxes implements admin.Parts.
func (p *parts) Mailboxes(name string) (admin.Mailboxes, error) {
	mail, err := config.One[admin.Mailboxes](p.mods, name, "block that keeps mail (storage.maildrop)")
	if err != nil {
		return nil, err
	}
	return mail, nil
}

// Mail implements admin.Parts.
func (p *parts) Mail(name string) (admin.Mail, error) {
	mail, err := config.One[*Maildrop](p.mods, name, "block storage.maildrop")
	if err != nil {
		return nil, err
	}
	return mail.store, nil
}

// Rooms implements admin.Parts.
func (p *parts) Rooms() (admin.Rooms, error) {
	rooms, err := config.One[*Rooms](p.mods, "", "block that keeps the conversations (chat.rooms)")
	if err != nil {
		return nil, err
	}
	if store := rooms.Store(); store != nil {
		return store, nil
	}
	return nil, errRoomsAway
}

// Addresses implements admin.Parts.
func (p *parts) Addresses() (*addresses.Store, error) {
	for _, m := range p.mods {
		if _, ok := m.Instance.(*Addresses); ok {
			one, err := config.One[*Addresses](p.mods, "", "block chmail.addresses")
			if err != nil {
				return nil, err
			}
			return one.open()
		}
	}
	return nil, nil
}

// Queue implements admin.Parts.
func (p *parts) Queue() (admin.Queue, error) {
	m, err := config.One[*Queue](p.mods, "", "queue of outgoing mail (target.chmail_queue)")
	if err != nil {
		return nil, err
	}
	q, err := m.open()
	if err != nil {
		return nil, err
	}
	return q, nil
}

// Guard implements admin.Parts.
func (p *parts) Guard() (admin.Guard, error) {
	if k := theProtection.Load(); k != nil {
		return k, nil
	}
	return nil, admin.ErrNoGuard
}

// Mall implements admin.Parts.
func (p *parts) Mall() (admin.Mall, error) {
	for _, e := range p.endpoints {
		if m, ok := e.Instance.(*Mall); ok {
			if it := m.it.Load(); it != nil {
				return it, nil
			}
			return nil, errors.New("the mall is not open yet")
		}
	}
	return nil, errors.New("no server with a mall runs")
}

// Door implements admin.Parts: of several web servers it is the one where people register.
func (p *parts) Door() (admin.Door, error) {
	var door admin.Door
	for _, e := range p.endpoints {
		if w, ok := e.Instance.(*Web); ok && (door == nil || w.registers) {
			door = w.server
		}
	}
	if door == nil {
		return nil, errors.New("no server with a block web runs: start it first")
	}
	return door, nil
}

// Presence implements admin.Parts.
func (p *parts) Presence() (admin.Presence, error) {
	m, err := config.One[*Presence](p.mods, "", "presence block (presence.local or presence.redis)")
	if err != nil {
		return nil, err
	}
	if m.Directory != nil {
		return m, nil
	}
	if p.reader == nil {
		if p.reader, err = m.OpenForReading(); err != nil {
			return nil, err
		}
	}
	return p.reader, nil
}

// Sessions implements admin.Parts: the guards of sign-ins, and what has a method SignOut.
func (p *parts) Sessions() []admin.Sessions {
	list := []admin.Sessions{&allGuards}
	for _, e := range p.endpoints {
		if s, ok := e.Instance.(admin.Sessions); ok {
			list = append(list, s)
		}
	}
	for _, m := range p.mods {
		if _, ok := m.Instance.(admin.Sessions); !ok {
			continue
		}
		if inst, err := module.GetInstance(m.Instance.InstanceName()); err == nil {
			list = append(list, inst.(admin.Sessions))
		} else {
			list = append(list, unopened{err})
		}
	}
	return list
}

// unopened is a block that could not be opened.
type unopened struct{ err error }

// SignOut implements admin.Sessions.
func (u unopened) SignOut(context.Context, string) error { return u.err }

func (p *parts) close() {
	if p.reader != nil {
		_ = p.reader.Close() // it was only read
	}
}
