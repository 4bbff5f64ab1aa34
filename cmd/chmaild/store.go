// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/modules"
)

var storageFlag = &cli.StringFlag{Name: "storage", Usage: "`NAME` of the storage block, where there are several"}

var storeCommand = &cli.Command{
	Name:            "store",
	Usage:           "check, count, fill and empty the mail store, beside a running server too",
	HideHelpCommand: true,
	Flags:           []cli.Flag{storageFlag},
	Subcommands: []*cli.Command{
		{
			Name:   "check",
			Usage:  "read all mail and compare it with its checksums and counts; exits with 1 if something is wrong",
			Flags:  []cli.Flag{jsonFlag},
			Action: withAdmin(checkStore),
		},
		{
			Name: "stats", Usage: "print how much there is", Flags: []cli.Flag{jsonFlag},
			Action: withAdmin(func(c *cli.Context, a admin.Admin) error {
				if err := noArgs(c); err != nil {
					return err
				}
				st, err := a.Stats(c.Context)
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return printJSON(st)
				}
				fmt.Printf("accounts   %d\nmailboxes  %d\nmessages   %d\nmail       %s\n",
					st.Accounts, st.Mailboxes, st.Messages, words.Octets(st.Octets))
				fmt.Printf("files      %d\nindex      %s\nformat     %d\n", st.Files, words.Octets(int64(st.Disk)),
					st.Format)
				return nil
			}),
		},
		{
			Name: "export", Usage: "write accounts below DIR, each in a folder of its own", ArgsUsage: "DIR [LOGIN…]",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Value: "maildir", Usage: "maildir, or mbox (INBOX only)"},
			},
			Action: exportStore,
		},
		{
			Name: "import", Usage: "put mail into the store",
			ArgsUsage: "maildir DIR LOGIN | mbox FILE LOGIN [MAILBOX] | imapsql DSN",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "driver", Value: "sqlite3", Usage: "imapsql: sqlite3 or postgres"},
				&cli.PathFlag{
					Name: "messages", Value: "messages", Usage: "imapsql: `DIR` of the bodies, below state_dir",
				},
				&cli.BoolFlag{Name: "new-uids", Usage: "imapsql: give messages new UIDs, where there is mail already"},
			},
			Action: importStore,
		},
	},
}

func checkStore(c *cli.Context, a admin.Admin) error {
	if err := noArgs(c); err != nil {
		return err
	}
	p := newProgress("messages checked")
	report, err := a.Check(c.Context, p.set)
	p.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := printJSON(report); err != nil {
			return err
		}
	} else {
		for _, problem := range report.Problems {
			fmt.Println(problem)
		}
		fmt.Printf("%d messages in %d mailboxes of %d accounts, %s: %d problems\n",
			report.Messages, report.Mailboxes, report.Accounts, words.Octets(report.Octets), report.Found)
	}
	if report.Found > 0 {
		return cli.Exit("the mail store is damaged; what is named above is lost unless a backup has it", 1)
	}
	return nil
}

func exportStore(c *cli.Context) error {
	x := admin.MailExport{Format: c.String("format"), Logins: c.Args().Tail()}
	if c.NArg() < 1 || x.Format != "maildir" && x.Format != "mbox" {
		return cli.Exit("usage: chmaild store export [--format maildir|mbox] DIR [LOGIN…]", 2)
	}
	var err error
	if x.To, err = admin.FolderAt(c.Args().First()); err != nil {
		return err
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		p := newProgress("messages exported")
		defer p.end()
		done, err := a.ExportMail(c.Context, x, p.set)
		if err != nil {
			return p.failed(err)
		}
		p.end()
		fmt.Printf("Exported %d messages of %d accounts to %s.\n", done.Messages, done.Accounts, x.To.Path)
		return nil
	})(c)
}

func importStore(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) > 1 && args[0] != "imapsql" { // a DSN is relative to the state directory, as in a configuration
		var err error
		if args[1], err = filepath.Abs(args[1]); err != nil {
			return err
		}
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		p := newProgress("messages imported")
		defer p.end()
		if err := importFrom(c, a, args, p); err != nil {
			return p.failed(err)
		}
		p.end()
		fmt.Printf("Imported %d messages.\n", p.done)
		return nil
	})(c)
}

func importFrom(c *cli.Context, to mailstore.Importer, args []string, p *progress) error {
	switch {
	case len(args) == 3 && args[0] == "maildir":
		return mailstore.ImportMaildir(c.Context, to, args[2], args[1], p.step)
	case (len(args) == 3 || len(args) == 4) && args[0] == "mbox":
		mailbox := mailstore.Inbox
		if len(args) == 4 {
			mailbox = args[3]
		}
		f, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		return mailstore.ImportMbox(c.Context, to, args[2], mailbox, f, p.step)
	case len(args) == 2 && args[0] == "imapsql":
		old, err := modules.OpenIMAPSQL(c.String("driver"), args[1], c.Path("messages"))
		if err != nil {
			return err
		}
		err = mailstore.ImportIMAP(c.Context, to, old, c.Bool("new-uids"), p.step)
		if errors.Is(err, mailstore.ErrValidity) {
			err = fmt.Errorf("%w: give messages new UIDs with --new-uids, once, "+
				"or import before the server takes mail", err)
		}
		return errors.Join(err, old.(io.Closer).Close())
	}
	return cli.Exit("usage: chmaild store import maildir DIR LOGIN | mbox FILE LOGIN [MAILBOX] | "+
		"[--driver D] [--messages DIR] [--new-uids] imapsql DSN", 2)
}
