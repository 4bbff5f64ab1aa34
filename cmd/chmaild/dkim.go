// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	maddyconfig "github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/mta/dkimkeys"
)

var forceFlag = &cli.BoolFlag{Name: "force"}

var dkimCommand = &cli.Command{
	Name:            "dkim",
	Usage:           "look after the keys that mail is signed with",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "list", Usage: "list the keys, and whether the DNS has their records", Flags: []cli.Flag{jsonFlag},
			Action: listKeys,
		},
		{
			Name: "rotate", Usage: "make a new key; it signs once its record is in the DNS, or at once with --force",
			ArgsUsage: "DOMAIN", Flags: []cli.Flag{forceFlag}, Action: rotateKey,
		},
		{
			Name: "retire", Usage: "remove a key a week after it has signed last, or at once with --force",
			ArgsUsage: "DOMAIN SELECTOR", Flags: []cli.Flag{forceFlag}, Action: retireKey,
		},
	},
}

// signedDomains are the domains that the configuration signs for, with keys that can be changed.
func signedDomains(c *cli.Context, name string) (list []dkimkeys.Domain, err error) {
	f, err := config.Read(c.Path("config"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Register(); err != nil { // sets the state directory, opens nothing
		return nil, err
	}
	for n := range f.All() {
		if n.Name != "chmail_dkim" {
			continue
		}
		for _, d := range f.DKIM(n) {
			if name == "" || strings.EqualFold(name, d.Name) {
				list = append(list, d)
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the configuration signs no mail of " + word(name == "", "a domain", name) +
			" with chmail_dkim")
	}
	return list, admin.Mine(maddyconfig.StateDirectory)
}

func lookupTXT(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return dns.DefaultResolver().LookupTXT(ctx, name)
}

func listKeys(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	list, err := signedDomains(c, "")
	if err != nil {
		return err
	}
	type row struct {
		Domain   string    `json:"domain"`
		Selector string    `json:"selector"`
		State    string    `json:"state"` // signs, next or retired
		InDNS    bool      `json:"in_dns"`
		MayGo    time.Time `json:"may_go,omitzero"`
	}
	rows := []row{}
	for _, d := range list {
		s, err := d.Load()
		if err != nil {
			return err
		}
		add := func(selector, state string, mayGo time.Time) {
			seen, _ := d.Seen(c.Context, selector, lookupTXT) // no key yet: no record
			rows = append(rows, row{d.Name, selector, state, seen, mayGo})
		}
		add(s.Current, "signs", time.Time{})
		if s.Next != "" {
			add(s.Next, "next", time.Time{})
		}
		for _, r := range s.Retired {
			add(r.Selector, "retired", r.Since.Add(dkimkeys.KeepOld))
		}
	}
	return printRows(c, rows, "DOMAIN\tSELECTOR\tSTATE\tIN DNS\tRECORD MAY GO", func(r row) []any {
		return []any{r.Domain, r.Selector, r.State, word(r.InDNS, "yes", "no"),
			word(r.MayGo.IsZero(), "-", when(r.MayGo))}
	})
}

func rotateKey(c *cli.Context) error {
	args, err := anywhere(c, "force")
	if err != nil || len(args) != 1 {
		return cli.Exit("usage: chmaild dkim rotate [--force] DOMAIN", 2)
	}
	list, err := signedDomains(c, args[0])
	if err != nil {
		return err
	}
	d := list[0]
	selector, err := d.Rotate(time.Now(), c.Bool("force"))
	if err != nil && !errors.Is(err, dkimkeys.ErrRotating) {
		return err
	}
	record, recordErr := d.Record(selector)
	if recordErr != nil {
		return recordErr
	}
	fmt.Println(zoneLine(d.RecordName(selector), record))
	fmt.Fprintf(os.Stderr, "%s\n", word(c.Bool("force"),
		"The key "+selector+" signs from now on: its record must be in the DNS.",
		"Put this record into the DNS. The server looks every five minutes, and signs with "+selector+
			" once it is there.\nLeave the old record: `chmaild dkim list` says when it may go."))
	return err
}

// zoneLine is a TXT record as a zone file has it, in strings of 255 octets at most.
func zoneLine(name, text string) string {
	var b strings.Builder
	b.WriteString(name + ". IN TXT (")
	for len(text) > 0 {
		n := min(len(text), 255)
		fmt.Fprintf(&b, " %q", text[:n])
		text = text[n:]
	}
	return b.String() + " )"
}

func retireKey(c *cli.Context) error {
	args, err := anywhere(c, "force")
	if err != nil || len(args) != 2 {
		return cli.Exit("usage: chmaild dkim retire [--force] DOMAIN SELECTOR", 2)
	}
	list, err := signedDomains(c, args[0])
	if err != nil {
		return err
	}
	if err := list[0].Retire(args[1], time.Now(), c.Bool("force")); err != nil {
		return err
	}
	fmt.Printf("Removed the key. Now take %s out of the DNS.\n", list[0].RecordName(args[1]))
	return nil
}
