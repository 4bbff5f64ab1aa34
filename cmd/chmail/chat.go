// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/agent"
	"github.com/chmail/chmail/agent/secret"
	"github.com/chmail/chmail/agent/server"
	"github.com/chmail/chmail/agent/terminal"
	"github.com/chmail/chmail/chatrelay/chat"
)

const (
	listed   = 20  // conversations to choose from
	searched = 100 // conversations of each page in which a login is looked for
	pages    = 10
)

var chatCommand = &cli.Command{
	Name:      "chat",
	Usage:     "chat here: through a link, with somebody, or in one of the newest conversations",
	ArgsUsage: "[LINK|LOGIN]",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "history",
		Usage: "print what was said from computer to computer and stays here"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if c.NArg() > 1 {
			return cli.Exit("usage: chmail chat [LINK|LOGIN] | chmail chat --history [--json] [ROOM]", 2)
		}
		if c.Bool("history") {
			return printHistory(c.Path("dir"), c.Args().First(), c.Bool("json"))
		}
		client, account, err := signedIn(c)
		if err != nil && !errors.Is(err, secret.ErrNone) {
			return err
		}
		to := c.Args().First()
		link, isLink := parseLink(to)
		if err != nil && (!isLink || link.room != "") {
			return err // only a link leads in without an account
		}
		opts := terminal.Options{Client: client, Device: client != nil, Say: tongue(), In: os.Stdin, Out: os.Stdout}
		opts.Room = func(room string) terminal.Place { return deskPlace(client, room) }
		var at terminal.Place
		switch {
		case isLink && (client == nil || link.base != client.Base()) && link.room != "":
			return fmt.Errorf("this computer is signed in at %s, and the link is of %s", account.Server, link.base)
		case isLink && link.room != "":
			at = deskPlace(client, link.room)
		case isLink:
			if client == nil || link.base != client.Base() { // a stranger to that server
				if opts.Client, err = server.New(link.base, ""); err != nil {
					return err
				}
				opts.Device = false
			}
			at, err = pressed(c.Context, opts.Client, link)
		case to != "":
			at, err = with(c.Context, client, account.Login, to)
		default:
			at, err = chosen(c.Context, client)
		}
		if err != nil {
			return explained(opts.Client, err)
		}
		return terminal.Run(c.Context, at, opts)
	},
}

// chatLink is an address of a conversation: of a link in a mail, or at the desk.
type chatLink struct{ base, token, room string }

var tokenPath = regexp.MustCompile(`^/c/([A-Za-z0-9_-]{22})`)

func parseLink(s string) (link chatLink, ok bool) {
	u, err := url.Parse(strings.Trim(s, "<> \t"))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return link, false
	}
	link.base = u.Scheme + "://" + u.Host
	if found := tokenPath.FindStringSubmatch(u.Path); found != nil {
		link.token = found[1]
		return link, true
	}
	link.room, _, _ = strings.Cut(u.Fragment, "/")
	return link, u.Path == "/desk" && link.room != ""
}

// deskPlace is a conversation of the signed-in login.
func deskPlace(client *server.Client, room string) terminal.Place {
	return terminal.Place{
		Files: client.Base() + "/desk/rooms/" + room + "/files/",
		Door:  func(ctx context.Context) (server.Way, error) { return client.EnterRoom(ctx, room) },
	}
}

// pressed comes in through a link, as its recipient does with "Chat now".
func pressed(ctx context.Context, client *server.Client, link chatLink) (at terminal.Place, err error) {
	card, err := client.Card(ctx, link.token)
	if err != nil {
		return at, err
	}
	way, err := client.Press(ctx, link.token, card.Nonce, "")
	var no *server.Refusal
	if errors.As(err, &no) && no.Status == http.StatusConflict {
		way, err = proven(ctx, client, link, card.Nonce, no)
	}
	if err != nil {
		return at, err
	}
	first := &way
	return terminal.Place{
		Files: client.Base() + "/c/" + link.token + "/files/",
		Ring:  way.Attempt == "",
		// The line asks one thing at a time here, so first needs no lock.
		Door: func(ctx context.Context) (server.Way, error) {
			if w := first; w != nil {
				first = nil
				return *w, nil
			}
			// The nonce is good for some hours; a new one always is.
			card, err := client.Card(ctx, link.token)
			if err != nil {
				return server.Way{}, err
			}
			return client.Return(ctx, link.token, card.Nonce)
		},
	}, nil
}

