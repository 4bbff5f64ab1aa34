// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/presence"
)

// exportPage is how many messages are read at once.
const exportPage = 1000

// exporter writes what is kept of one person: person.json, a file of each
// conversation in rooms/, and in files/ the files that the person sent.
type exporter struct {
	*Owner
	rooms Rooms
	who   string
	dir   string
	sum   *Exported
}

// Export implements People.
func (o *Owner) Export(ctx context.Context, who string, to Folder) (*Exported, error) {
	rooms, err := o.Parts.Rooms()
	if err != nil {
		return nil, err
	}
	if err := to.same(); err != nil {
		return nil, err
	}
	e := &exporter{o, rooms, strings.ToLower(strings.TrimSpace(who)), to.Path, &Exported{Folder: to.Path}}
	for _, dir := range []string{e.dir, filepath.Join(e.dir, "rooms"), filepath.Join(e.dir, "files")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, to.explain(fmt.Errorf("making the folder of the export: %w", err))
		}
	}
	return e.sum, e.write(ctx)
}

// personJSON is person.json.
type personJSON struct {
	Who      string            `json:"who"`
	Exported time.Time         `json:"exported"`
	Settings chat.Settings     `json:"settings"`
	Blocked  []chat.Block      `json:"blocked"`
	Browsers int               `json:"browsers"` // that take notifications
	Rooms    []roomJSON        `json:"rooms"`
	Seen     *presence.Address `json:"seen,omitempty"` // newest address
	Devices  []presence.Device `json:"devices"`        // connected now
	Port     int               `json:"port,omitempty"` // granted
	// AppPasswords are the devices that have a password of the account.
	AppPasswords []apppassword.Password `json:"app_passwords,omitempty"`
}

type roomJSON struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Me      int64  `json:"me"` // participant
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	File    string `json:"file"` // within the export
}

func (e *exporter) write(ctx context.Context) error {
	p := personJSON{Who: e.who, Exported: time.Now().UTC(), Rooms: []roomJSON{}}
	of, err := e.rooms.Settings(ctx, e.who)
	if err != nil {
		return err
	}
	p.Settings = of[e.who]
	if p.Blocked, err = e.rooms.Blocks(ctx, e.who); err != nil {
		return err
	}
	browsers, err := e.rooms.Subscriptions(ctx, e.who)
	if err != nil {
		return err
	}
	p.Blocked, p.Browsers = notNil(p.Blocked), len(browsers)
	list, err := e.rooms.Memberships(ctx, e.who)
	if err != nil {
		return err
	}
	for _, m := range list {
		r, err := e.room(ctx, m)
		if err != nil {
			return err
		}
		p.Rooms = append(p.Rooms, r)
		e.sum.Rooms++
	}
	if p.AppPasswords, err = e.devices(ctx); err != nil {
		e.sum.Left = append(e.sum.Left, fmt.Sprintf("devices with app passwords were left out: %v", err))
	}
	if err := e.presence(ctx, &p); err != nil {
		e.sum.Left = append(e.sum.Left, fmt.Sprintf("presence was left out: %v", err))
	}
	return writeJSON(filepath.Join(e.dir, "person.json"), p)
}

// devices are those that have a password of the person's account, if there is one.
func (e *exporter) devices(ctx context.Context) ([]apppassword.Password, error) {
	there, err := e.has(ctx, e.who)
	if err != nil || !there {
		return nil, err
	}
	list, err := e.AppPasswords(ctx, e.who)
	if errors.Is(err, apppassword.ErrNone) {
		return nil, nil
	}
	return list, err
}

// presence adds where the person was seen last.
func (e *exporter) presence(ctx context.Context, p *personJSON) error {
	p.Devices = []presence.Device{}
	d, err := e.Parts.Presence()
	if err != nil {
		return err
	}
	a, err := d.Lookup(ctx, e.who)
	switch {
	case err == nil:
		p.Seen = &a
	case !errors.Is(err, presence.ErrUnknown):
		return err
	}
	devices, err := d.Devices(ctx, e.who)
	if err != nil {
		return err
	}
	p.Devices = notNil(devices)
	g, err := d.GrantOf(ctx, e.who)
	switch {
	case err == nil:
		p.Port = g.Port
	case !errors.Is(err, presence.ErrUnknown):
		return err
	}
	return nil
}

// room writes one conversation, as the person can read it.
func (e *exporter) room(ctx context.Context, m chat.Membership) (r roomJSON, err error) {
	info, err := e.rooms.Info(ctx, m.Room)
	if err != nil {
		return r, err
	}
	name := fmt.Sprintf("%s-%d.json", m.Room, m.ID)
	r = roomJSON{ID: m.Room, Subject: info.Subject, Me: m.ID, Name: m.Name, Addr: m.Addr, File: "rooms/" + name}
	info.Participants = chat.Listed(info.Participants, m.ID)
	messages := []chat.Message{}
	for after := int64(0); ; {
		page, err := e.rooms.Messages(ctx, m.Room, after, exportPage)
		if err != nil {
			return r, err
		}
		for _, said := range page {
			after = said.Offset
			messages = append(messages, said)
			if said.From != m.ID {
				continue
			}
			if said.Kind == chat.KindText || said.Kind == chat.KindFile {
				e.sum.Messages++
			}
			if said.File != nil {
				if err := e.file(m.Room, said); err != nil {
					return r, err
				}
			}
		}
		if len(page) < exportPage {
			break
		}
	}
	notes, err := e.notes(ctx, m, info.Owner)
	if err != nil {
		return r, err
	}
	return r, writeJSON(filepath.Join(e.dir, "rooms", name), struct {
		chat.Info
		Me       int64           `json:"me"`
		Messages []chat.Message  `json:"messages"`
		Notes    []chat.TeamNote `json:"notes,omitempty"`
	}{info, m.ID, messages, notes})
}

// notes are those among colleagues about a conversation: of one's own all, of others'
// what the person noted.
func (e *exporter) notes(ctx context.Context, m chat.Membership, owner int64) ([]chat.TeamNote, error) {
	if m.Login != e.who { // a customer is nobody's colleague
		return nil, nil
	}
	list, err := e.rooms.TeamNotes(ctx, e.who, m.Room)
	if m.ID != owner {
		list = slices.DeleteFunc(list, func(n chat.TeamNote) bool { return n.Login != e.who })
	}
	return list, err
}

// file copies a file that the person sent.
func (e *exporter) file(roomID string, m chat.Message) error {
	in, err := files.View(filepath.Join(e.Files, m.File.Folder)).Open(m.File.ID, false)
	if e.Files == "" || errors.Is(err, files.ErrUnknown) {
		e.sum.Missing++
		e.sum.Left = append(e.sum.Left,
			fmt.Sprintf("the file %s of the conversation %s is not in %s", m.File.ID, roomID, e.Files))
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	name := fmt.Sprintf("%s-%d-%s", roomID, m.Offset, m.File.Name)
	out, err := os.OpenFile(filepath.Join(e.dir, "files", name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copying a file: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying a file: %w", err)
	}
	e.sum.Files++
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}
