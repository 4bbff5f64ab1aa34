// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/addresses"
	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/internal/words"
)

var domainCommand = &cli.Command{
	Name:            "domain",
	Usage:           "manage the domains whose mail is for this server",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "add", ArgsUsage: "DOMAIN",
			Usage: "serve a domain; its postmaster@ and abuse@ reach that of the first",
			Action: withArgs(1, 1, func(c *cli.Context, a admin.Admin, args []string) error {
				if err := a.AddDomain(c.Context, args[0]); err != nil {
					return err
				}
				fmt.Printf("Serving %s. Its mail needs an MX record and, to be signed, the domain in `modify { dkim }`"+
					" of the configuration.\n", addresses.Fold(args[0]))
				return nil
			}),
		},
		{
			Name: "remove", Usage: "serve a domain without accounts no longer; its aliases go", ArgsUsage: "DOMAIN",
			Action: withArgs(1, 1, func(c *cli.Context, a admin.Admin, args []string) error {
				if err := a.RemoveDomain(c.Context, args[0]); err != nil {
					return err
				}
				fmt.Printf("Removed %s and its aliases.\n", addresses.Fold(args[0]))
				return nil
			}),
		},
		listing("list", "list the domains", "DOMAIN\tFROM",
			func(c *cli.Context, a admin.Admin) ([]addresses.Domain, error) { return a.Domains(c.Context) },
			func(d addresses.Domain) []any { return []any{d.Name, word(d.Configured, "configuration", "command")} }),
	},
}

var aliasCommand = &cli.Command{
	Name:            "alias",
	Usage:           "manage addresses that are other people's: aliases, groups, and @DOMAIN for all the rest of one",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "add", Usage: "add members, here or elsewhere, to an alias", ArgsUsage: "ADDRESS MEMBER…",
			Action: withArgs(2, -1, func(c *cli.Context, a admin.Admin, args []string) error {
				if err := a.AddAlias(c.Context, args[0], args[1:]); err != nil {
					return err
				}
				fmt.Printf("Mail to %s reaches %s.\n", addresses.Fold(args[0]), strings.Join(args[1:], ", "))
				return nil
			}),
		},
		{
			Name: "remove", Usage: "take members out of an alias, or remove it", ArgsUsage: "ADDRESS [MEMBER…]",
			Action: withArgs(1, -1, func(c *cli.Context, a admin.Admin, args []string) error {
				if err := a.RemoveAlias(c.Context, args[0], args[1:]); err != nil {
					return err
				}
				if len(args) == 1 {
					fmt.Printf("Removed %s.\n", addresses.Fold(args[0]))
				} else {
					fmt.Printf("Took %s out of %s.\n", strings.Join(args[1:], ", "), addresses.Fold(args[0]))
				}
				return nil
			}),
		},
		listing("list", "list the aliases and their members", "ADDRESS\tMEMBERS",
			func(c *cli.Context, a admin.Admin) ([]addresses.Alias, error) { return a.Aliases(c.Context) },
			func(a addresses.Alias) []any { return []any{a.Addr, strings.Join(a.Members, ", ")} }),
	},
}

// withArgs is withAdmin for a command of so many arguments; no maximum: -1.
func withArgs(least, most int, do func(*cli.Context, admin.Admin, []string) error) cli.ActionFunc {
	open := withAdmin(func(c *cli.Context, a admin.Admin) error { return do(c, a, c.Args().Slice()) })
	return func(c *cli.Context) error {
		if n := c.NArg(); n < least || most >= 0 && n > most {
			return cli.Exit(fmt.Sprintf("usage: %s %s", c.Command.HelpName, c.Command.ArgsUsage), 2)
		}
		return open(c)
	}
}

// Commands of `chmaild user` about what is set for an account.
var userSettings = []*cli.Command{
	{
		Name: "disable", Usage: "keep a login out and refuse its mail; nothing is removed", ArgsUsage: "LOGIN",
		Flags: []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "`WORDS` for its owner"}},
		Action: withLogin(func(c *cli.Context, a admin.Admin, login string) error {
			if err := a.Disable(c.Context, login, true, c.String("reason")); err != nil {
				return err
			}
			fmt.Printf("Disabled %s: nobody signs in, and its mail is refused.\n", login)
			return nil
		}),
	},
	{
		Name: "enable", Usage: "let a disabled login in again", ArgsUsage: "LOGIN",
		Action: withLogin(func(c *cli.Context, a admin.Admin, login string) error {
			if err := a.Disable(c.Context, login, false, ""); err != nil {
				return err
			}
			fmt.Printf("Enabled %s.\n", login)
			return nil
		}),
	},
	{
		Name: "quota", Usage: "bound what an account keeps: 5G, 0 (no bound), or `default` (the configuration's)",
		ArgsUsage: "LOGIN SIZE",
		Action: withArgs(2, 2, func(c *cli.Context, a admin.Admin, args []string) error {
			octets, err := sizeOf(args[1])
			if err != nil {
				return err
			}
			if err := a.SetQuota(c.Context, args[0], octets); err != nil {
				return err
			}
			fmt.Printf("The quota of %s is %s.\n", args[0], args[1])
			return nil
		}),
	},
	{
		Name: "forward", ArgsUsage: "LOGIN [ADDRESS…]",
		Usage: "send an account's mail on; without an address: no longer",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "keep", Usage: "keep it in the mailbox, too"}},
		Action: withArgs(1, -1, func(c *cli.Context, a admin.Admin, args []string) error {
			if err := a.Forward(c.Context, args[0], args[1:], c.Bool("keep")); err != nil {
				return err
			}
			if len(args) == 1 {
				fmt.Printf("Mail to %s stays here.\n", args[0])
			} else {
				fmt.Printf("Mail to %s goes to %s.\n", args[0], strings.Join(args[1:], ", "))
			}
			return nil
		}),
	},
}

