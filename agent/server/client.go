// SPDX-License-Identifier: GPL-3.0-or-later

// Package server is the program's side of a CHmail server: the requests of the desk and
// of chat links, and connections that come back by themselves. docs/protocol.md
// describes both.
package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
)

const (
	askTimeout = 30 * time.Second // a request, with the time that a refused password takes
	maxAnswer  = 4 << 20          // octets of an answer

	proofTimeout = 3 * time.Second
)

// Client asks one server. Its methods may be called at the same time.
type Client struct {
	base  *url.URL
	token string // of the signed-in login; empty: nobody is
	http  *http.Client
}

// New returns a client of the server at an address such as https://chat.mall.example.
// Without TLS a password and what is said could be read on the way, so that http is
// for this computer alone.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(base, "/"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
		return nil, fmt.Errorf("%q is no server's address: it is like https://chat.mall.example", base)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%s is not encrypted: use https://%s", base, u.Host)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.IdleConnTimeout = 30 * time.Second // an idle agent holds one connection, not two
	return &Client{
		base:  &url.URL{Scheme: u.Scheme, Host: u.Host},
		token: token,
		http:  &http.Client{Jar: jar, Transport: transport, Timeout: askTimeout, CheckRedirect: sameHost},
	}, nil
}

// sameHost keeps a token from following a redirect to somewhere else.
func sameHost(r *http.Request, via []*http.Request) error {
	if from := via[0].URL; r.URL.Host != from.Host || r.URL.Scheme != from.Scheme || len(via) > 5 {
		return fmt.Errorf("%s leads to %s://%s: use that address", from.Host, r.URL.Scheme, r.URL.Host)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

// Base is the server's address.
func (c *Client) Base() string { return c.base.String() }

// RoomURL is the page of a conversation at the desk; of the desk without a room.
func (c *Client) RoomURL(room string) string {
	if room == "" {
		return c.Base() + "/desk"
	}
	return c.Base() + "/desk#" + room
}

// Refusal is an answer that is none of success.
type Refusal struct {
	Status  int           `json:"-"`
	Code    string        `json:"error"`
	Text    string        `json:"text"`
	To      string        `json:"to"`      // of claimed and prove: where a code can be mailed
	Account bool          `json:"account"` // of claimed and prove: the recipient's password will do
	After   time.Duration `json:"-"`       // when to ask again
}

func (r *Refusal) Error() string {
	if r.Text == "" {
		return fmt.Sprintf("the server answers %d", r.Status)
	}
	return r.Text
}

// Ended reports whether the server will not let this sign-in, or this way, in again.
func (r *Refusal) Ended() bool {
	if r.Code == "" {
		return false // the words of a proxy whose server is away
	}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusGone:
		return true
	}
	return false
}

// SignedOut reports whether the token is not good any more.
func SignedOut(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && r.Status == http.StatusUnauthorized && r.Code == "sign-in"
}

// ask sends a request and decodes the answer into out, unless that is nil.
func (c *Client) ask(ctx context.Context, method, path string, body, out any) error {
	var sent io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		sent = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base()+path, sent)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	c.sign(req.Header)
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if res.StatusCode >= 300 {
		return refused(res, b)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s is no CHmail server: %w", c.base.Host, err)
	}
	return nil
}

// Fetch writes a file of the server, of at most so many octets.
func (c *Client) Fetch(ctx context.Context, path string, max int64, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base()+path, nil)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	// A program takes longer than an answer; whoever waits can end it.
	res, err := (&http.Client{Transport: c.http.Transport, CheckRedirect: sameHost}).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return refused(res, nil)
	}
	n, err := io.Copy(to, io.LimitReader(res.Body, max+1))
	if err == nil && n > max {
		err = fmt.Errorf("it has more than %d octets", max)
	}
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	return nil
}

func (c *Client) sign(h http.Header) {
	if c.token != "" {
		h.Set("Authorization", "Bearer "+c.token)
	}
}

func refused(res *http.Response, body []byte) *Refusal {
	r := &Refusal{}
	if json.Unmarshal(body, r) != nil {
		r = &Refusal{} // a proxy's page
	}
	r.Status = res.StatusCode
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	r.After = time.Duration(seconds) * time.Second
	return r
}

// SignIn trades a password for a token, which goes to New from then on.
func (c *Client) SignIn(ctx context.Context, login, password, device string) (name, token string, err error) {
	return c.signIn(ctx, map[string]string{"login": login, "password": password, "device": device})
}

