// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	introspectFor   = 10 * time.Second // the longest that the server may take
	maxIntrospected = 16               // questions at once; more wait
	maxAnswer       = 64 << 10         // octets of an answer
)

// Introspection asks an OAuth 2.0 server whose a bearer token is (RFC 7662).
type Introspection struct {
	URL              string // https, or http at loopback
	ClientID, Secret string // of this mail server there (RFC 6749 section 2.3.1)
	LoginField       string // of the answer; default: username
	Scope            string // that a token must have; empty: none

	client *http.Client
	places chan struct{}
}

// Open checks the fields; it asks nothing yet.
func (i *Introspection) Open() error {
	u, err := url.Parse(i.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return fmt.Errorf("introspection: %q is no https address, nor an http one at loopback", i.URL)
	case i.ClientID == "" || i.Secret == "":
		return errors.New("introspection: the client has no ID or no secret")
	case i.LoginField == "":
		i.LoginField = "username"
	}
	i.places = make(chan struct{}, maxIntrospected)
	i.client = &http.Client{
		Timeout: introspectFor,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Verify implements Tokens.
func (i *Introspection) Verify(ctx context.Context, token string) (login string, until time.Time, err error) {
	select {
	case i.places <- struct{}{}:
		defer func() { <-i.places }()
	case <-ctx.Done():
		return "", until, ctx.Err()
	}
	answer, err := i.ask(ctx, token)
	if err != nil {
		return "", until, fmt.Errorf("introspecting a token: %w", err)
	}
	var (
		active  bool
		expires int64
		scope   string
	)
	for field, value := range map[string]any{
		"active": &active, "exp": &expires, "scope": &scope, i.LoginField: &login} {
		if raw, ok := answer[field]; ok {
			if err := json.Unmarshal(raw, value); err != nil {
				return "", until, fmt.Errorf("introspecting a token: %s: %w", field, err)
			}
		}
	}
	switch {
	case !active, login == "", i.Scope != "" && !slices.Contains(strings.Fields(scope), i.Scope):
		return "", until, ErrWrong
	case expires > 0:
		until = time.Unix(expires, 0)
		if !until.After(time.Now()) {
			return "", until, ErrWrong
		}
	}
	return login, until, nil
}

func (i *Introspection) ask(ctx context.Context, token string) (answer map[string]json.RawMessage, err error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.Secret))
	res, err := i.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answered %s", res.Status)
	}
	return answer, json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer)
}
