// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
)

var mallCommand = &cli.Command{
	Name:            "mall",
	Usage:           "look after the shopping mall of a server that runs",
	HideHelpCommand: true,
	Subcommands: []*cli.Command{{
		Name:  "rotate-keys",
		Usage: "seal all personal data with a new key and drop the old ones; people go on meanwhile",
		Action: withAdmin(func(c *cli.Context, a admin.Admin) error {
			if err := noArgs(c); err != nil {
				return err
			}
			n, err := a.RotateMallKeys(c.Context)
			if err != nil {
				return err
			}
			fmt.Printf("Sealed %d texts with a new key. The old keys are gone; backups have them still.\n", n)
			return nil
		}),
	}},
}
