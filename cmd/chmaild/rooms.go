// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
)

var linkCommand = &cli.Command{
	Name:            "link",
	Usage:           "take back links into conversations",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{{
		Name: "revoke", Usage: "take a link back; whoever came in through it leaves at once", ArgsUsage: "URL|TOKEN",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return cli.Exit("usage: chmaild link revoke URL|TOKEN", 2)
			}
			return withAdmin(func(c *cli.Context, a admin.Admin) error {
				if err := a.RevokeLink(c.Context, c.Args().First()); err != nil {
					return err
				}
				fmt.Println("Took the link back. Whoever came in through it is out.")
				return nil
			})(c)
		},
	}},
}

var roomCommand = &cli.Command{
	Name:            "room",
	Usage:           "list conversations, and put people out of them",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{
		{
			Name: "list", Usage: "list the conversations of a person", ArgsUsage: "LOGIN|ADDRESS",
			Flags: []cli.Flag{jsonFlag},
			Action: func(c *cli.Context) error {
				args, err := anywhere(c, "json")
				if err != nil || len(args) != 1 {
					return cli.Exit("usage: chmaild room list [--json] LOGIN|ADDRESS", 2)
				}
				return withAdmin(func(c *cli.Context, a admin.Admin) error {
					list, err := a.ListRooms(c.Context, args[0])
					if err != nil {
						return err
					}
					return printRows(c, list, "ROOM\tBEGAN\tPEOPLE\tSUBJECT", func(r admin.Room) []any {
						var people []string
						for _, p := range r.People {
							name := p.Addr
							if name == "" || p.Guest {
								name = fmt.Sprintf("%s (#%d)", p.DisplayName(), p.ID)
							}
							people = append(people, name+word(p.Removed, " (put out)", ""))
						}
						return []any{r.ID, when(r.Created), strings.Join(people, ", "), r.Subject}
					})
				})(c)
			},
		},
		{
			Name: "remove", Usage: "put a person out of a conversation, at once; their links open it no more",
			ArgsUsage: "ROOM LOGIN|ADDRESS|#ID",
			Action: func(c *cli.Context) error {
				if c.NArg() != 2 {
					return cli.Exit("usage: chmaild room remove ROOM LOGIN|ADDRESS|#ID", 2)
				}
				return withAdmin(func(c *cli.Context, a admin.Admin) error {
					p, err := a.RemovePerson(c.Context, c.Args().First(), c.Args().Get(1))
					if err != nil {
						return err
					}
					fmt.Printf("Put %s out of the conversation %s.\n", p.DisplayName(), c.Args().First())
					return nil
				})(c)
			},
		},
	},
}
