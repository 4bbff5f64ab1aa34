// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/password"
	"github.com/chmail/chmail/modules"
	"github.com/chmail/chmail/presence"
)

// withAdmin gives a command the server that runs, or the files of one that does not.
func withAdmin(do func(*cli.Context, admin.Admin) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		f, err := config.Read(c.Path("config"))
		if err != nil {
			return err
		}
		choice := admin.Choice{Auth: c.String("auth"), Storage: c.String("storage")}
		return modules.Administer(c.Context, f, choice, func(a admin.Admin) error { return do(c, a) })
	}
}

var userCommand = &cli.Command{
	Name:            "user",
	Usage:           "manage accounts",
	HideHelpCommand: true,
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "auth", Usage: "`NAME` of the auth block, where there are several"},
		storageFlag,
	},
	Subcommands: append([]*cli.Command{
		{
			Name: "add", Usage: "add an account; the password comes from standard input", ArgsUsage: "LOGIN",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "quota", Usage: "bound of what it keeps, a `SIZE` like 5G"},
				&cli.PathFlag{Name: "from", Usage: "add the accounts of a CSV `FILE`: login,password,quota,forward"},
				&cli.BoolFlag{Name: "dry-run", Usage: "with --from: only say what would be refused"},
			},
			Action: addUser,
		},
		{
			Name: "passwd", Usage: "change a password; the new one comes from standard input", ArgsUsage: "LOGIN",
			Action: withLogin(func(c *cli.Context, a admin.Admin, login string) error {
				given, err := readPassword()
				if err != nil {
					return err
				}
				if err := a.SetPassword(c.Context, login, given); err != nil {
					return err
				}
				fmt.Printf("Changed the password of %s.\n", login)
				return nil
			}),
		},
		{
			Name: "remove", Usage: "remove an account and its mail", ArgsUsage: "LOGIN",
			Action: withLogin(func(c *cli.Context, a admin.Admin, login string) error {
				if err := a.RemoveUser(c.Context, login); err != nil {
					return err
				}
				fmt.Printf("Removed %s and its mail.\n", login)
				return nil
			}),
		},
		{
			Name: "list", Usage: "list the accounts",
			Flags: []cli.Flag{jsonFlag, &cli.BoolFlag{Name: "usage", Usage: "with what each keeps and has set"}},
			Action: withAdmin(func(c *cli.Context, a admin.Admin) error {
				if err := noArgs(c); err != nil {
					return err
				}
				if c.Bool("json") || c.Bool("usage") {
					list, err := a.Accounts(c.Context)
					if err != nil {
						return err
					}
					return printRows(c, list, "LOGIN\tKEEPS\tQUOTA\tMESSAGES\tSTATE\tFORWARD", accountRow)
				}
				logins, err := a.Logins(c.Context)
				for _, login := range logins {
					fmt.Println(login)
				}
				return err
			}),
		},
		appPasswordCommand,
	}, userSettings...),
}

// addUser adds one account, or those of a file.
func addUser(c *cli.Context) error {
	path := c.Path("from")
	if (path == "") != (c.NArg() == 1) || c.NArg() > 1 {
		return cli.Exit("usage: chmaild user add LOGIN, or chmaild user add --from FILE.csv [--dry-run]", 2)
	}
	quota, err := sizeOf(c.String("quota"))
	if err != nil {
		return err
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		if path != "" {
			return addFrom(c, a, path)
		}
		login := c.Args().First()
		if err := a.MayAdd(c.Context, login); err != nil {
			return err
		}
		given, err := readPassword()
		if err != nil {
			return err
		}
		if err := a.AddUser(c.Context, login, given); err != nil {
			return err
		}
		if quota != nil {
			if err := a.SetQuota(c.Context, login, quota); err != nil {
				return err
			}
		}
		fmt.Printf("Added %s.\n", login)
		return nil
	})(c)
}