// proven asks for the code, which is mailed to the link's recipient.
func proven(ctx context.Context, client *server.Client, link chatLink, nonce string, no *server.Refusal) (server.Way, error) {
	to, err := client.SendCode(ctx, link.token, nonce)
	if err != nil {
		return server.Way{}, err
	}
	fmt.Fprintf(os.Stderr, "%s\nA code was mailed to %s. Code: ", no.Text, to)
	code, err := readLine(os.Stdin)
	if err != nil || code == "" {
		return server.Way{}, errors.Join(err, no)
	}
	return client.Press(ctx, link.token, nonce, code)
}

// with is the newest conversation with somebody; without one it begins with a mail.
func with(ctx context.Context, client *server.Client, me, who string) (at terminal.Place, err error) {
	if !strings.Contains(who, "@") {
		return at, fmt.Errorf("%q is neither a chat link nor a login such as host@mall.example", who)
	}
	var newest chat.Summary
	for _, list := range []string{chat.ListAll, chat.ListMails} {
		found, err := newestWith(ctx, client, list, me, who)
		if err != nil {
			return at, err
		}
		if found.Touched.After(newest.Touched) {
			newest = found
		}
	}
	if newest.ID != "" {
		return deskPlace(client, newest.ID), nil
	}
	fmt.Fprintf(os.Stderr, "There is no conversation with %s yet. Your first words go as a mail with a chat link: ", who)
	text, err := readLine(os.Stdin)
	if err == nil && strings.TrimSpace(text) == "" {
		err = errors.New("nothing was sent")
	}
	if err != nil {
		return at, err
	}
	subject := []rune(text)
	room, err := client.Write(ctx, rand.Text(), who, string(subject[:min(len(subject), 60)]), text)
	return deskPlace(client, room), err
}

// newestWith looks through one of the desk's lists; the zero Summary: nothing there.
func newestWith(ctx context.Context, client *server.Client, list, me, who string) (s chat.Summary, err error) {
	var before time.Time
	for range pages {
		rooms, err := client.Rooms(ctx, list, searched, before)
		if err != nil || len(rooms) == 0 {
			return s, err
		}
		for _, r := range rooms {
			for _, p := range r.Participants {
				if !strings.EqualFold(p.Login, me) && (strings.EqualFold(p.Login, who) || strings.EqualFold(p.Addr, who)) {
					return r, nil
				}
			}
		}
		before = rooms[len(rooms)-1].Touched
	}
	return s, nil
}

// chosen lets a person choose one of the newest conversations.
func chosen(ctx context.Context, client *server.Client) (at terminal.Place, err error) {
	rooms, err := client.Rooms(ctx, chat.ListChats, listed, time.Time{})
	if err != nil {
		return at, err
	}
	if len(rooms) == 0 {
		return at, errors.New("there are no conversations yet: name a link or a login")
	}
	for i, r := range rooms {
		var names []string
		for _, p := range r.Participants {
			if p.ID != r.Me {
				names = append(names, p.DisplayName())
			}
		}
		unread := ""
		if r.Unread > 0 {
			unread = fmt.Sprintf(" (%d new)", r.Unread)
		}
		fmt.Fprintf(os.Stderr, "%2d  %s: %s%s\n", i+1, strings.Join(names, ", "), r.Subject, unread)
	}
	fmt.Fprint(os.Stderr, "Number: ")
	answer, err := readLine(os.Stdin)
	if err != nil {
		return at, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(answer))
	if err != nil || n < 1 || n > len(rooms) {
		return at, fmt.Errorf("there is no conversation %q", answer)
	}
	return deskPlace(client, rooms[n-1].ID), nil
}

// printHistory prints what was kept of direct chats: of a room, or of all.
func printHistory(dir, room string, asJSON bool) error {
	last := ""
	for m, err := range agent.History(dir) {
		switch {
		case err != nil:
			return err
		case room != "" && m.Room != room:
		case asJSON:
			if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
				return err
			}
		default:
			if m.Room != last {
				fmt.Printf("* %s (%s)\n", terminal.Visible(m.Subject), m.Room)
				last = m.Room
			}
			fmt.Printf("%s %s: %s\n", m.At.Local().Format("2006-01-02 15:04"), terminal.Visible(m.From),
				terminal.Visible(m.Text))
		}
	}
	return nil
}
