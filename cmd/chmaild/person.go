// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/admin"
)

var exportCommand = &cli.Command{
	Name:      "export",
	Usage:     "write what is kept of a person, of conversations, into a new folder",
	ArgsUsage: "LOGIN|ADDRESS DIR",
	Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print what was written as JSON"}},
	Action: func(c *cli.Context) error {
		args, err := anywhere(c, "json")
		if err != nil || len(args) != 2 {
			return cli.Exit("usage: chmaild export [--json] LOGIN|ADDRESS DIR", 2)
		}
		to, err := admin.FolderAt(args[1])
		if err != nil {
			return err
		}
		return withAdmin(func(c *cli.Context, a admin.Admin) error {
			sum, err := a.Export(c.Context, args[0], to)
			if err != nil {
				return err
			}
			for _, words := range sum.Left {
				fmt.Fprintln(os.Stderr, "chmaild:", words)
			}
			if c.Bool("json") {
				return printJSON(sum)
			}
			fmt.Printf("Wrote %s: %d conversations, %d messages, %d files.\n",
				sum.Folder, sum.Rooms, sum.Messages, sum.Files)
			return nil
		})(c)
	},
}

var eraseCommand = &cli.Command{
	Name:      "erase",
	Usage:     "erase a person from all conversations; what others wrote stays",
	ArgsUsage: "LOGIN|ADDRESS",
	Flags:     []cli.Flag{&cli.BoolFlag{Name: "yes", Usage: "do not ask"}, jsonFlag},
	Action: func(c *cli.Context) error {
		args, err := anywhere(c, "yes", "json")
		if err != nil || len(args) != 1 {
			return cli.Exit("usage: chmaild erase [--yes] [--json] LOGIN|ADDRESS", 2)
		}
		return withAdmin(func(c *cli.Context, a admin.Admin) error { return erase(c, a, args[0]) })(c)
	},
}

func erase(c *cli.Context, a admin.Admin, who string) error {
	if !c.Bool("yes") {
		n, err := a.Rooms(c.Context, who)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s is in %d conversations. Their messages, files, links, settings and name go, "+
			"and cannot be had back.\n"+
			"Type the login or address again to erase it: ", who, n)
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the answer: %w", err)
		}
		if strings.TrimSpace(line) != who {
			return errors.New("nothing was erased")
		}
	}
	e, err := a.Erase(c.Context, who)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(e)
	}
	fmt.Printf("Erased %s from %d conversations: %d messages, %d files.\n", who, e.Rooms, e.Messages, e.Files)
	fmt.Println("The account and its mail are others' matter: chmaild user remove LOGIN. Presence forgets by itself.")
	return nil
}

// anywhere returns a command's arguments, of which flags may stand behind
// others too.
func anywhere(c *cli.Context, flags ...string) (args []string, err error) {
	for _, arg := range c.Args().Slice() {
		name, dashed := strings.CutPrefix(arg, "--")
		switch {
		case !dashed:
			args = append(args, arg)
		case !slices.Contains(flags, name):
			return nil, fmt.Errorf("there is no option %s", arg)
		default:
			if err := c.Set(name, "true"); err != nil {
				return nil, err
			}
		}
	}
	return args, nil
}
