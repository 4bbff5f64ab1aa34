// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/modules"
)

var backupCommand = &cli.Command{
	Name:      "backup",
	Usage:     "write mail, accounts, rooms, files, presence and the mall into a new folder DIR, while the server runs",
	ArgsUsage: "DIR",
	Flags:     []cli.Flag{storageFlag},
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit("usage: chmaild backup DIR", 2)
		}
		to, err := admin.FolderAt(c.Args().First())
		if err != nil {
			return err
		}
		return withAdmin(func(c *cli.Context, a admin.Admin) error {
			if err := a.Backup(c.Context, to); err != nil {
				return err
			}
			fmt.Printf("Wrote %s. It holds the mail, the SQLite databases, the conversations' files, the mall's\n"+
				"pictures and keys, the DKIM keys and the configuration; what is on PostgreSQL or Redis, certificates,\n"+
				"and mail that waits to be sent are not in it.\n", to.Path)
			return nil
		})(c)
	},
}

var restoreCommand = &cli.Command{
	Name:      "restore",
	Usage:     "put a backup into the state directory of the configuration, while no server runs",
	ArgsUsage: "DIR",
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit("usage: chmaild restore DIR", 2)
		}
		dir, err := filepath.Abs(c.Args().First())
		if err != nil {
			return err
		}
		f, err := config.Read(c.Path("config"))
		if err != nil {
			return err
		}
		r, err := modules.Restore(c.Context, f, dir)
		if err != nil {
			return err
		}
		fmt.Printf("Restored %d messages of %d accounts and %d more files and folders.\n",
			r.Messages, r.Accounts, r.Others)
		return nil
	},
}
