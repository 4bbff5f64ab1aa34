// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/mta/queue"
)

var queueCommand = &cli.Command{
	Name:            "queue",
	Usage:           "look after mail that waits for other servers",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "list", Usage: "list the mails that wait, or those for a domain", ArgsUsage: "[DOMAIN]",
			Flags: []cli.Flag{jsonFlag}, Action: listQueue,
		},
		{
			Name: "show", Usage: "show a mail that waits: its recipients, the last answers, its header", ArgsUsage: "ID",
			Flags: []cli.Flag{jsonFlag}, Action: showQueued,
		},
		changeQueue(queue.Retry, "try mails now", "Will try %s now."),
		changeQueue(queue.Hold, "keep mails without trying", "Holds %s until `chmaild queue release`."),
		changeQueue(queue.Release, "try held mails again", "Released %s."),
		changeQueue(queue.Drop, "forget mails; nobody is told", "Dropped %s."),
	},
}

func listQueue(c *cli.Context) error {
	args, err := anywhere(c, "json")
	if err != nil || len(args) > 1 {
		return cli.Exit("usage: chmaild queue list [--json] [DOMAIN]", 2)
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		list, err := a.Queued(c.Context, strings.Join(args, ""))
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(list)
		}
		type row struct {
			queue.Mail
			queue.Recipient
		}
		var rows []row
		for _, m := range list {
			for _, r := range m.Recipients {
				rows = append(rows, row{m, r})
			}
		}
		return printRows(c, rows, "ID\tSINCE\tSIZE\tFROM\tTO\tTRIES\tNEXT\tLAST ANSWER", func(r row) []any {
			return []any{r.ID, when(r.Arrived), r.Size, r.From, r.To, r.Tries, nextTry(r.Mail, r.Recipient),
				answerOf(r.Recipient)}
		})
	})(c)
}

func nextTry(m queue.Mail, r queue.Recipient) string {
	switch {
	case m.Held:
		return "held"
	case r.Failed:
		return "failed"
	case !r.Next.After(time.Now()):
		return "now"
	}
	return when(r.Next)
}

func answerOf(r queue.Recipient) string {
	if r.Answer == nil {
		return "-"
	}
	return r.Answer.String()
}

func showQueued(c *cli.Context) error {
	args, err := anywhere(c, "json")
	if err != nil || len(args) != 1 {
		return cli.Exit("usage: chmaild queue show [--json] ID", 2)
	}
	return withAdmin(func(c *cli.Context, a admin.Admin) error {
		m, err := a.ShowQueued(c.Context, args[0])
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return printJSON(m)
		}
		fmt.Printf("ID     %s\nFrom   <%s>%s\nSince  %s\nSize   %d octets\n", m.ID, m.From,
			word(m.Login != "", ", sent by "+m.Login, ""), when(m.Arrived), m.Size)
		for _, r := range m.Recipients {
			fmt.Printf("To     <%s>, %d tries, next %s\n", r.To, r.Tries, nextTry(m.Mail, r))
			if a := r.Answer; a != nil {
				from := strings.TrimSpace(a.Server + " " + a.Address)
				fmt.Printf("       %s%s\n", word(from != "", from+" said: ", ""), a)
			}
		}
		fmt.Printf("\n%s", m.Header)
		return nil
	})(c)
}

// changeQueue is a command that does something with mails.
func changeQueue(what queue.Action, usage, done string) *cli.Command {
	return &cli.Command{
		Name: string(what), Usage: usage, ArgsUsage: "ID|DOMAIN|all",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return cli.Exit(fmt.Sprintf("usage: chmaild queue %s ID|DOMAIN|all", what), 2)
			}
			return withAdmin(func(c *cli.Context, a admin.Admin) error {
				n, err := a.ChangeQueued(c.Context, what, c.Args().First())
				if err != nil {
					return err
				}
				fmt.Printf(done+"\n", word(n == 1, "1 mail", fmt.Sprintf("%d mails", n)))
				return nil
			})(c)
		},
	}
}

var suppressCommand = &cli.Command{
	Name:            "suppress",
	Usage:           "look after addresses that refuse mail, to which nothing is sent",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "list", Usage: "list the addresses that refused mail for good", Flags: []cli.Flag{jsonFlag},
			Action: withAdmin(func(c *cli.Context, a admin.Admin) error {
				if err := noArgs(c); err != nil {
					return err
				}
				list, err := a.Suppressed(c.Context)
				if err != nil {
					return err
				}
				return printRows(c, list, "ADDRESS\tREFUSED\tLAST\tSUPPRESSED UNTIL\tANSWER",
					func(s queue.Suppressed) []any {
						until := "not yet"
						if !s.Until.IsZero() {
							until = when(s.Until)
						}
						return []any{s.Address, s.Bounces, when(s.Last), until, s.Answer}
					})
			}),
		},
		{
			Name: "remove", Usage: "send mail to an address again", ArgsUsage: "ADDRESS",
			Action: func(c *cli.Context) error {
				if c.NArg() != 1 {
					return cli.Exit("usage: chmaild suppress remove ADDRESS", 2)
				}
				return withAdmin(func(c *cli.Context, a admin.Admin) error {
					if err := a.Unsuppress(c.Context, c.Args().First()); err != nil {
						return err
					}
					fmt.Printf("Mail for %s is taken again.\n", c.Args().First())
					return nil
				})(c)
			},
		},
	},
}
