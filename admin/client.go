// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/apppassword"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/mailstore"
	"github.com/chmail/chmail/presence"
)

// Client asks the server that runs.
type Client struct {
	http  *http.Client
	query string
}

var _ Admin = (*Client)(nil)

// Dial returns a client of the server that listens on the socket at path. The
// error wraps fs.ErrPermission where the socket is another user's.
func Dial(path string, choice Choice) (*Client, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", short(path))
	}
	conn, err := dial(context.Background(), "", "")
	if err != nil {
		return nil, fmt.Errorf("asking the running server: %w", err)
	}
	conn.Close()
	return &Client{
		http:  &http.Client{Transport: &http.Transport{DialContext: dial}},
		query: url.Values{"auth": {choice.Auth}, "storage": {choice.Storage}}.Encode(),
	}, nil
}

// Close implements Admin.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// failure is an error of the server.
type failure struct {
	text string
	is   error
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.is }

// ask sends a request and reads the answer's lines to the last.
func ask[R any](ctx context.Context, c *Client, name string, args any, body io.Reader,
	progress mailstore.Progress) (result R, err error) {
	line, err := json.Marshal(args)
	if err != nil {
		return result, err
	}
	var send io.Reader = bytes.NewReader(append(line, '\n'))
	if body != nil {
		send = io.MultiReader(send, body)
	}
	r, err := http.NewRequestWithContext(ctx, "POST", "http://server"+name+"?"+c.query, send)
	if err != nil {
		return result, err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return result, fmt.Errorf("asking the running server: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		if res.StatusCode == http.StatusNotFound {
			text = []byte("it does not know this command: is it an older one?")
		}
		return result, fmt.Errorf("asking the running server: %s", strings.TrimSpace(string(text)))
	}
	lines := json.NewDecoder(res.Body)
	for {
		var a answer
		if err := lines.Decode(&a); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return result, fmt.Errorf("reading the running server's answer: %w", err)
		}
		switch {
		case a.Done != nil:
			if progress != nil {
				progress(a.Done[0], a.Done[1])
			}
		case a.Error != "":
			failed := &failure{text: a.Error}
			for _, sentinel := range sentinels {
				if sentinel.Error() == a.Is {
					failed.is = sentinel
				}
			}
			return result, failed
		default:
			if err := json.Unmarshal(a.Result, &result); err != nil {
				return result, fmt.Errorf("reading the running server's answer: %w", err)
			}
			return result, nil
		}
	}
}

// Logins implements Users.
func (c *Client) Logins(ctx context.Context) ([]string, error) {
	return ask[[]string](ctx, c, "/users/list", none{}, nil, nil)
}

// MayAdd implements Users.
func (c *Client) MayAdd(ctx context.Context, login string) error {
	_, err := ask[none](ctx, c, "/users/may-add", userArgs{Login: login}, nil, nil)
	return err
}

// AddUser implements Users.
func (c *Client) AddUser(ctx context.Context, login, password string) error {
	_, err := ask[none](ctx, c, "/users/add", userArgs{login, password}, nil, nil)
	return err
}

// SetPassword implements Users.
func (c *Client) SetPassword(ctx context.Context, login, password string) error {
	_, err := ask[none](ctx, c, "/users/password", userArgs{login, password}, nil, nil)
	return err
}

// RemoveUser implements Users.
func (c *Client) RemoveUser(ctx context.Context, login string) error {
	_, err := ask[none](ctx, c, "/users/remove", userArgs{Login: login}, nil, nil)
	return err
}

// AppPasswords implements AppPasswords.
func (c *Client) AppPasswords(ctx context.Context, login string) ([]apppassword.Password, error) {
	return ask[[]apppassword.Password](ctx, c, "/app-passwords/list", deviceArgs{Login: login}, nil, nil)
}

// AddAppPassword implements AppPasswords.
func (c *Client) AddAppPassword(ctx context.Context, login, name string) (string, error) {
	return ask[string](ctx, c, "/app-passwords/add", deviceArgs{login, name}, nil, nil)
}

// RevokeAppPassword implements AppPasswords.
func (c *Client) RevokeAppPassword(ctx context.Context, login, name string) error {
	_, err := ask[none](ctx, c, "/app-passwords/revoke", deviceArgs{login, name}, nil, nil)
	return err
}

// Who implements Lists.
func (c *Client) Who(ctx context.Context) ([]Seen, error) {
	return ask[[]Seen](ctx, c, "/who", none{}, nil, nil)
}

