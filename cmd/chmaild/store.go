// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/foxcpp/maddy"
	"github.com/foxcpp/maddy/framework/module"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/config"
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
			Name: "check", Usage: "read all mail and compare it with its checksums and counts; exits with 1 if something is wrong",
			Flags:  []cli.Flag{jsonFlag},
			Action: withStore(checkStore),
		},
		{
			Name: "stats", Usage: "print how much there is", Flags: []cli.Flag{jsonFlag},
			Action: withStore(func(c *cli.Context, m *modules.Maildrop) error {
				if err := noArgs(c); err != nil {
					return err
				}
				st, err := m.Admin().Stats()
				if err != nil {
					return err
				}
				if c.Bool("json") {
					return printJSON(st)
				}
				fmt.Printf("accounts   %d\nmailboxes  %d\nmessages   %d\nmail       %s\nfiles      %d\nindex      %s\nformat     %d\n",
					st.Accounts, st.Mailboxes, st.Messages, octets(st.Octets), st.Files, octets(int64(st.Disk)), st.Format)
				return nil
			}),
		},
		{
			Name: "export", Usage: "write accounts below DIR, each in a folder of its own", ArgsUsage: "DIR [LOGIN…]",
			Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Value: "maildir", Usage: "maildir, or mbox (INBOX only)"}},
			Action: withStore(exportStore),
		},
		{
			Name: "import", Usage: "put mail into the store",
			ArgsUsage: "maildir DIR LOGIN | mbox FILE LOGIN [MAILBOX] | imapsql DSN",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "driver", Value: "sqlite3", Usage: "imapsql: sqlite3 or postgres"},
				&cli.PathFlag{Name: "messages", Value: "messages", Usage: "imapsql: `DIR` of the bodies, below state_dir"},
				&cli.BoolFlag{Name: "new-uids", Usage: "imapsql: give messages new UIDs, where there is mail already"},
			},
			Action: withStore(importStore),
		},
	},
}

// withStore opens the configuration's storage.maildrop.
func withStore(do func(*cli.Context, *modules.Maildrop) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		return withConfig(c, func(_ *config.File, mods []maddy.ModInfo) error {
			m, err := config.One[*modules.Maildrop](mods, c.String("storage"), "block storage.maildrop")
			if err != nil {
				return err
			}
			return do(c, m)
		})
	}
}

// withView opens the mail for reading, beside a server as well.
func withView(ctx context.Context, m *modules.Maildrop, do func(*mailstore.Store) error) error {
	s, done, err := m.View(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(s), done())
}

func checkStore(c *cli.Context, m *modules.Maildrop) error {
	if err := noArgs(c); err != nil {
		return err
	}
	p := newProgress("messages checked")
	report, err := m.Admin().Check(c.Context, p.set)
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
			report.Messages, report.Mailboxes, report.Accounts, octets(report.Octets), report.Found)
	}
	if report.Found > 0 {
		return cli.Exit("the mail store is damaged; what is named above is lost unless a backup has it", 1)
	}
	return nil
}

func exportStore(c *cli.Context, m *modules.Maildrop) error {
	format := c.String("format")
	if c.NArg() < 1 || format != "maildir" && format != "mbox" {
		return cli.Exit("usage: chmaild store export [--format maildir|mbox] DIR [LOGIN…]", 2)
	}
	dir, err := invocationPath(c.Args().First())
	if err != nil {
		return err
	}
	return withView(c.Context, m, func(s *mailstore.Store) error {
		logins := c.Args().Tail()
		if len(logins) == 0 {
			if logins, err = s.Accounts(); err != nil {
				return err
			}
		}
		p := newProgress("messages exported")
		defer p.end()
		for _, login := range logins {
			if strings.ContainsRune(login, filepath.Separator) {
				return fmt.Errorf("%q cannot be a file's name", login)
			}
			path := filepath.Join(dir, login)
			if format == "maildir" {
				err = s.ExportMaildir(c.Context, login, path, p.step)
			} else {
				err = exportMbox(c.Context, s, login, path+".mbox", p)
			}
			if err != nil {
				return p.failed(err)
			}
		}
		p.tell("Exported %d messages of %d accounts to %s.\n", len(logins), dir)
		return nil
	})
}

