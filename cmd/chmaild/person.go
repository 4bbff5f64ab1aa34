// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
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

	"github.com/foxcpp/maddy"
	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/modules"
	"github.com/chmail/chmail/presence"
)

// exportPage is how many messages are read at once.
const exportPage = 1000

var exportCommand = &cli.Command{
	Name:      "export",
	Usage:     "write what is kept of a person, of conversations, into a new folder",
	ArgsUsage: "LOGIN|ADDRESS DIR",
	Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print what was written as JSON"}},
	Action: func(c *cli.Context) error {
		args, err := anywhere(c, "json")
		if err != nil || len(args) != 2 {
			return cli.Exit("usage: chmaild export [--json] LOGIN|ADDRESS DIR", 2)
		}
		dir, err := filepath.Abs(args[1])
		if err != nil {
			return err
		}
		return withConfig(c, func(_ *config.File, mods []maddy.ModInfo) error {
			e, err := newExporter(c.Context, mods, args[0], dir)
			if err != nil {
				return err
			}
			if err := e.write(c.Context, mods); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(e.sum)
			}
			fmt.Printf("Wrote %s: %d conversations, %d messages, %d files.\n", e.dir, e.sum.Rooms, e.sum.Messages, e.sum.Files)
			return nil
		})
	},
}

var eraseCommand = &cli.Command{
	Name:      "erase",
	Usage:     "erase a person from all conversations; what others wrote stays",
	ArgsUsage: "LOGIN|ADDRESS",
	Flags:     []cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "do not ask"}, jsonFlag},
	Action: func(c *cli.Context) error {
		args, err := anywhere(c, "yes", "json")
		if err != nil || len(args) != 1 {
			return cli.Exit("usage: chmaild erase [--yes] [--json] LOGIN|ADDRESS", 2)
		}
		return withConfig(c, func(_ *config.File, mods []maddy.ModInfo) error {
			who := args[0]
			rooms, err := oneRooms(mods)
			if err != nil {
				return err
			}
			list, err := rooms.Memberships(c.Context, who)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				fmt.Fprintf(os.Stderr, "%s is in %d conversations. Their messages, files, links, settings and name go, and cannot be had back.\n"+
					"Type the login or address again to erase it: ", who, len(list))
				line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("reading the answer: %w", err)
				}
				if strings.TrimSpace(line) != who {
					return errors.New("nothing was erased")
				}
			}
			e, err := rooms.Erase(c.Context, who)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(e)
			}
			fmt.Printf("Erased %s from %d conversations: %d messages, %d files.\n", who, e.Rooms, e.Messages, e.Files)
			fmt.Println("The account and its mail are others' matter: chmaild user remove LOGIN. Presence forgets by itself.")
			return nil
		})
	},
}

// anywhere returns a command's arguments, of which flags may stand behind
// others too.
func anywhere(c *cli.Context, flags ...string) (args []string, err error) {
	for _, arg := range c.Args().Slice() {
		name, dashed := strings.CutPrefix(arg, "--")
		switch {
		case !dashed:
			args = append(args, arg)
		case !slices.Contains(flags, name):
			return nil, fmt.Errorf("there is no option %s", arg)
		default:
			if err := c.Set(name, "true"); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}

func oneRooms(mods []maddy.ModInfo) (*modules.Rooms, error) {
	return config.One[*modules.Rooms](mods, "", "block that keeps the conversations (chat.rooms)")
}

// exporter writes what is kept of one person: person.json, a file of each
// conversation in rooms/, and in files/ the files that the person sent.
type exporter struct {
	rooms *modules.Rooms
	kept  string // folder of the relays' files; empty: none
	who   string
	dir   string
	sum   struct {
		Folder   string `json:"folder"`
		Rooms    int    `json:"rooms"`
		Messages int    `json:"messages"` // the person's own
		Files    int    `json:"files"`
		Missing  int    `json:"missing"` // files that are not in the folder
	}
}

func newExporter(ctx context.Context, mods []maddy.ModInfo, who, dir string) (*exporter, error) {
	rooms, err := oneRooms(mods)
	if err != nil {
		return nil, err
	}
	e := &exporter{rooms: rooms, who: strings.ToLower(strings.TrimSpace(who)), dir: dir}
	if relay, err := config.One[*modules.Relay](mods, "", "chat.relay block"); err == nil {
		e.kept = relay.Files()
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the export: %w", err)
	}
	e.sum.Folder = dir
	for _, name := range []string{"rooms", "files"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("making the folder of the export: %w", err)
		}
	}
	return e, ctx.Err()
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
}

type roomJSON struct {
	ID      string `json:"id"`
	Subject string `json:"subject"`
	Me      int64  `json:"me"` // participant
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	File    string `json:"file"` // within the export
}

func (e *exporter) write(ctx context.Context, mods []maddy.ModInfo) error {
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
	p.Blocked, p.Browsers = emptyNotNull(p.Blocked), len(browsers)
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
	if err := e.presence(ctx, mods, &p); err != nil {
		fmt.Fprintf(os.Stderr, "chmaild: presence was left out: %v\n", err)
	}
	return writeJSON(filepath.Join(e.dir, "person.json"), p)
}

// presence adds where the person was seen last.
func (e *exporter) presence(ctx context.Context, mods []maddy.ModInfo, p *personJSON) error {
	p.Devices = []presence.Device{}
	m, err := config.One[*modules.Presence](mods, "", "presence block (presence.local or presence.redis)")
	if err != nil {
		return err
	}
	d, err := m.OpenForReading()
	if err != nil {
		return err
	}
	defer d.Close()
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
	p.Devices = emptyNotNull(devices)
	if g, err := d.GrantOf(ctx, e.who); err == nil {
		p.Port = g.Port
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
	return r, writeJSON(filepath.Join(e.dir, "rooms", name), struct {
		chat.Info
		Me       int64          `json:"me"`
		Messages []chat.Message `json:"messages"`
	}{info, m.ID, messages})
}

// file copies a file that the person sent.
func (e *exporter) file(roomID string, m chat.Message) error {
	in, err := files.View(filepath.Join(e.kept, m.File.Folder)).Open(m.File.ID, false)
	if e.kept == "" || errors.Is(err, files.ErrUnknown) {
		fmt.Fprintf(os.Stderr, "chmaild: the file %s of the conversation %s is not in %s\n", m.File.ID, roomID, e.kept)
		e.sum.Missing++
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(e.dir, "files", fmt.Sprintf("%s-%d-%s", roomID, m.Offset, m.File.Name)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
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
