// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import "strings"

// The SASL mechanisms whose client says everything in one response.
const (
	Plain       = "PLAIN"       // RFC 4616
	OAuthBearer = "OAUTHBEARER" // RFC 7628
	XOAuth2     = "XOAUTH2"     // as Google and Microsoft have it
)

// BearerRefused is what a server says about a token that it refuses, before the
// client answers and the exchange fails (RFC 7628 section 3.2.2).
const BearerRefused = `{"status":"invalid_token","schemes":"bearer"}`

// Parse reads a client's response in one of those mechanisms.
func Parse(mechanism string, response []byte) (a Attempt, ok bool) {
	if mechanism == Plain {
		parts := strings.Split(string(response), "\x00")
		if len(parts) != 3 || parts[1] == "" || parts[2] == "" {
			return a, false
		}
		return Attempt{As: parts[0], Login: parts[1], Password: parts[2]}, true
	}
	a.Login, a.Token, ok = bearer(mechanism, string(response))
	return a, ok
}

// bearer reads the login, which may be empty, and the token.
func bearer(mechanism, response string) (login, token string, ok bool) {
	head, rest, _ := strings.Cut(response, "\x01")
	if mechanism == XOAuth2 {
		if login, ok = strings.CutPrefix(head, "user="); !ok {
			return "", "", false
		}
	} else {
		// A GS2 header (RFC 5801 section 4): no channel binding, perhaps a login.
		flag, authzid, _ := strings.Cut(head, ",")
		if flag != "n" && flag != "y" || !strings.HasSuffix(authzid, ",") {
			return "", "", false
		}
		authzid = strings.TrimSuffix(authzid, ",")
		if authzid != "" {
			if login, ok = strings.CutPrefix(authzid, "a="); !ok {
				return "", "", false
			}
			login = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(login)
		}
	}
	pairs, found := strings.CutSuffix(rest, "\x01")
	if !found {
		return "", "", false
	}
	for pair := range strings.SplitSeq(pairs, "\x01") {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.EqualFold(name, "auth") {
			continue
		}
		scheme, bearer, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(bearer)
		}
	}
	return login, token, token != ""
}
