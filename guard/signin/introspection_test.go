// SPDX-License-Identifier: GPL-3.0-or-later

package signin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestIntrospection(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("the token was carried elsewhere")
	}))
	defer elsewhere.Close()
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "mail+server" || secret != "s%3Acret" || r.Method != http.MethodPost {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		switch r.PostFormValue("token") {
		case "good":
			fmt.Fprintf(w, `{"active":true,"email":"mina@mall.example","exp":%d,"scope":"openid mail","aud":["x"]}`,
				soon.Unix())
		case "lasting":
			fmt.Fprint(w, `{"active":true,"email":"mina@mall.example","scope":"mail"}`)
		case "expired":
			fmt.Fprint(w, `{"active":true,"email":"mina@mall.example","scope":"mail","exp":7}`)
		case "narrow":
			fmt.Fprint(w, `{"active":true,"email":"mina@mall.example","scope":"mailing"}`)
		case "nobody's":
			fmt.Fprint(w, `{"active":true,"scope":"mail"}`)
		case "odd":
			fmt.Fprint(w, `{"active":"yes","email":"mina@mall.example","scope":"mail"}`)
		case "endless":
			fmt.Fprint(w, `{"active":true,"x":"`+strings.Repeat("x", 2*maxAnswer)+`"}`)
		case "moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		default:
			fmt.Fprint(w, `{"active":false}`)
		}
	}))
	defer server.Close()
	i := &Introspection{URL: server.URL, ClientID: "mail server", Secret: "s:cret", LoginField: "email", Scope: "mail"}
	if err := i.Open(); err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]time.Time{"good": soon, "lasting": {}} {
		if login, until, err := i.Verify(t.Context(), token); err != nil || login != "mina@mall.example" ||
			!until.Equal(want) {
			t.Errorf("%s: %s until %v, %v", token, login, until, err)
		}
	}
	for _, token := range []string{"expired", "narrow", "nobody's", "unknown"} {
		if _, _, err := i.Verify(t.Context(), token); !errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", token, err)
		}
	}
	for _, token := range []string{"odd", "endless", "moved"} {
		if _, _, err := i.Verify(t.Context(), token); err == nil || errors.Is(err, ErrWrong) {
			t.Errorf("%s: %v", token, err)
		}
	}
	i.Secret = "another"
	if _, _, err := i.Verify(t.Context(), "good"); err == nil || errors.Is(err, ErrWrong) {
		t.Errorf("with another secret: %v", err)
	}
	for _, address := range []string{"http://sso.mall.example/", "sso.mall.example", "ftp://127.0.0.1/", "https://"} {
		if err := (&Introspection{URL: address, ClientID: "x", Secret: "x"}).Open(); err == nil {
			t.Errorf("%s was taken", address)
		}
	}
}
