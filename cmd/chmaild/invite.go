// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
)

var inviteCommand = &cli.Command{
	Name:  "invite",
	Usage: "make an invitation, with which one person registers a login at a server that runs",
	Flags: []cli.Flag{&cli.IntFlag{Name: "days", Usage: "how long it is good, at most 90", Value: 7}},
	Action: withAdmin(func(c *cli.Context, a admin.Admin) error {
		if err := noArgs(c); err != nil {
			return err
		}
		link, err := a.Invite(c.Context, time.Duration(c.Int("days"))*24*time.Hour)
		if err == nil {
			fmt.Println(link)
		}
		return err
	}),
}
