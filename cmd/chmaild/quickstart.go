// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/certificates"
	"github.com/chmail/chmail/config"
	"github.com/chmail/chmail/deploy"
	"github.com/chmail/chmail/modules"
	"github.com/chmail/chmail/setup"
)

// firstCertificate is how long quickstart waits for one before it checks.
const firstCertificate = 45 * time.Second

var quickstartCommand = &cli.Command{
	Name:      "quickstart",
	Usage:     "make this machine the mail server of DOMAIN",
	ArgsUsage: "DOMAIN",
	Description: "Makes the user, folders, configuration, keys, the first account and the service, starts it, writes " +
		"the DNS records to a file and checks them. Run it again at any time: what is there stays.",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "host", Usage: "`NAME` of this machine", DefaultText: "chat.DOMAIN"},
		&cli.StringFlag{Name: "account", Usage: "first `LOGIN`, who gets the mail of postmaster and abuse",
			DefaultText: "postmaster@DOMAIN"},
		&cli.PathFlag{Name: "cert", Usage: "PEM `FILE` of a certificate with its chain", DefaultText: "the server gets its own"},
		&cli.PathFlag{Name: "key", Usage: "PEM `FILE` of its key, which the user chmail can read"},
		&cli.StringFlag{Name: "acme-ca", Usage: "`URL` of an ACME authority", DefaultText: "Let's Encrypt"},
		&cli.PathFlag{Name: "acme-ca-root", Usage: "PEM `FILE` to trust that authority's server by"},
		&cli.BoolFlag{Name: "behind-proxy", Usage: "nginx, Caddy or HAProxy on this machine serves the pages over TLS"},
		&cli.BoolFlag{Name: "config-only", Usage: "write the configuration and nothing else"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done"},
		outFlag,
	},
	Action: func(c *cli.Context) error {
		s, account, err := wanted(c)
		if err != nil {
			return cli.Exit(err, 2)
		}
		var text bytes.Buffer
		if err := config.Template(&text, s); err != nil {
			return err
		}
		switch {
		case c.Bool("config-only"):
			return configOnly(c.Path("config"), text.Bytes())
		case os.Geteuid() != 0 && !c.Bool("dry-run"):
			return fmt.Errorf("a user, folders and a service are made by root: run `sudo %s quickstart %s`; "+
				"--dry-run says what it would do, and --config-only writes the configuration alone",
				os.Args[0], s.Domain)
		}
		return quickstart(c, s, account, text.Bytes())
	},
}

// outFlag names who is tried to see whether mail gets out.
var outFlag = &cli.StringFlag{Name: "try-mail-server", Value: "gmail-smtp-in.l.google.com:25",
	Usage: "`HOST:PORT` of another mail server, to see whether mail gets out; \"\" tries none"}

// wanted reads the arguments: the server, and the login of the first account.
func wanted(c *cli.Context) (s config.Server, account string, err error) {
	if c.NArg() != 1 {
		return s, account, errors.New("usage: chmaild quickstart DOMAIN, for example: chmaild quickstart mall.example")
	}
	s = config.Example
	s.Domain = strings.ToLower(strings.TrimSuffix(c.Args().First(), "."))
	s.Host = cmp.Or(c.String("host"), "chat."+s.Domain)
	for _, name := range []string{s.Domain, s.Host} {
		if err := config.Domain(name); err != nil {
			return s, account, err
		}
		if net.ParseIP(strings.Trim(name, "[]")) != nil || !strings.Contains(name, ".") {
			return s, account, fmt.Errorf("%q is no name that the DNS can have: write one such as mall.example", name)
		}
	}
	_, rspamd := exec.LookPath("rspamd")
	s.Rspamd = rspamd == nil
	s.Web, s.Mall = "https://"+s.Host, "https://www."+s.Domain+":8443"
	if s.Proxy = c.Bool("behind-proxy"); s.Proxy {
		s.Mall = "https://www." + s.Domain
	}
	account = cmp.Or(c.String("account"), "postmaster@"+s.Domain)
	if !strings.Contains(account, "@") {
		account += "@" + s.Domain
	}
	name, domain, _ := strings.Cut(account, "@")
	if domain != s.Domain || name == "" || strings.ContainsAny(name, " \t\"") {
		return s, account, fmt.Errorf("%q is no address of %s: write --account NAME", account, s.Domain)
	}
	s.Cert, s.Key, s.CA, s.CARoot = c.Path("cert"), c.Path("key"), c.String("acme-ca"), c.Path("acme-ca-root")
	if (s.Cert == "") != (s.Key == "") {
		return s, account, errors.New("--cert and --key belong together")
	}
	for _, path := range []*string{&s.Cert, &s.Key, &s.CARoot} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return s, account, err
		}
	}
	return s, account, nil
}

