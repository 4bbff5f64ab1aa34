// SPDX-License-Identifier: GPL-3.0-or-later

// Command chmaild is the CHmail server: maddy with CHmail's modules, and the
// commands that administer it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/internal/tuning"
	_ "github.com/chmail/chmail/modules" // makes CHmail's packages modules of maddy
)

// version is set by the release build.
var version = "dev"

func main() {
	tuning.Server()
	runtime.MemProfileRate = 0 // what the samples take is for nothing: no command reads them
	app := &cli.App{
		Name:            "chmaild",
		Usage:           "a mail server that makes every e-mail a door to a live conversation",
		Version:         version,
		HideVersion:     true,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.PathFlag{
				Name:    "config",
				Usage:   "configuration `FILE`",
				EnvVars: []string{"CHMAIL_CONFIG"},
				Value:   "/etc/chmail/maddy.conf",
			},
		},
		Commands: []*cli.Command{
			runCommand, demoCommand, quickstartCommand, checkCommand, dnsCommand,
			domainCommand, userCommand, aliasCommand, storeCommand, backupCommand, restoreCommand,
			grantsCommand, hostsCommand, whoCommand, exportCommand, eraseCommand,
			guardCommand, linkCommand, inviteCommand, mallCommand, roomCommand, queueCommand, suppressCommand,
			traceCommand, dkimCommand, versionCommand,
		},
		Before: prepare,
		CommandNotFound: func(c *cli.Context, name string) {
			fmt.Fprintf(os.Stderr, "chmaild: there is no command %q: `chmaild --help` lists them\n", name)
			os.Exit(2)
		},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "chmaild:", err)
		code := 1
		if exit := cli.ExitCoder(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		os.Exit(code)
	}
}

// prepare comes before every command. What a command writes is readable by its
// user alone. Reading the configuration changes to the state directory, so that
// its own path must be absolute.
func prepare(c *cli.Context) error {
	syscall.Umask(0o077)
	path, err := filepath.Abs(c.Path("config"))
	if err != nil {
		return fmt.Errorf("finding the configuration: %w", err)
	}
	return c.Set("config", path)
}

var versionCommand = &cli.Command{
	Name:  "version",
	Usage: "print the version",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		info := map[string]string{"version": version}
		if build, ok := debug.ReadBuildInfo(); ok {
			info["go"] = build.GoVersion
			for _, dep := range build.Deps {
				if dep.Path == "github.com/foxcpp/maddy" {
					info["maddy"] = dep.Version
				}
			}
		}
		if c.Bool("json") {
			return printJSON(info)
		}
		fmt.Printf("chmaild %s (maddy %s, %s)\n", info["version"], info["maddy"], info["go"])
		return nil
	},
}
