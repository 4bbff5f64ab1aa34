// SPDX-License-Identifier: GPL-3.0-or-later

// Command chmail is what a person runs on their own computer, beside their mail client:
// it makes them reachable there, and is a chat in a terminal.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/agent"
	"github.com/chmail/chmail/agent/autostart"
	"github.com/chmail/chmail/agent/secret"
	"github.com/chmail/chmail/internal/words"
)

// version is set by the release build.
var version = "dev"

func main() {
	app := &cli.App{
		Name:            "chmail",
		Usage:           "be reachable for chats at this computer, and chat in a terminal",
		Version:         version,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags: []cli.Flag{&cli.PathFlag{
			Name: "dir", Usage: "`FOLDER` of the account", EnvVars: []string{"CHMAIL_DIR"}, Value: folder(),
		}},
		Commands: []*cli.Command{loginCommand, logoutCommand, agentCommand, statusCommand, chatCommand,
			updateCommand, versionCommand},
		Before: func(c *cli.Context) error {
			if c.Path("dir") == "" {
				return errors.New("this system has no folder for settings: name one with --dir")
			}
			dir, err := filepath.Abs(c.Path("dir"))
			if err != nil {
				return fmt.Errorf("finding the folder: %w", err)
			}
			return c.Set("dir", dir)
		},
		CommandNotFound: func(_ *cli.Context, name string) {
			fmt.Fprintf(os.Stderr, "chmail: there is no command %q: `chmail --help` lists them\n", name)
			os.Exit(2)
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := app.RunContext(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chmail:", err)
		code := 1
		if exit := cli.ExitCoder(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if errors.Is(err, agent.ErrSignedOut) {
			code = autostart.SignedOut
		}
		os.Exit(code)
	}
}

// folder is where the account is, unless another one is named.
func folder() string {
	config, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(config, "chmail")
}

// store has the account.
func store(c *cli.Context) secret.Store { return secret.Store{Dir: c.Path("dir")} }

// tongue is the language of this person.
func tongue() words.Tongue {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if lang := os.Getenv(name); len(lang) >= 2 {
			return words.In(lang[:2])
		}
	}
	return words.In("")
}

var jsonFlag = &cli.BoolFlag{Name: "json", Usage: "print JSON"}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

var versionCommand = &cli.Command{
	Name:  "version",
	Usage: "print the version",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		if c.Bool("json") {
			return printJSON(map[string]string{"version": version})
		}
		fmt.Println("chmail", version)
		return nil
	},
}
