// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/modules"
)

// exitWarnings is the exit status of a check that found nothing but warnings.
const exitWarnings = 3

var checkCommand = &cli.Command{
	Name:  "check",
	Usage: "check the configuration, certificates and DNS without running the server",
	Description: "Exit status: 0 all is well; 1 the server would not start, or would lose mail; " +
		"3 it starts, and something should be looked at.",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "offline", Usage: "ask neither DNS nor other machines"},
		&cli.BoolFlag{Name: "start", Usage: "before a start: offline, and warnings are no failure"},
		jsonFlag, outFlag,
	},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		f, err := config.Read(c.Path("config"))
		if err != nil {
			return err
		}
		offline := c.Bool("offline") || c.Bool("start")
		var found modules.Checked
		doubts := f.Inspect(time.Now())
		if doubts.Err() == nil { // no certificate that keeps all blocks from being read
			if found, err = modules.Check(c.Context, f, offline); err != nil {
				return err
			}
			if !offline {
				doubts = append(doubts, f.DNS(c.Context, net.DefaultResolver)...)
				var ips []net.IP
				if found.Beside { // else nobody answers
					ips = f.PublicIPs(c.Context, net.DefaultResolver)
				}
				doubts = append(doubts, f.Doors(c.Context, ips, c.String(outFlag.Name))...)
			}
		}
		found.Problems = append(found.Problems, doubts...)
		found.Sort()
		if c.Bool("json") {
			err = printJSON(found)
		} else {
			tell(os.Stdout, f, found)
		}
		if err != nil {
			return err
		}
		errs, warnings := found.Count()
		counted := fmt.Sprintf("%s: errors: %d, warnings: %d", f.Path, errs, warnings)
		switch {
		case errs > 0:
			return cli.Exit(counted, 1)
		case warnings > 0 && !c.Bool("start"):
			return cli.Exit(counted, exitWarnings)
		}
		return nil
	},
}

// tell prints what was found, errors in red where somebody looks.
func tell(out *os.File, f *config.File, found modules.Checked) {
	colour := func(p config.Problem) string { return p.String() }
	if term.IsTerminal(int(out.Fd())) {
		colour = func(p config.Problem) string {
			if p.Warning {
				return "\x1b[33m" + p.String() + "\x1b[0m"
			}
			return "\x1b[31m" + p.String() + "\x1b[0m"
		}
	}
	for _, p := range found.Problems {
		fmt.Fprintln(out, colour(p))
	}
	if len(found.Problems) == 0 {
		fmt.Fprintf(out, "%s: well\n", f.Path)
	}
	if found.Beside {
		io.WriteString(out, "A server runs and has the mail and the rooms open, so that they were not.\n")
	}
}
