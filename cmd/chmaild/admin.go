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
			Action: withUser(func(login string, users module.PlainUserDB, mail module.ManageableStorage) error {
				if i := strings.LastIndexByte(login, '@'); i < 1 || i == len(login)-1 {
					return fmt.Errorf("%q is not a login: a login is a mail address, like you@mall.example", login)
				}
				have, err := users.ListUsers()
				if err != nil {
					return err
				}
				if slices.Contains(have, strings.ToLower(login)) {
					return fmt.Errorf("%s is there already: `chmaild user passwd %s` changes the password", login, login)
				}
				password, err := readPassword()
				if err != nil {
					return err
				}
				boxes, err := mail.ListIMAPAccts()
				if err != nil {
					return err
				}
				if !slices.Contains(boxes, strings.ToLower(login)) {
					if err := mail.CreateIMAPAcct(login); err != nil {
						return fmt.Errorf("making the mailbox: %w", err)
					}
				}
				if err := users.CreateUser(login, password); err != nil {
					return err
				}
				fmt.Printf("Added %s.\n", login)
				return nil
			}),
		},
		{
			Name: "passwd", Usage: "change a password; the new one comes from standard input", ArgsUsage: "LOGIN",
			Action: withUser(func(login string, users module.PlainUserDB, _ module.ManageableStorage) error {
				password, err := readPassword()
				if err != nil {
					return err
				}
				if err := users.SetUserPassword(login, password); err != nil {
					return err
				}
				fmt.Printf("Changed the password of %s.\n", login)
				return nil
			}),
		},
		{
			Name: "remove", Usage: "remove an account and its mail", ArgsUsage: "LOGIN",
			Action: withUser(func(login string, users module.PlainUserDB, mail module.ManageableStorage) error {
				if err := errors.Join(users.DeleteUser(login), mail.DeleteIMAPAcct(login)); err != nil {
					return err
				}
				fmt.Printf("Removed %s and its mail.\n", login)
				return nil
			}),
		},
		{
			Name: "list", Usage: "list the accounts", Flags: []cli.Flag{jsonFlag},
			Action: func(c *cli.Context) error {
				return withModules(c, func(users module.PlainUserDB, _ module.ManageableStorage) error {
					logins, err := users.ListUsers()
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

func withUser(do func(login string, users module.PlainUserDB, mail module.ManageableStorage) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit(fmt.Sprintf("usage: chmaild user %s LOGIN", c.Command.Name), 2)
		}
		return withModules(c, func(users module.PlainUserDB, mail module.ManageableStorage) error {
			return do(c.Args().First(), users, mail)
		})
	}
}

func withModules(c *cli.Context, do func(module.PlainUserDB, module.ManageableStorage) error) error {
	return withConfig(c, func(mods []maddy.ModInfo) error {
		users, err := config.One[module.PlainUserDB](mods, c.String("auth"), "block that keeps accounts (auth.pass_table)")
		if err != nil {
			return err
		}
		mail, err := config.One[module.ManageableStorage](mods, c.String("storage"), "block that keeps mail (storage.imapsql)")
		if err != nil {
			return err
		}
		return do(users, mail)
	})
}

// withConfig opens the configuration's blocks for one command and closes what
// it used of them.
func withConfig(c *cli.Context, do func([]maddy.ModInfo) error) error {
	f, err := config.Read(c.Path("config"))
	if err != nil {
		return err
	}
	mods, err := f.Admin()
	if err != nil {
		return err
	}
	defer hooks.RunHooks(hooks.EventShutdown)
	return do(mods)
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
		grants, err := d.Grants(c.Context, listLimit)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(emptyNotNull(grants))
		}
		return table("PORT\tHOST\tLOGIN\tRENEWED\tIN USE", len(grants), func(w io.Writer, i int) {
			g := grants[i]
			use := ""
			if g.Held {
				use = "yes"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", g.Port, g.Host, g.Login, when(g.Renewed), use)
		})
	}),
}

var whoCommand = &cli.Command{
	Name:  "who",
	Usage: "list where logins were seen last, and their devices",
	Flags: []cli.Flag{jsonFlag},
	Action: withPresence(func(c *cli.Context, d presence.Reader) error {
		addresses, err := d.Addresses(c.Context, listLimit)
		if err != nil {
			return err
		}
		type entry struct {
			presence.Address
			Devices []presence.Device `json:"devices"`
		}
		list := make([]entry, len(addresses))
		for i, a := range addresses {
			devices, err := d.Devices(c.Context, a.Login)
			if err != nil {
				return err
			}
			list[i] = entry{a, emptyNotNull(devices)}
		}
		if c.Bool("json") {
			return printJSON(list)
		}
		return table("LOGIN\tADDRESS\tHOST\tBY\tSEEN\tDEVICES NOW", len(list), func(w io.Writer, i int) {
			e := list[i]
			var names []string
			for _, d := range e.Devices {
				names = append(names, strings.TrimSpace(string(d.Source)+" "+d.Name))
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Login, e.IP, e.Host, e.Source, when(e.Seen), strings.Join(names, ", "))
		})
	}),
}

// withPresence opens the configuration's presence block for reading, beside a
// running server.
func withPresence(do func(*cli.Context, presence.Reader) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		return withConfig(c, func(mods []maddy.ModInfo) error {
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