// configOnly writes the configuration where there is none.
func configOnly(path string, text []byte) error {
	syscall.Umask(0o022) // the server's own user reads it, whoever writes it
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already: move it away, or name another file with chmaild --config FILE", path)
	}
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	fmt.Printf("Wrote %s.\nNext: `chmaild check` and `chmaild dns`.\n", path)
	return nil
}

// quickstart sets up the machine, writes its records and looks what is missing.
func quickstart(c *cli.Context, s config.Server, account string, text []byte) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding chmaild itself: %w", err)
	}
	path, dry := c.Path("config"), c.Bool("dry-run")
	done, err := setup.Run(c.Context, setup.Options{
		Program: self, Config: path, Text: text, StateDir: s.StateDir, RunDir: s.RunDir,
		Account: account, Unit: deploy.Unit, DryRun: dry, Out: os.Stdout,
	})
	if err != nil {
		return fmt.Errorf("%w\nMend that and run quickstart again: what is done stays", err)
	}
	read := path
	if dry {
		if read, err = temporary(text); err != nil {
			return err
		}
		defer os.Remove(read)
	}
	f, err := config.Parse(read)
	if err != nil {
		return err
	}
	zone := filepath.Join(filepath.Dir(path), s.Domain+".zone")
	if dry {
		fmt.Printf("would write the DNS records to %s\n", zone)
		return nil
	}
	if err := os.WriteFile(zone, []byte(f.Zone(publicIPs())), 0o644); err != nil {
		return fmt.Errorf("writing the DNS records: %w", err)
	}
	fmt.Printf("done  write the DNS records to %s\n", zone)
	found, err := look(c.Context, f, done.Started, c.String(outFlag.Name))
	if err != nil {
		return err
	}
	fmt.Println("\nWhat is still missing or wrong:")
	tell(os.Stdout, f, found)
	summary(s, account, done, path, zone)
	return nil
}

// look finds what is missing, when the server has had time for its first certificate.
func look(ctx context.Context, f *config.File, started bool, out string) (found modules.Checked, err error) {
	ips := f.PublicIPs(ctx, net.DefaultResolver)
	if started && slices.ContainsFunc(publicIPs(), func(ip net.IP) bool { return slices.ContainsFunc(ips, ip.Equal) }) {
		awaitCertificates(ctx, f)
	}
	found.Problems = append(f.Inspect(time.Now()), f.DNS(ctx, net.DefaultResolver)...)
	if !started {
		ips = nil
	}
	found.Problems = append(found.Problems, f.Doors(ctx, ips, out)...)
	found.Sort()
	return found, nil
}

// awaitCertificates waits until the server has one for each name, or for a while.
func awaitCertificates(ctx context.Context, f *config.File) {
	ctx, cancel := context.WithTimeout(ctx, firstCertificate)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for len(f.WithoutCertificate()) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// summary says what an administrator does next.
func summary(s config.Server, account string, done setup.Done, path, zone string) {
	fmt.Printf("\nCHmail for %s at %s.\n", s.Domain, s.Host)
	step := 0
	next := func(format string, args ...any) {
		step++
		fmt.Printf("  %d. %s\n", step, fmt.Sprintf(format, args...))
	}
	if done.Password != "" {
		next("Note the account, which is shown once: %s, password %s", account, done.Password)
	}
	next("Put the records of %s into the DNS of %s. `chmaild dns` prints them again.", zone, s.Domain)
	next("Ask the provider of this machine for the reverse name %s, and for port 25 if it is closed.", s.Host)
	next("Firewall: TCP 25, 80, 110, 143, 443, 465, 587, 993, 995, 8443; UDP 443, %s.", s.Ports)
	if s.Proxy {
		next("Give the proxy one of these:\n\n%s", setup.Proxies(s.Host, s.Domain))
	}
	if !done.Started {
		next("Start the server: systemctl daemon-reload && systemctl enable --now chmaild\n"+
			"     Without systemd: %s --config %s run, as the user %s, who may bind ports below 1024.",
			done.Program, path, setup.User)
	}
	next("Look what is missing: `chmaild check`. Then sign in at %s/desk.", s.Web)
	next("More accounts: `chmaild user add NAME@%s`.", s.Domain)
}

func temporary(text []byte) (path string, err error) {
	f, err := os.CreateTemp("", "chmaild-*.conf")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return f.Name(), errors.Join(err, f.Close())
}

// publicIPs are this machine's addresses that others can reach.
func publicIPs() []net.IP {
	all, err := certificates.Addresses()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(ip net.IP) bool { return !certificates.Public(ip) })
}
