// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/guard/reputation"
)

var guardCommand = &cli.Command{
	Name:            "guard",
	Usage:           "see and say whom the server lets in",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "list", Usage: "list the rules, and the addresses that are met worse than others",
			Flags: []cli.Flag{jsonFlag}, Action: withAdmin(guardList),
		},
		{
			Name: "why", Usage: "say what is known of an address, and how it is met", ArgsUsage: "ADDRESS",
			Flags: []cli.Flag{jsonFlag}, Action: guardWhy,
		},
		{
			Name: "ban", Usage: "keep an address or a network out", ArgsUsage: "ADDRESS[/LENGTH] [WHY…]",
			Flags: []cli.Flag{forFlag}, Action: func(c *cli.Context) error { return guardAdd(c, false) },
		},
		{
			Name: "allow", Usage: "let an address or a network in, whatever it does", ArgsUsage: "ADDRESS[/LENGTH] [WHY…]",
			Flags: []cli.Flag{forFlag}, Action: func(c *cli.Context) error { return guardAdd(c, true) },
		},
		{
			Name: "unban", Usage: "take the rules and bans of an address or a network back, and forgive what it did",
			ArgsUsage: "ADDRESS[/LENGTH]", Action: guardUnban,
		},
	},
}

var forFlag = &cli.DurationFlag{Name: "for", Usage: "how long, such as 24h; else until it is taken back"}

func guardList(c *cli.Context, a admin.Admin) error {
	list, err := a.GuardList(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(list)
	}
	if list.DryRun {
		fmt.Println("dry_run: nobody is met worse; this is what would be done.")
	}
	if err := printRows(c, list.Rules, "RULE\tPREFIX\tUNTIL\tWHY", func(r reputation.Rule) []any {
		until := "it is taken back"
		if !r.Until.IsZero() {
			until = when(r.Until)
		}
		return []any{word(r.Allow, "allow", "ban"), r.Prefix, until, r.Why}
	}); err != nil {
		return err
	}
	if len(list.Rules) > 0 && len(list.Addresses) > 0 {
		fmt.Println()
	}
	return printRows(c, list.Addresses, "LEVEL\tADDRESS\tSCORE\tTRUST\tWHAT IT DID", standingRow)
}

func standingRow(s reputation.Standing) []any {
	var did []string
	for _, fault := range slices.Sorted(maps.Keys(s.Faults)) {
		did = append(did, fmt.Sprintf("%s: %d", fault, s.Faults[fault]))
	}
	return []any{s.Level, s.Prefix, fmt.Sprintf("%.1f", s.Score), fmt.Sprintf("%.1f", s.Trust),
		cmp.Or(strings.Join(did, ", "), "nothing that is remembered")}
}

func guardWhy(c *cli.Context) error {
	args, err := anywhere(c, "json")
	if err != nil || len(args) != 1 {
		return cli.Exit("usage: chmaild guard why [--json] ADDRESS", 2)
	}
	ip, err := netip.ParseAddr(args[0])
	if err != nil {
		return fmt.Errorf("%q is not an address such as 192.0.2.7", args[0])
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		all, err := a.GuardWhy(c.Context, ip)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(all)
		}
		if r := all[0].Rule; r != nil {
			fmt.Printf("A rule %s %s: %s.\n", word(r.Allow, "lets in", "keeps out"), r.Prefix, cmp.Or(r.Why, "nobody said why"))
		}
		return printRows(c, all, "LEVEL\tADDRESS\tSCORE\tTRUST\tWHAT IT DID", standingRow)
	})(c)
}

func guardAdd(c *cli.Context, allow bool) error {
	args, err := anywhere(c, "for")
	if err != nil || len(args) == 0 {
		return cli.Exit(fmt.Sprintf("usage: chmaild guard %s [--for 24h] ADDRESS[/LENGTH] [WHY…]", c.Command.Name), 2)
	}
	p, err := reputation.ParsePrefix(args[0])
	if err != nil {
		return err
	}
	r := reputation.Rule{Prefix: p, Allow: allow, Why: strings.Join(args[1:], " ")}
	if length := c.Duration("for"); length != 0 {
		if length < time.Minute {
			return cli.Exit("--for must be 1m or more", 2)
		}
		r.Until = time.Now().Add(length).Truncate(time.Second)
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		if err := a.GuardAdd(c.Context, r, administratorAt()); err != nil {
			return err
		}
		fmt.Printf("%s %s.\n", word(allow, "Lets in", "Keeps out"), p)
		return nil
	})(c)
}

func guardUnban(c *cli.Context) error {
	if c.NArg() != 1 {
		return cli.Exit("usage: chmaild guard unban ADDRESS[/LENGTH]", 2)
	}
	p, err := reputation.ParsePrefix(c.Args().First())
	if err != nil {
		return err
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		n, err := a.GuardRemove(c.Context, p)
		if err != nil {
			return err
		}
		fmt.Printf("Took %d rules of %s back, and forgave what its addresses did.\n", n, p)
		return nil
	})(c)
}

// administratorAt is from where the administrator works over SSH; the zero Addr: here, or
// it is not known.
func administratorAt() netip.Addr {
	from, _, _ := strings.Cut(os.Getenv("SSH_CONNECTION"), " ")
	ip, _ := netip.ParseAddr(from)
	return ip
}
