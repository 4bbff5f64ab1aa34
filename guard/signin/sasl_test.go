// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import "testing"

func TestParse(t *testing.T) {
	t.Parallel()
	type parsed struct {
		login, token string
		ok           bool
	}
	for _, test := range []struct {
		mechanism, response string
		want                parsed
	}{
		// The examples of RFC 7628 section 4 and of Google's description.
		{OAuthBearer, "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmT\x01\x01",
			parsed{"user@example.com", "vF9dft4qmT", true}},
		{XOAuth2, "user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmT\x01\x01",
			parsed{"someuser@example.com", "ya29.vF9dft4qmT", true}},
		{OAuthBearer, "n,,\x01auth=bearer vF9\x01\x01", parsed{"", "vF9", true}},
		{OAuthBearer, "y,a=a=2Cb=3D@example.com,\x01auth=Bearer vF9\x01\x01", parsed{"a,b=@example.com", "vF9", true}},
		{OAuthBearer, "p=tls-unique,,\x01auth=Bearer vF9\x01\x01", parsed{}},
		{OAuthBearer, "n,b=x,\x01auth=Bearer vF9\x01\x01", parsed{}},
		{OAuthBearer, "n,a=x\x01auth=Bearer vF9\x01\x01", parsed{}},
		{OAuthBearer, "n,a=x,\x01auth=Bearer vF9", parsed{}},
		{OAuthBearer, "n,a=x,\x01auth=Basic vF9\x01\x01", parsed{login: "x"}},
		{OAuthBearer, "", parsed{}},
		{XOAuth2, "", parsed{}},
		{XOAuth2, "user=x\x01auth=Bearer \x01\x01", parsed{login: "x"}},
		{XOAuth2, "n,a=x,\x01auth=Bearer vF9\x01\x01", parsed{}},
	} {
		a, ok := Parse(test.mechanism, []byte(test.response))
		if got := (parsed{a.Login, a.Token, ok}); got != test.want {
			t.Errorf("%s %q: %+v", test.mechanism, test.response, got)
		}
	}
}

func TestParsePlain(t *testing.T) {
	t.Parallel()
	for response, want := range map[string]Attempt{
		"\x00tim\x00tanstaaftanstaaf":     {Login: "tim", Password: "tanstaaftanstaaf"}, // the example of RFC 4616
		"Ursel\x00Kurt\x00xipj3plmq":      {As: "Ursel", Login: "Kurt", Password: "xipj3plmq"},
		"":                                {},
		"tim":                             {},
		"\x00tim\x00":                     {},
		"\x00\x00tanstaaftanstaaf":        {},
		"\x00tim\x00tanstaaf\x00tanstaaf": {},
	} {
		if got, ok := Parse(Plain, []byte(response)); got != want || ok != (want.Login != "") {
			t.Errorf("%q: %+v", response, got)
		}
	}
}
