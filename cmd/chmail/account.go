// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/chmail/chmail/agent/secret"
	"github.com/chmail/chmail/agent/server"
)

var loginCommand = &cli.Command{
	Name:      "login",
	Usage:     "sign this computer in; the password is asked for, or read from the standard input",
	ArgsUsage: "LOGIN",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "server", Usage: "`ADDRESS` of the server; otherwise https://chat. and the login's domain"},
		&cli.StringFlag{Name: "device", Usage: "`NAME` of this computer; otherwise its host name"},
		&cli.BoolFlag{Name: "no-keyring", Usage: "keep the token in a file, not in the key ring"},
	},
	Action: func(c *cli.Context) error {
		login := c.Args().First()
		if c.NArg() != 1 {
			return cli.Exit("usage: chmail login [--server ADDRESS] [--device NAME] [--no-keyring] LOGIN", 2)
		}
		base := c.String("server")
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
		password, err := ask("Password: ")
		if err != nil {
			return err
		}
		name, token, err := client.SignIn(c.Context, login, password, device)
		if err != nil {
			return explained(client, err)
		}
		s := store(c)
		s.Plain = c.Bool("no-keyring")
		before, _ := s.Load()
		inRing, err := s.Save(secret.Account{Server: client.Base(), Login: name, Token: token})
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
