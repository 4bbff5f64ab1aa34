// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

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

var quickstartCommand = &cli.Command{
	Name:      "quickstart",
	Usage:     "write the configuration of a new server for DOMAIN",
	ArgsUsage: "DOMAIN",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "host", Usage: "`NAME` of this machine", DefaultText: "chat.DOMAIN"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 {
			return cli.Exit("usage: chmaild quickstart DOMAIN, for example: chmaild quickstart mall.example", 2)
		}
		s := config.Example
		s.Domain = c.Args().First()
		s.Host = cmp.Or(c.String("host"), "chat."+s.Domain)
		for _, name := range []string{s.Domain, s.Host} {
			if err := config.Domain(name); err != nil {
				return cli.Exit(err, 2)
			}
		}
		s.Web, s.Mall = "https://"+s.Host, "https://www."+s.Domain+":8443"
		_, err := exec.LookPath("rspamd")
		s.Rspamd = err == nil
		path := c.Path("config")
		// The server's own user reads it, whoever writes it.
		syscall.Umask(0o022)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("writing the configuration: %w", err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s is there already: move it away, or name another file: "+
				"chmaild --config FILE quickstart %s", path, s.Domain)
		}
		if err != nil {
			return fmt.Errorf("writing the configuration: %w", err)
		}
		if err := errors.Join(config.Template(f, s), f.Close()); err != nil {
			return err
		}
		written, err := config.Parse(path)
		if err != nil {
			return err
		}
		fmt.Printf("Wrote %s.\n\nNext: put the certificate of %s into %s and %s,\n"+
			"then: chmaild check && chmaild user add you@%s\n\nThe DNS, which `chmaild dns` prints again:\n\n%s\n"+
			"Firewall: TCP 25, 80, 110, 143, 443, 465, 587, 993, 995, 8443; UDP 443, %s.\n",
			path, s.Host, s.Cert, s.Key, s.Domain, written.Zone(publicIPs()), s.Ports)
		return nil
	},
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

// publicIPs are this machine's addresses that others can reach.
func publicIPs() (ips []net.IP) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && !n.IP.IsPrivate() {
			ips = append(ips, n.IP)
		}
	}
	return ips
}
