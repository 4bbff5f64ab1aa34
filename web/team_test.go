// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

func TestLists(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.want(st.do("GET", "/desk/rooms", ""), 401, "sign-in")
	st.signIn()
	for given, want := range map[string]chat.RoomQuery{
		"":               {List: chat.ListChats, Limit: 50},
		"list=mails":     {List: chat.ListMails, Limit: 50},
		"list=label:VIP": {Label: "VIP", Limit: 50},
		"limit=9&before=2026-11-20T09:00:00.5Z": {List: chat.ListChats, Limit: 9,
			Before: time.Date(2026, 11, 20, 9, 0, 0, 5e8, time.UTC)},
		"limit=99999": {List: chat.ListChats, Limit: maxRooms},
	} {
		st.want(st.do("GET", "/desk/rooms?"+given, ""), 200)
		if st.relay.asked != want {
			t.Errorf("%s asks for %+v", given, st.relay.asked)
		}
	}
}

// Long lists are compressed for whoever takes that, short ones for nobody.
func TestAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.signIn()
	gzipped := []string{"Accept-Encoding", "gzip"}
	if r := st.do("GET", "/desk/rooms", "", gzipped...); r.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
	for range 50 {
		st.relay.rooms = append(st.relay.rooms, chat.Summary{Info: chat.Info{ID: "R1", Subject: "Your order"}})
	}
	r := st.do("GET", "/desk/rooms", "", gzipped...)
	if r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Vary") != "Accept-Encoding" || len(r.body) > 1000 {
		t.Fatalf("%d octets, header %v", len(r.body), r.Header)
	}
	zip, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Rooms []chat.Summary }
	if err := json.NewDecoder(zip).Decode(&list); err != nil || len(list.Rooms) != 50 {
		t.Errorf("%d rooms, %v", len(list.Rooms), err)
	}
	r = st.do("GET", "/desk/rooms", "", "Accept-Encoding", "gzip;q=0")
	if r.Header.Get("Content-Encoding") != "" || !strings.Contains(r.body, "Your order") {
		t.Errorf("header %v", r.Header)
	}
}

// fakeTeam remembers what it was asked to do.
type fakeTeam struct {
	Team
	done []any
	err  error
}

func (f *fakeTeam) Dismiss(_ context.Context, login, room string) error {
	f.done = []any{login, room}
	return f.err
}

// teamSite is a site whose relay has a team.
func teamSite(t *testing.T) (*site, *fakeTeam) {
	team := &fakeTeam{}
	st := newSite(t)
	st.relay.Team = team
	st.signIn()
	return st, team
}

func TestDismiss(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	for body, room := range map[string]string{`{"room":"R1"}`: "R1", `{"all":true}`: ""} {
		st.want(st.do("POST", "/desk/dismiss", body), 204)
		if len(team.done) != 2 || team.done[0] != "host@mall.example" || team.done[1] != room {
			t.Errorf("%s: %v", body, team.done)
		}
	}
	for _, body := range []string{`{}`, `{"room":"R1","all":true}`} {
		st.want(st.do("POST", "/desk/dismiss", body), 400, "bad-request")
	}
	st.want(st.do("POST", "/desk/dismiss", `{"room":"R1"}`, "Sec-Fetch-Site", "cross-site"), 403, "origin")
	team.err = chat.ErrUnknown
	st.want(st.do("POST", "/desk/dismiss", `{"room":"R9"}`), 404, "unknown")
}