// sizeOf reads a quota: octets with a unit; nil for "default" and nothing.
func sizeOf(text string) (*int64, error) {
	if text == "" || text == "default" {
		return nil, nil
	}
	n := 0
	if text != "0" {
		var err error
		if n, err = maddyconfig.ParseDataSize(text); err != nil {
			return nil, fmt.Errorf("%q is not a size like 500M or 5G", text)
		}
	}
	octets := int64(n)
	return &octets, nil
}

// addFrom adds the accounts of a CSV file, and names every line that cannot be one.
func addFrom(c *cli.Context, a admin.Admin, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the accounts: %w", err)
	}
	defer f.Close()
	rows, refused, err := readUsers(f)
	if err != nil {
		return fmt.Errorf("reading the accounts of %s: %w", path, err)
	}
	try := c.Bool("dry-run")
	bar := newProgress("accounts")
	defer bar.end()
	const atOnce = 200 // a request has a bound
	added := 0
	for part := range slices.Chunk(rows, atOnce) {
		list := make([]admin.NewUser, len(part))
		for i, r := range part {
			list[i] = r.NewUser
		}
		not, err := a.AddUsers(c.Context, list, try)
		if err != nil {
			return bar.failed(err)
		}
		for _, n := range not {
			refused = append(refused, refusedLine{part[n.At].line, n.Text})
		}
		added += len(part) - len(not)
		bar.set(added, len(rows))
	}
	bar.end()
	slices.SortStableFunc(refused, func(a, b refusedLine) int { return a.line - b.line })
	for _, r := range refused {
		fmt.Fprintf(os.Stderr, "%s:%d: %s\n", path, r.line, r.text)
	}
	what := "Added %d accounts.\n"
	if try {
		what = "%d accounts can be added; nothing was done.\n"
	}
	fmt.Printf(what, added)
	if len(refused) > 0 {
		return fmt.Errorf("%d lines were refused", len(refused))
	}
	return nil
}

// userRow is an account and the line of the file that has it.
type userRow struct {
	admin.NewUser
	line int
}

type refusedLine struct {
	line int
	text string
}

// maxUsers is how many accounts a file may have.
const maxUsers = 1_000_000

// readUsers reads login, password, quota and forward, in this order or in that of a first
// line with these names.
func readUsers(in io.Reader) (rows []userRow, refused []refusedLine, err error) {
	r := csv.NewReader(in)
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comment = -1, true, '#'
	columns := []string{"login", "password", "quota", "forward"}
	taken := make(map[string]int) // by login: its line
	for first := true; ; first = false {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, refused, nil
		}
		if err != nil {
			return nil, nil, err // says the line
		}
		line, _ := r.FieldPos(0)
		if first && slices.Contains(record, "login") {
			for _, name := range record {
				if !slices.Contains(columns, name) {
					return nil, nil, fmt.Errorf("line %d: there is no column %q, only %s", line, name,
						strings.Join(columns, ", "))
				}
			}
			columns = record
			continue
		}
		if len(rows) == maxUsers {
			return nil, nil, fmt.Errorf("line %d: a file has at most %d accounts", line, maxUsers)
		}
		row, err := readUser(record, columns)
		if err == nil && taken[addresses.Fold(row.Login)] > 0 {
			err = fmt.Errorf("%s is in line %d already", row.Login, taken[addresses.Fold(row.Login)])
		}
		if err != nil {
			refused = append(refused, refusedLine{line, err.Error()})
			continue
		}
		taken[addresses.Fold(row.Login)] = line
		row.line = line
		rows = append(rows, row)
	}
}

func readUser(record, columns []string) (row userRow, err error) {
	if len(record) > len(columns) {
		return row, fmt.Errorf("it has %d columns instead of %s", len(record), strings.Join(columns, ", "))
	}
	for i, value := range record {
		switch columns[i] {
		case "login":
			row.Login = value
		case "password":
			row.Password = value
		case "quota":
			row.Quota, err = sizeOf(value)
		case "forward":
			row.Forward = strings.Fields(value)
		}
		if err != nil {
			return row, err
		}
	}
	return row, nil
}

// accountRow is an account in the table of `user list --usage`.
func accountRow(a admin.Account) []any {
	octets := words.Octets
	quota := "none"
	if a.Quota > 0 {
		quota = octets(a.Quota)
	}
	return []any{a.Login, octets(a.Octets), quota, a.Messages, word(a.Disabled, "disabled", ""),
		strings.Join(a.Forward, ", ")}
}
