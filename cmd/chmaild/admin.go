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
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/foxcpp/maddy"
	"github.com/foxcpp/maddy/framework/hooks"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/presence"
)

// listLimit bounds what `who` and `grants` read.
const listLimit = 100_000

var userCommand = &cli.Command{
	Name:            "user",
	Usage:           "manage accounts",
	HideHelpCommand: true,
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "auth", Usage: "`NAME` of the auth block, where there are several"},
		&cli.StringFlag{Name: "storage", Usage: "`NAME` of the storage block, where there are several"},
	},
	Subcommands: []*cli.Command{
		{
			Name: "add", Usage: "add an account; the password comes from standard input", ArgsUsage: "LOGIN",
			Action: withUser(addUser),
		},
		{
			Name: "passwd", Usage: "change a password; the new one comes from standard input", ArgsUsage: "LOGIN",
			Action: withUser(func(login string, a *accounts) error {
				if err := a.mustHave(login); err != nil {
					return err
				}
				password, err := readPassword()
				if err != nil {
					return err
				}
				if err := a.users.SetUserPassword(login, password); err != nil {
					return err
				}
				fmt.Printf("Changed the password of %s.\n", login)
				return nil
			}),
		},
		{
			Name: "remove", Usage: "remove an account and its mail", ArgsUsage: "LOGIN",
			Action: withUser(func(login string, a *accounts) error {
				if err := a.mustHave(login); err != nil {
					return err
				}
				if err := errors.Join(a.users.DeleteUser(login), a.mail.DeleteIMAPAcct(login)); err != nil {
					return err
				}
				fmt.Printf("Removed %s and its mail.\n", login)
				return nil
			}),
		},
		{
			Name: "list", Usage: "list the accounts", Flags: []cli.Flag{jsonFlag},
			Action: func(c *cli.Context) error {
				if err := noArgs(c); err != nil {
					return err
				}
				return withAccounts(c, func(a *accounts) error {
					logins, err := a.users.ListUsers()
					if err != nil {
						return err
					}
					slices.Sort(logins)
					if !c.Bool("json") {
						for _, login := range logins {
							fmt.Println(login)
						}
						return nil
					}
					type account struct {
						Login string `json:"login"`
					}
					list := make([]account, len(logins))
					for i, login := range logins {
						list[i].Login = login
					}
					return printJSON(list)
				})
			},
		},
	},
}

// accounts is what the user commands work on.
type accounts struct {
	users   module.PlainUserDB
	mail    module.ManageableStorage
	domains []string // that the server serves; empty: only its tables know
}

// has says whether there is an account of that name.
func (a *accounts) has(login string) (bool, error) {
	logins, err := a.users.ListUsers()
	return slices.Contains(logins, strings.ToLower(login)), err
}

func (a *accounts) mustHave(login string) error {
	there, err := a.has(login)
	if err == nil && !there {
		err = fmt.Errorf("there is no account %s: `chmaild user list` lists them", login)
	}
	return err
}

func addUser(login string, a *accounts) error {
	i := strings.LastIndexByte(login, '@')
	if i < 1 || i == len(login)-1 {
		return fmt.Errorf("%q is not a login: a login is a mail address, like you@mall.example", login)
	}
	if domain := strings.ToLower(login[i+1:]); len(a.domains) > 0 && !slices.Contains(a.domains, domain) {
		return fmt.Errorf("%s is not a domain of this server, which serves %s: name it in the configuration first",
			domain, strings.Join(a.domains, ", "))
	}
	there, err := a.has(login)
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("%s is there already: `chmaild user passwd %s` changes the password", login, login)
	}
	password, err := readPassword()
	if err != nil {
		return err
	}
	boxes, err := a.mail.ListIMAPAccts()
	if err != nil {
		return err
	}
	if !slices.Contains(boxes, strings.ToLower(login)) {
		if err := a.mail.CreateIMAPAcct(login); err != nil {
			return fmt.Errorf("making the mailbox: %w", err)
		}
	}
	if err := a.users.CreateUser(login, password); err != nil {
		return err
	}
	fmt.Printf("Added %s.\n", login)
	return nil
}

func withUser(do func(login string, a *accounts) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit(fmt.Sprintf("usage: chmaild user %s LOGIN", c.Command.Name), 2)
		}
		return withAccounts(c, func(a *accounts) error { return do(c.Args().First(), a) })
	}
}

func withAccounts(c *cli.Context, do func(*accounts) error) error {
	return withConfig(c, func(f *config.File, mods []maddy.ModInfo) (err error) {
		a := &accounts{domains: f.Domains()}
		a.users, err = config.One[module.PlainUserDB](mods, c.String("auth"), "block that keeps accounts (auth.pass_table)")
		if err != nil {
			return err
		}
		a.mail, err = config.One[module.ManageableStorage](mods, c.String("storage"), "block that keeps mail (storage.maildrop)")
		if err != nil {
			return err
		}
		return do(a)
	})
}

// withConfig opens the configuration's blocks for one command and closes what
// it used of them.
func withConfig(c *cli.Context, do func(*config.File, []maddy.ModInfo) error) error {
	f, err := config.Read(c.Path("config"))
	if err != nil {
		return err
	}
	mods, err := f.Admin()
	if err != nil {
		return err
	}
	defer hooks.RunHooks(hooks.EventShutdown)
	return do(f, mods)
}