func exportMbox(ctx context.Context, s *mailstore.Store, login, path string, p *progress) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(s.ExportMbox(ctx, login, mailstore.Inbox, f, p.step), f.Close())
}

func importStore(c *cli.Context, m *modules.Maildrop) error {
	args := c.Args().Slice()
	if len(args) > 1 && args[0] != "imapsql" { // a DSN is relative to the state directory, as in a configuration
		var err error
		if args[1], err = invocationPath(args[1]); err != nil {
			return err
		}
	}
	p := newProgress("messages imported")
	defer p.end()
	if err := importFrom(c, m, args, p); err != nil {
		return p.failed(err)
	}
	p.tell("Imported %d messages.\n")
	return nil
}

func importFrom(c *cli.Context, m *modules.Maildrop, args []string, p *progress) error {
	switch {
	case len(args) == 3 && args[0] == "maildir":
		return mailstore.ImportMaildir(c.Context, m.Admin(), args[2], args[1], p.step)
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
		return mailstore.ImportMbox(c.Context, m.Admin(), args[2], mailbox, f, p.step)
	case len(args) == 2 && args[0] == "imapsql":
		old, err := modules.OpenIMAPSQL(c.String("driver"), args[1], c.Path("messages"))
		if err != nil {
			return err
		}
		err = mailstore.ImportIMAP(c.Context, m.Admin(), old, c.Bool("new-uids"), p.step)
		if errors.Is(err, mailstore.ErrValidity) {
			err = fmt.Errorf("%w: give messages new UIDs with --new-uids, once, or import before the server takes mail", err)
		}
		return errors.Join(err, old.(io.Closer).Close())
	}
	return cli.Exit("usage: chmaild store import maildir DIR LOGIN | mbox FILE LOGIN [MAILBOX] | [--driver D] [--messages DIR] [--new-uids] imapsql DSN", 2)
}

var _ mailstore.IMAPSource = module.ManageableStorage(nil)

// progress tells how far a command is: in one line on a terminal, with a line a
// minute elsewhere, on standard error.
type progress struct {
	what     string
	out      io.Writer
	terminal bool
	mu       sync.Mutex
	done     int
	shown    time.Time
}

func newProgress(what string) *progress {
	return &progress{what: what, out: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd())), shown: time.Now()}
}

func (p *progress) step() { p.set(p.done+1, 0) }

func (p *progress) set(done, all int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	every := time.Minute
	if p.terminal {
		every = 100 * time.Millisecond
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	switch {
	case !p.terminal && all > 0:
		fmt.Fprintf(p.out, "%d of %d %s\n", done, all, p.what)
	case !p.terminal:
		fmt.Fprintf(p.out, "%d %s\n", done, p.what)
	case all > 0:
		const width = 40
		full := min(width*done/all, width)
		fmt.Fprintf(p.out, "\r[%s%s] %d of %d %s", strings.Repeat("#", full), strings.Repeat(".", width-full), done, all, p.what)
	default:
		fmt.Fprintf(p.out, "\r%d %s", done, p.what)
	}
}

func (p *progress) end() {
	if p.terminal && p.done > 0 {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

// tell says on standard output what was done: its count, and args.
func (p *progress) tell(format string, args ...any) {
	p.end()
	fmt.Printf(format, append([]any{p.done}, args...)...)
}

// failed says in an error how far it came: what was done stays.
func (p *progress) failed(err error) error {
	if p.done == 0 {
		return err
	}
	return fmt.Errorf("after %d %s: %w", p.done, p.what, err)
}

func octets(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d octets", n)
	}
	v, u := float64(n)/1024, 0
	for ; v >= 1024 && u < len(units)-1; u++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[u])
}
