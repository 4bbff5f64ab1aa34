// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/agent/secret"
	"github.com/chmail/chmail/agent/server"
	"github.com/chmail/chmail/agent/update"
)

var loginCommand = &cli.Command{
	Name:      "login",
	Usage:     "sign this computer in: with a setup link, or with a password, asked for or read from the standard input",
	ArgsUsage: "LINK|LOGIN",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "`ADDRESS` of the server; otherwise https://chat. and the login's domain"},
		&cli.StringFlag{Name: "device", Usage: "`NAME` of this computer; otherwise its host name"},
		&cli.BoolFlag{Name: "no-keyring", Usage: "keep the token in a file, not in the key ring"},
	},
	Action: func(c *cli.Context) error {
		login := c.Args().First()
		if c.NArg() != 1 {
			return cli.Exit("usage: chmail login [--server ADDRESS] [--device NAME] [--no-keyring] LINK|LOGIN", 2)
		}
		base := c.String("server")
		setup, code, isLink, err := parseSetup(login)
		if err != nil {
			return err
		}
		if isLink {
			base = setup
		}
		if _, domain, ok := strings.Cut(login, "@"); base == "" && ok {
			base = "https://chat." + domain
		}
		if base == "" {
			return cli.Exit("name the server: chmail login --server https://chat.mall.example LOGIN", 2)
		}
		client, err := server.New(base, "")
		if err != nil {
			return err
		}
		device := c.String("device")
		if device == "" {
			if device, err = os.Hostname(); err != nil {
				return fmt.Errorf("finding this computer's name: %w: name it with --device", err)
			}
		}
		var name, token string
		if isLink {
			name, token, err = client.SignInByCode(c.Context, code, device)
		} else {
			var password string
			if password, err = ask("Password: "); err != nil {
				return err
			}
			name, token, err = client.SignIn(c.Context, login, password, device)
		}
		if err != nil {
			return explained(client, err)
		}
		key, err := signedBy(c.Context, client)
		if err != nil {
			signOut(client.Base(), token) // nobody has it
			return explained(client, err)
		}
		s := store(c)
		s.Plain = c.Bool("no-keyring")
		before, _ := s.Load()
		inRing, err := s.Save(secret.Account{Server: client.Base(), Login: name, Token: token, Key: key})
		if err != nil {
			signOut(client.Base(), token) // nobody has it
			return err
		}
		if before.Token != "" { // it would stay good, and nobody has it any more
			if err := signOut(before.Server, before.Token); err != nil {
				fmt.Fprintln(os.Stderr, "chmail: the token of before stays good:", err)
			}
		}
		where := "a file that only you can read"
		if inRing {
			where = "the key ring"
		}
		fmt.Printf("Signed in as %s at %s; the token is in %s.\n", name, client.Base(), where)
		return nil
	},
}

// parseSetup reads a setup link, as the page /setup shows it; false: it is a login.
func parseSetup(s string) (base, code string, isLink bool, err error) {
	if !strings.Contains(s, "://") {
		return "", "", false, nil
	}
	u, err := url.Parse(strings.Trim(s, "<> \t"))
	if err != nil || u.Host == "" || u.Path != "/setup" || u.Fragment == "" {
		return "", "", false, fmt.Errorf("%q is no setup link: copy it whole from the page “Set up this computer”, "+
			"such as https://chat.mall.example/setup#…", s)
	}
	return u.Scheme + "://" + u.Host, u.Fragment, true, nil
}

// signedBy is the key with which the programs of a server are signed; empty: it has none.
// From now on `chmail update` believes no other.
func signedBy(ctx context.Context, client *server.Client) (string, error) {
	var key strings.Builder
	err := client.Fetch(ctx, "/download/"+update.KeyFile, maxKey, &key)
	var no *server.Refusal
	if errors.As(err, &no) && no.Status == http.StatusNotFound {
		return "", nil
	}
	return key.String(), err
}

const maxKey = 1000 // octets

var updateCommand = &cli.Command{
	Name:  "update",
	Usage: "replace this program by a newer one of the server, if that is signed as it was at the sign-in",
	Action: func(c *cli.Context) error {
		client, account, err := signedIn(c)
		if err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program: %w", err)
		}
		did, err := update.Run(c.Context, update.Options{
			Server: client, Key: account.Key, Version: version, Program: program})
		if err != nil {
			return explained(client, err)
		}
		fmt.Println(did)
		return nil
	},
}

// signOut ends a token; a server that is away keeps it.
func signOut(base, token string) error {
	client, err := server.New(base, token)
	if err == nil {
		// The command's own context may have ended.
		err = client.SignOut(context.Background())
	}
	if err != nil && !server.SignedOut(err) {
		return explained(client, err)
	}
	return nil
}

var logoutCommand = &cli.Command{
	Name:  "logout",
	Usage: "sign this computer out",
	Action: func(c *cli.Context) error {
		a, err := store(c).Load()
		if a.Server == "" {
			return err
		}
		var told error
		if err == nil {
			told = signOut(a.Server, a.Token)
		}
		if err := store(c).Forget(); err != nil {
			return err
		}
		if told != nil {
			return fmt.Errorf("the token is forgotten here, but good at the server: %w; "+
				"“Sign out everywhere” at the desk ends it", told)
		}
		fmt.Printf("Signed out %s.\n", a.Login)
		return nil
	},
}

// explained is an error of a server in one line.
func explained(client *server.Client, err error) error {
	if client == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return errors.New(client.Explain(err))
}

// signedIn is a client with the token of the account.
func signedIn(c *cli.Context) (*server.Client, secret.Account, error) {
	a, err := store(c).Load()
	if err != nil {
		return nil, a, err
	}
	client, err := server.New(a.Server, a.Token)
	return client, a, err
}

// ask asks on a terminal without showing what is typed, and otherwise reads a line.
func ask(prompt string) (string, error) {
	fd := int(os.Stdin.Fd())
	if term.IsTerminal(fd) {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(fd)
		fmt.Fprintln(os.Stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		return string(b), nil
	}
	return readLine(os.Stdin)
}

// readLine reads to the end of a line, and no further: what follows is for whoever reads next.
func readLine(from io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 4096; {
		n, err := from.Read(b)
		if n > 0 && b[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("reading a line: %w", err)
		}
		line = append(line, b[:n]...)
	}
	return strings.TrimSuffix(string(line), "\r"), nil
}