func (c *Client) signIn(ctx context.Context, body map[string]string) (name, token string, err error) {
	var made struct{ Login, Token string }
	if err := c.ask(ctx, http.MethodPost, "/desk/token", body, &made); err != nil {
		return "", "", err
	}
	if made.Login == "" || made.Token == "" {
		return "", "", fmt.Errorf("%s is no CHmail server", c.base.Host)
	}
	return made.Login, made.Token, nil
}

// SignInByCode trades the code of a setup link for a token.
func (c *Client) SignInByCode(ctx context.Context, code, device string) (name, token string, err error) {
	return c.signIn(ctx, map[string]string{"code": code, "device": device})
}

// SignOut ends the token.
func (c *Client) SignOut(ctx context.Context) error {
	return c.ask(ctx, http.MethodPost, "/desk/sign-out", nil, nil)
}

// Rooms reads one of the desk's lists, newest first, from before a time on if that is given.
func (c *Client) Rooms(ctx context.Context, list string, limit int, before time.Time) ([]chat.Summary, error) {
	q := url.Values{"list": {list}, "limit": {strconv.Itoa(limit)}}
	if !before.IsZero() {
		q.Set("before", before.Format(time.RFC3339Nano))
	}
	var answer struct{ Rooms []chat.Summary }
	err := c.ask(ctx, http.MethodGet, "/desk/rooms?"+q.Encode(), nil, &answer)
	return answer.Rooms, err
}

// Write mails somebody the first words of a new conversation and returns its room.
func (c *Client) Write(ctx context.Context, id, to, subject, text string) (room string, err error) {
	var made struct{ Room string }
	err = c.ask(ctx, http.MethodPost, "/desk/write",
		map[string]string{"id": id, "to": to, "subject": subject, "text": text}, &made)
	return made.Room, err
}

// AddressProof is the server's proof that this computer is at the address from which it comes over a network,
// "tcp4" or "tcp6".
func (c *Client) AddressProof(ctx context.Context, network string) (string, error) {
	transport := c.http.Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	over := *c
	over.http = &http.Client{Transport: transport, Timeout: proofTimeout, CheckRedirect: sameHost}
	var answer struct{ Proof string }
	err := over.ask(ctx, http.MethodGet, "/desk/address", nil, &answer)
	return answer.Proof, err
}

// Way leads into a room.
type Way struct {
	Ticket    string           `json:"ticket"`
	Room      string           `json:"room"`
	Endpoints []frame.Endpoint `json:"endpoints"`
	Attempt   string           `json:"attempt"` // that began with it
}

// EnterRoom is the way of the signed-in login into a room.
func (c *Client) EnterRoom(ctx context.Context, room string) (w Way, err error) {
	err = c.ask(ctx, http.MethodPost, "/desk/rooms/"+url.PathEscape(room)+"/ticket", nil, &w)
	return w, err
}

// Card is what a link shows before anybody comes in.
type Card struct {
	Nonce  string `json:"nonce"`
	Callee struct {
		Name string `json:"name"`
		Addr string `json:"addr"`
	} `json:"callee"`
	Status frame.Status `json:"status"`
}

// Card reads a link, which has no effect.
func (c *Client) Card(ctx context.Context, token string) (card Card, err error) {
	err = c.ask(ctx, http.MethodGet, "/c/"+url.PathEscape(token)+"/state", nil, &card)
	return card, err
}

// Press comes in through a link, and rings. code is the mailed one, which shows that
// the link is one's own; it may be empty.
func (c *Client) Press(ctx context.Context, token, nonce, code string) (w Way, err error) {
	err = c.ask(ctx, http.MethodPost, "/c/"+url.PathEscape(token)+"/chat", struct {
		Nonce string `json:"nonce"`
		Ring  bool   `json:"ring"`
		Code  string `json:"code,omitempty"`
	}{nonce, true, code}, &w)
	return w, err
}

// Return comes in again through a link.
func (c *Client) Return(ctx context.Context, token, nonce string) (w Way, err error) {
	err = c.ask(ctx, http.MethodPost, "/c/"+url.PathEscape(token)+"/ticket", map[string]string{"nonce": nonce}, &w)
	return w, err
}

// SendCode mails a code to whoever the link was sent to.
func (c *Client) SendCode(ctx context.Context, token, nonce string) (to string, err error) {
	var answer struct{ To string }
	err = c.ask(ctx, http.MethodPost, "/c/"+url.PathEscape(token)+"/code", map[string]string{"nonce": nonce}, &answer)
	return answer.To, err
}

// Toward is this computer's address on the way to an address, found without sending
// anything; the zero Addr: there is no way at the moment.
func Toward(remote netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
}