var appPasswordCommand = &cli.Command{
	Name:            "app-password",
	Usage:           "manage passwords of devices, which open the mail of an account and not its desk",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "add", Usage: "make a password for a device, and show it once", ArgsUsage: "LOGIN DEVICE",
			Action: withDevice(func(c *cli.Context, a admin.Admin, login, device string) error {
				made, err := a.AddAppPassword(c.Context, login, device)
				if err == nil {
					fmt.Println(made)
				}
				return err
			}),
		},
		{
			Name: "revoke", Usage: "make the password of a device worthless", ArgsUsage: "LOGIN DEVICE",
			Action: withDevice(func(c *cli.Context, a admin.Admin, login, device string) error {
				if err := a.RevokeAppPassword(c.Context, login, device); err != nil {
					return err
				}
				fmt.Printf("Revoked the password of %s for %s.\n", login, device)
				return nil
			}),
		},
		{
			Name: "list", Usage: "list the devices of an account", ArgsUsage: "LOGIN", Flags: []cli.Flag{jsonFlag},
			Action: withLogin(func(c *cli.Context, a admin.Admin, login string) error {
				list, err := a.AppPasswords(c.Context, login)
				if err != nil {
					return err
				}
				return printRows(c, list, "DEVICE\tMADE\tUSED", func(p apppassword.Password) []any {
					used := "never"
					if !p.Used.IsZero() {
						used = when(p.Used)
					}
					return []any{p.Name, when(p.Made), used}
				})
			}),
		},
	},
}

func withDevice(do func(c *cli.Context, a admin.Admin, login, device string) error) cli.ActionFunc {
	open := withAdmin(func(c *cli.Context, a admin.Admin) error { return do(c, a, c.Args().First(), c.Args().Get(1)) })
	return func(c *cli.Context) error {
		if c.NArg() != 2 {
			return cli.Exit(fmt.Sprintf("usage: chmaild user app-password %s LOGIN DEVICE", c.Command.Name), 2)
		}
		return open(c)
	}
}

func withLogin(do func(c *cli.Context, a admin.Admin, login string) error) cli.ActionFunc {
	open := withAdmin(func(c *cli.Context, a admin.Admin) error { return do(c, a, c.Args().First()) })
	return func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit(fmt.Sprintf("usage: %s LOGIN", c.Command.HelpName), 2)
		}
		return open(c)
	}
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
	return line, password.Check(line)
}

// listing is a command that prints a list as a table or as JSON.
func listing[T any](name, usage, head string, list func(*cli.Context, admin.Admin) ([]T, error),
	row func(T) []any) *cli.Command {
	print := withAdmin(func(c *cli.Context, a admin.Admin) error {
		rows, err := list(c, a)
		if err != nil {
			return err
		}
		return printRows(c, rows, head, row)
	})
	return &cli.Command{
		Name: name, Usage: usage, Flags: []cli.Flag{jsonFlag},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			return print(c)
		},
	}
}

func printRows[T any](c *cli.Context, rows []T, head string, row func(T) []any) error {
	if c.Bool("json") {
		return printJSON(rows)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for _, r := range rows {
		cells := row(r)
		fmt.Fprintf(w, strings.Repeat("%v\t", len(cells)-1)+"%v\n", cells...)
	}
	return w.Flush()
}

var grantsCommand = listing("grants", "list the granted ports and whose they are",
	"PORT\tHOST\tLOGIN\tRENEWED\tIN USE\tHOST IS",
	func(c *cli.Context, a admin.Admin) ([]admin.Granted, error) { return a.Grants(c.Context) },
	func(g admin.Granted) []any {
		return []any{g.Port, g.Host, g.Login, when(g.Renewed), word(g.Held, "yes", ""), word(g.HostAlive, "up", "gone")}
	})

var hostsCommand = listing("hosts", "list the relay hosts that are up, with their ports and heartbeats",
	"HOST\tPORTS\tSTARTED\tHEARTBEAT\tID",
	func(c *cli.Context, a admin.Admin) ([]presence.Host, error) { return a.Hosts(c.Context) },
	func(h presence.Host) []any { return []any{h.Name, h.Ports, when(h.Started), when(h.Heartbeat), h.ID} })

var whoCommand = listing("who", "list where logins were seen last, their ports and their devices",
	"LOGIN\tADDRESS\tHOST\tBY\tSEEN\tPORT\tDEVICES NOW",
	func(c *cli.Context, a admin.Admin) ([]admin.Seen, error) { return a.Who(c.Context) },
	func(e admin.Seen) []any {
		var names []string
		for _, d := range e.Devices {
			names = append(names, strings.TrimSpace(string(d.Source)+" "+d.Name)+word(d.Away, " (away)", ""))
		}
		port := ""
		if e.Grant != nil {
			port = fmt.Sprint(e.Grant.Host, " ", e.Grant.Port)
		}
		return []any{e.Login, e.IP, e.Host, e.Source, when(e.Seen), port, strings.Join(names, ", ")}
	})

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
