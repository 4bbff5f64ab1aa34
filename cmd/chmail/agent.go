// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/agent"
	"github.com/chmail/chmail/agent/autostart"
	"github.com/chmail/chmail/agent/notice"
	"github.com/chmail/chmail/agent/secret"
)

var agentCommand = &cli.Command{
	Name:  "agent",
	Usage: "be reachable: show who rings, until it is stopped",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "terminal", Usage: "print how to answer in a terminal, open no browser"},
		&cli.BoolFlag{Name: "direct", Usage: "talk from computer to computer: who talks with you, and who gets a mail from " +
			"you, learns this computer's address"},
		&cli.BoolFlag{Name: "map-port", Usage: "with --direct: ask the router to let others in (PCP, NAT-PMP, UPnP)"},
		&cli.BoolFlag{Name: "keep-here", Usage: "with --direct: what is said there stays on this computer alone"}},
	Action: func(c *cli.Context) error {
		if c.NArg() != 0 {
			return cli.Exit("usage: chmail agent [--terminal] [--direct [--map-port] [--keep-here]] | "+
				"chmail agent install|remove", 2)
		}
		if (c.Bool("map-port") || c.Bool("keep-here")) && !c.Bool("direct") {
			return cli.Exit("--map-port and --keep-here are of --direct: give that too", 2)
		}
		client, account, err := signedIn(c)
		if err != nil {
			return err
		}
		desktop := notice.New()
		defer desktop.Close()
		opts := agent.Options{Client: client, Login: account.Login, Dir: c.Path("dir"), Desktop: desktop,
			Open: browse, Say: tongue(), Out: os.Stdout, Direct: c.Bool("direct"),
			MapPort: c.Bool("map-port"), Keep: c.Bool("keep-here")}
		if c.Bool("terminal") {
			opts.Open = nil
		}
		return agent.Run(c.Context, opts)
	},
	Subcommands: []*cli.Command{
		{
			Name:  "install",
			Usage: "start the agent whenever you sign in to this computer",
			Action: func(c *cli.Context) error {
				if _, err := store(c).Load(); err != nil {
					return err
				}
				program, err := os.Executable()
				if err != nil {
					return fmt.Errorf("finding this program: %w", err)
				}
				command := []string{program, "agent"}
				if c.Path("dir") != folder() {
					command = []string{program, "--dir", c.Path("dir"), "agent"}
				}
				for _, flag := range []string{"direct", "map-port", "keep-here"} {
					if c.Bool(flag) {
						command = append(command, "--"+flag)
					}
				}
				did, err := autostart.Install(command)
				if err == nil {
					fmt.Println(did)
				}
				return err
			},
		},
		{
			Name:  "remove",
			Usage: "do not start it any more",
			Action: func(*cli.Context) error {
				err := autostart.Remove()
				if errors.Is(err, fs.ErrNotExist) {
					return errors.New("the agent is not installed")
				}
				if err == nil {
					fmt.Println("The agent does not start any more.")
				}
				return err
			},
		},
	},
}

// browse shows a page in this person's browser.
func browse(url string) error {
	command := []string{"xdg-open", url}
	switch runtime.GOOS {
	case "darwin":
		command[0] = "open"
	case "windows":
		command = []string{"rundll32", "url.dll,FileProtocolHandler", url}
	}
	cmd := exec.Command(command[0], command[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // the browser may stay in the foreground for as long as it runs
	return nil
}

var statusCommand = &cli.Command{
	Name:  "status",
	Usage: "show how the agent is and who rings",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		s, running, err := agent.Ask(c.Path("dir"))
		if err != nil {
			return err
		}
		if !running {
			a, err := store(c).Load()
			if errors.Is(err, secret.ErrNone) || a.Server == "" {
				return err
			}
			s = agent.Status{Login: a.Login, Server: a.Server, Trouble: "the agent does not run: start it with `chmail agent`"}
		}
		if c.Bool("json") {
			return printJSON(s)
		}
		show(s)
		return nil
	},
}

// show prints how an agent is, for a person.
func show(s agent.Status) {
	fmt.Printf("%s at %s\n", s.Login, s.Server)
	switch {
	case s.Connected:
		fmt.Printf("connected since %s", s.Since.Local().Format(time.DateTime))
		if s.Availability != "" {
			fmt.Printf(", shown to others as %s", s.Availability)
		}
		fmt.Println()
	case s.Trouble != "":
		fmt.Println("not connected:", s.Trouble)
	default:
		fmt.Println("connecting")
	}
	if s.Direct != nil {
		fmt.Println(s.Direct)
	}
	if s.Clock != "" {
		fmt.Println(s.Clock)
	}
	for _, r := range s.Rings {
		what := "rings"
		if r.Missed {
			what = "missed"
		}
		fmt.Printf("%s: %s, %s, %s\n", what, r.From, r.Subject, r.Link)
	}
}