// Grants implements Lists.
func (c *Client) Grants(ctx context.Context) ([]Granted, error) {
	return ask[[]Granted](ctx, c, "/grants", none{}, nil, nil)
}

// Hosts implements Lists.
func (c *Client) Hosts(ctx context.Context) ([]presence.Host, error) {
	return ask[[]presence.Host](ctx, c, "/hosts", none{}, nil, nil)
}

// CreateAccount implements mailstore.Importer.
func (c *Client) CreateAccount(login string, folders ...mailstore.Folder) error {
	_, err := ask[none](context.Background(), c, "/mail/account", accountArgs{login, folders}, nil, nil)
	return err
}

// Import implements mailstore.Importer.
func (c *Client) Import(ctx context.Context, to mailstore.Recipient, body io.Reader, size int64) error {
	_, err := ask[none](ctx, c, "/mail/import", importArgs{to, size}, io.LimitReader(body, size), nil)
	return err
}

// Stats implements Mails.
func (c *Client) Stats(ctx context.Context) (mailstore.Stats, error) {
	return ask[mailstore.Stats](ctx, c, "/mail/stats", none{}, nil, nil)
}

// Check implements Mails.
func (c *Client) Check(ctx context.Context, progress mailstore.Progress) (*mailstore.Report, error) {
	return ask[*mailstore.Report](ctx, c, "/mail/check", none{}, nil, progress)
}

// ExportMail implements Mails.
func (c *Client) ExportMail(ctx context.Context, x MailExport, progress mailstore.Progress) (MailExported, error) {
	return ask[MailExported](ctx, c, "/mail/export", x, nil, progress)
}

// Rooms implements People.
func (c *Client) Rooms(ctx context.Context, who string) (int, error) {
	return ask[int](ctx, c, "/person/rooms", personArgs{Who: who}, nil, nil)
}

// Export implements People.
func (c *Client) Export(ctx context.Context, who string, to Folder) (*Exported, error) {
	return ask[*Exported](ctx, c, "/person/export", personArgs{who, to}, nil, nil)
}

// Erase implements People.
func (c *Client) Erase(ctx context.Context, who string) (chat.Erased, error) {
	return ask[chat.Erased](ctx, c, "/person/erase", personArgs{Who: who}, nil, nil)
}

// ListRooms implements Conversations.
func (c *Client) ListRooms(ctx context.Context, who string) ([]Room, error) {
	return ask[[]Room](ctx, c, "/rooms/list", roomArgs{Who: who}, nil, nil)
}

// RevokeLink implements Conversations.
func (c *Client) RevokeLink(ctx context.Context, link string) error {
	_, err := ask[none](ctx, c, "/rooms/revoke", roomArgs{Link: link}, nil, nil)
	return err
}

// RemovePerson implements Conversations.
func (c *Client) RemovePerson(ctx context.Context, room, who string) (chat.Participant, error) {
	return ask[chat.Participant](ctx, c, "/rooms/remove", roomArgs{Room: room, Who: who}, nil, nil)
}

// Backup implements Admin.
func (c *Client) Backup(ctx context.Context, to Folder) error {
	_, err := ask[none](ctx, c, "/backup", to, nil, nil)
	return err
}

// RotateMallKeys implements Malls.
func (c *Client) RotateMallKeys(ctx context.Context) (int, error) {
	return ask[int](ctx, c, "/mall/rotate-keys", none{}, nil, nil)
}

// GuardList implements Guards.
func (c *Client) GuardList(ctx context.Context) (GuardListing, error) {
	return ask[GuardListing](ctx, c, "/guard/list", none{}, nil, nil)
}

// GuardWhy implements Guards.
func (c *Client) GuardWhy(ctx context.Context, ip netip.Addr) ([]reputation.Standing, error) {
	return ask[[]reputation.Standing](ctx, c, "/guard/why", guardArgs{IP: ip}, nil, nil)
}

// GuardAdd implements Guards.
func (c *Client) GuardAdd(ctx context.Context, r reputation.Rule, asks netip.Addr) error {
	_, err := ask[none](ctx, c, "/guard/add", guardArgs{Rule: r, IP: asks}, nil, nil)
	return err
}

// GuardRemove implements Guards.
func (c *Client) GuardRemove(ctx context.Context, p netip.Prefix) (int, error) {
	return ask[int](ctx, c, "/guard/remove", guardArgs{Prefix: p}, nil, nil)
}
