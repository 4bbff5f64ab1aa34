// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/demo"
	"github.com/chmail/chmail/modules"
)

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}

func logFlag(value string) cli.Flag {
	return &cli.StringSliceFlag{
		Name:  "log",
		Usage: "where the log goes: stderr, syslog, off or a `FILE`",
		Value: cli.NewStringSlice(value),
	}
}

var runCommand = &cli.Command{
	Name:  "run",
	Usage: "run the server",
	Flags: []cli.Flag{logFlag("stderr")},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		return serve(c)
	},
}

var demoCommand = &cli.Command{
	Name:  "demo",
	Usage: "run a whole server on this machine, to try CHmail",
	Flags: []cli.Flag{
		&cli.PathFlag{Name: "state", Usage: "`DIR` that keeps accounts, mail and conversations", Value: "demo-state"},
		&cli.BoolFlag{Name: "json", Usage: "print one line of JSON when everything listens"},
		&cli.IntFlag{
			Name: "base-port", Usage: "listen on ports counted from `N`; 0: the system picks",
			Value: demo.DefaultPorts, DefaultText: "8080, 1587, 1025, 1110, 1143, 9749, 8081",
		},
		&cli.StringFlag{Name: "presence", Usage: "`URL` of a redis-server", DefaultText: "in process"},
		&cli.StringFlag{Name: "database", Usage: "`URL` of a PostgreSQL database", DefaultText: "SQLite"},
		&cli.StringSliceFlag{
			Name: "log", Usage: "where the log goes: stderr, syslog, off or a `FILE`",
			DefaultText: "chmaild.log in the state folder",
		},
	},
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding chmaild itself: %w", err)
		}
		d, err := demo.Prepare(c.Context, demo.Options{
			State: c.Path("state"), BasePort: c.Int("base-port"),
			Presence: c.String("presence"), Database: c.String("database"), Self: self,
		})
		if err != nil {
			return err
		}
		defer d.Close()
		if err := c.Set("config", d.Config); err != nil {
			return err
		}
		if !c.IsSet("log") {
			if err := c.Set("log", d.Log); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithCancel(c.Context)
		announced := make(chan struct{})
		go func() {
			defer close(announced)
			announce(ctx, d, c.Bool("json"))
		}()
		err = serve(c)
		cancel()
		<-announced
		return err
	},
}

// serve runs the server until a signal ends it.
func serve(c *cli.Context) error {
	f, err := config.Read(c.Path("config"))
	if err != nil {
		return err
	}
	if err := f.RemoveStaleSockets(); err != nil {
		return err
	}
	return modules.Run(f, c.StringSlice("log"))
}

// announce says where everything is, once it listens.
func announce(ctx context.Context, d *demo.Demo, asJSON bool) {
	err := d.Announce(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chmaild:", err)
	}
	if asJSON {
		line, err := json.Marshal(d.Info)
		if err != nil {
			fmt.Fprintln(os.Stderr, "chmaild:", err)
			return
		}
		fmt.Printf("%s\n", line)
		return
	}
	d.Tell(os.Stdout)
}

func noArgs(c *cli.Context) error {
	if c.NArg() > 0 {
		return cli.Exit(fmt.Sprintf("%s takes no argument %q: `chmaild %[1]s --help` lists its options",
			c.Command.Name, c.Args().First()), 2)
	}
	return nil
}

var dnsCommand = &cli.Command{
	Name:  "dns",
	Usage: "print what the DNS should say of the configuration's hosts and domains, as a zone file",
	Action: func(c *cli.Context) error {
		if err := noArgs(c); err != nil {
			return err
		}
		f, err := config.Parse(c.Path("config"))
		if err != nil {
			return err
		}
		fmt.Print(f.Zone(publicIPs()))
		return nil
	},
}