// readPassword asks on a terminal without showing what is typed, and otherwise
// reads one line.
func readPassword() (string, error) {
	var line string
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		fmt.Fprint(os.Stderr, "Password: ")
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		line = string(b)
	} else {
		var err error
		line, err = bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the password: %w", err)
		}
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", errors.New("no password was given: type it, or pass it on standard input")
	case len(line) > 72:
		return "", errors.New("the password is longer than 72 octets, more than bcrypt can tell apart: choose a shorter one")
	}
	return line, nil
}

var grantsCommand = &cli.Command{
	Name:  "grants",
	Usage: "list the granted ports and whose they are",
	Flags: []cli.Flag{jsonFlag},
	Action: withPresence(func(c *cli.Context, d presence.Reader) error {
		list, err := listGrants(c.Context, d)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(list)
		}
		return table("PORT\tHOST\tLOGIN\tRENEWED\tIN USE\tHOST IS", len(list), func(w io.Writer, i int) {
			g := list[i]
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", g.Port, g.Host, g.Login, when(g.Renewed), word(g.Held, "yes", ""),
				word(g.HostAlive, "up", "gone"))
		})
	}),
}

// grantEntry is a granted port and whether its relay host is alive.
type grantEntry struct {
	presence.Grant
	HostAlive bool `json:"host_alive"`
}

func listGrants(ctx context.Context, d presence.Reader) ([]grantEntry, error) {
	grants, err := d.Grants(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	hosts, err := d.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	alive := make(map[string]bool)
	for _, h := range hosts {
		alive[h.Name] = true
	}
	list := make([]grantEntry, len(grants))
	for i, g := range grants {
		list[i] = grantEntry{g, alive[g.Host]}
	}
	return list, nil
}

var hostsCommand = &cli.Command{
	Name:  "hosts",
	Usage: "list the relay hosts that are up, with their ports and heartbeats",
	Flags: []cli.Flag{jsonFlag},
	Action: withPresence(func(c *cli.Context, d presence.Reader) error {
		hosts, err := d.Hosts(c.Context)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(emptyNotNull(hosts))
		}
		return table("HOST\tPORTS\tSTARTED\tHEARTBEAT\tID", len(hosts), func(w io.Writer, i int) {
			h := hosts[i]
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, h.Ports, when(h.Started), when(h.Heartbeat), h.ID)
		})
	}),
}

var whoCommand = &cli.Command{
	Name:  "who",
	Usage: "list where logins were seen last, their ports and their devices",
	Flags: []cli.Flag{jsonFlag},
	Action: withPresence(func(c *cli.Context, d presence.Reader) error {
		list, err := listWho(c.Context, d)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(list)
		}
		return table("LOGIN\tADDRESS\tHOST\tBY\tSEEN\tPORT\tDEVICES NOW", len(list), func(w io.Writer, i int) {
			e := list[i]
			var names []string
			for _, d := range e.Devices {
				names = append(names, strings.TrimSpace(string(d.Source)+" "+d.Name)+word(d.Away, " (away)", ""))
			}
			port := ""
			if e.Grant != nil {
				port = fmt.Sprint(e.Grant.Host, " ", e.Grant.Port)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Login, e.IP, e.Host, e.Source, when(e.Seen), port, strings.Join(names, ", "))
		})
	}),
}

// whoEntry is all that is known of a login.
type whoEntry struct {
	presence.Address
	Devices []presence.Device `json:"devices"`
	Grant   *presence.Grant   `json:"grant,omitempty"`
}

func listWho(ctx context.Context, d presence.Reader) ([]whoEntry, error) {
	addresses, err := d.Addresses(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	devices, err := d.AllDevices(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	grants, err := d.Grants(ctx, listLimit)
	if err != nil {
		return nil, err
	}
	list := make([]whoEntry, len(addresses))
	at := make(map[string]*whoEntry)
	for i, a := range addresses {
		list[i] = whoEntry{Address: a, Devices: []presence.Device{}}
		at[a.Login] = &list[i]
	}
	for _, d := range devices {
		if e := at[d.Login]; e != nil {
			e.Devices = append(e.Devices, d)
		}
	}
	for _, g := range grants {
		// A host that left may still have a grant that was made again elsewhere.
		if e := at[g.Login]; e != nil && (e.Grant == nil || g.Renewed.After(e.Grant.Renewed)) {
			e.Grant = &g
		}
	}
	return list, nil
}

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// withPresence opens the configuration's presence block for reading, beside a
// running server.
func withPresence(do func(*cli.Context, presence.Reader) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		return withConfig(c, func(_ *config.File, mods []maddy.ModInfo) error {
			m, err := config.One[*presence.Module](mods, "", "presence block (presence.local or presence.redis)")
			if err != nil {
				return err
			}
			d, err := m.OpenReader()
			if err != nil {
				return err
			}
			defer d.Close()
			ctx, cancel := context.WithTimeout(c.Context, 30*time.Second)
			defer cancel()
			c.Context = ctx
			return do(c, d)
		})
	}
}

func table(head string, rows int, row func(io.Writer, int)) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for i := range rows {
		row(w, i)
	}
	return w.Flush()
}

func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// emptyNotNull lets an empty list be [] in JSON.
func emptyNotNull[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
