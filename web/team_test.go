// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay"
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

func (f *fakeTeam) Assign(_ context.Context, login, room, group, to string, was *string) error {
	f.done = []any{login, room, group, to}
	if was != nil {
		f.done = append(f.done, *was)
	}
	return f.err
}

func (f *fakeTeam) AddTeamNote(_ context.Context, login, room string, n chat.TeamNote) (chat.TeamNote, error) {
	f.done = []any{login, room, n.Group, n.ID, n.Text}
	return n, f.err
}

func (f *fakeTeam) TeamNotes(_ context.Context, login, room string) ([]chat.TeamNote, error) {
	f.done = []any{login, room}
	return nil, f.err
}

func (f *fakeTeam) Label(_ context.Context, login, room, group, label string, on bool) error {
	f.done = []any{login, room, group, label, on}
	return f.err
}

func (f *fakeTeam) Labels(context.Context, string) ([]chat.Label, error) {
	return []chat.Label{{Label: "VIP", Rooms: 2}}, f.err
}

func (f *fakeTeam) Colleagues(context.Context, string) []chatrelay.Colleagues {
	return []chatrelay.Colleagues{{Group: "sales@mall.example",
		Members: []chatrelay.Colleague{{Login: "host@mall.example", State: "available"}}}}
}

func TestTeam(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	long := strings.Repeat("\n", chat.MaxTeamNote-1) + "x"
	for _, c := range []struct {
		method, path, body string
		status             int
		done               []any // after the login
	}{
		{"POST", "R1/assign", `{"to":"joon@mall.example","group":"sales@mall.example","was":""}`, 204,
			[]any{"R1", "sales@mall.example", "joon@mall.example", ""}},
		{"POST", "R1/assign", `{}`, 204, []any{"R1", "", ""}},
		{"GET", "R1/notes", "", 200, []any{"R1"}},
		{"POST", "R1/notes", `{"id":"1","text":"a rebate"}`, 201, []any{"R1", "", "1", "a rebate"}},
		{"POST", "R1/notes", `{"id":"1","text":"` + strings.ReplaceAll(long, "\n", `\u000a`) + `"}`, 201,
			[]any{"R1", "", "1", long}},
		{"POST", "R1/labels", `{"label":"VIP","on":true}`, 204, []any{"R1", "", "VIP", true}},
	} {
		st.want(st.do(c.method, "/desk/rooms/"+c.path, c.body), c.status)
		if want := append([]any{"host@mall.example"}, c.done...); !slices.Equal(team.done, want) {
			t.Errorf("%s %s: %v, want %v", c.path, c.body, team.done, want)
		}
	}
	for path, want := range map[string]string{
		"/desk/team": `{"groups":[{"group":"sales@mall.example","members":[{"login":"host@mall.example",` +
			`"state":"available"}]}]}`,
		"/desk/labels":         `{"labels":[{"label":"VIP","rooms":2}]}`,
		"/desk/rooms/R1/notes": `{"notes":[]}`,
	} {
		if r := st.do("GET", path, ""); strings.TrimSpace(r.body) != want {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	for err, want := range map[error]struct {
		path, body, code string
		status           int
	}{
		chat.ErrTaken:   {"assign", `{"to":"x","was":""}`, "taken", 409},
		chat.ErrUnknown: {"notes", `{"id":"1","text":"x"}`, "unknown", 404},
		chat.ErrQuery:   {"labels", `{"label":" ","on":true}`, "bad-request", 400},
		chat.ErrFull:    {"labels", `{"label":"x","on":true}`, "full", 409},
	} {
		team.err = err
		st.want(st.do("POST", "/desk/rooms/R1/"+want.path, want.body), want.status, want.code)
	}
	st.want(st.do("POST", "/desk/sign-out", ""), 204)
	for _, path := range []string{"assign", "notes", "labels"} {
		st.want(st.do("POST", "/desk/rooms/R1/"+path, `{}`), 401, "sign-in")
	}
}

func (f *fakeTeam) Figures(_ context.Context, login string, days int, until string) (chat.Figures, error) {
	f.done = []any{login, days, until}
	return chat.Figures{Total: chat.Figure{Asked: 3, Answered: 2, Missed: 1, Median: 12.5}}, f.err
}

func TestFigures(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	r := st.do("GET", "/desk/figures?days=30&until=2026-11-20", "")
	st.want(r, 200)
	if want := `{"total":{"asked":3,"answered":2,"missed":1,"median":12.5},"days":[],"of":[]}`; strings.TrimSpace(
		r.body) != want || !slices.Equal(team.done, []any{"host@mall.example", 30, "2026-11-20"}) {
		t.Errorf("%v: %s", team.done, r.body)
	}
	team.err = chat.ErrQuery
	st.want(st.do("GET", "/desk/figures?days=many", ""), 400, "bad-request")
	if !slices.Equal(team.done, []any{"host@mall.example", 0, ""}) {
		t.Error(team.done)
	}
}

func (f *fakeTeam) Write(_ context.Context, login string, w chatrelay.Writing) (string, error) {
	f.done = []any{login, w.ID, w.Group, w.To, w.Subject, w.Text, w.From.IsLoopback()}
	return "R9", f.err
}

func (f *fakeTeam) TestMail(_ context.Context, login, lang string, from netip.Addr) error {
	f.done = []any{login, lang, from.IsLoopback()}
	return f.err
}

func (f *fakeTeam) Invite(_ context.Context, login, roomID, to string) error {
	f.done = []any{login, roomID, to}
	return f.err
}

func TestInvite(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	st.want(st.do("POST", "/desk/rooms/R1/invite", `{"to":"Lee <lee@far.example>"}`), 204)
	if want := []any{"host@mall.example", "R1", "Lee <lee@far.example>"}; !slices.Equal(team.done, want) {
		t.Errorf("%v, want %v", team.done, want)
	}
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{chatrelay.ErrWriting, 400, "bad-request"}, {chat.ErrForbidden, 403, "forbidden"}, {chat.ErrFull, 409, "full"},
		{chat.ErrUnknown, 404, "unknown"},
	} {
		team.err = c.err
		st.want(st.do("POST", "/desk/rooms/R1/invite", `{"to":"x"}`), c.status, c.code)
	}
	st.server.limits.write = bucket(0, 0)
	st.want(st.do("POST", "/desk/rooms/R1/invite", `{"to":"x"}`), 429, "too-often")
}

func TestTestMail(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	st.want(st.do("POST", "/desk/test-mail", "{}", "Accept-Language", "ko"), 204)
	if want := []any{"host@mall.example", "ko", true}; !slices.Equal(team.done, want) {
		t.Errorf("%v, want %v", team.done, want)
	}
	team.err = &chat.RefusedError{Text: "the mailbox is full"}
	st.want(st.do("POST", "/desk/test-mail", "{}"), 422, "refused")
	st.server.limits.write = bucket(0, 0)
	st.want(st.do("POST", "/desk/test-mail", "{}"), 429, "too-often")
}

func TestWrite(t *testing.T) {
	t.Parallel()
	st, team := teamSite(t)
	st.server.limits.write = bucket(0, 9)
	body := `{"id":"1","to":"Kim <kim@far.example>","subject":"Your order","text":"It is here.","group":"sales@mall.example"}`
	r := st.do("POST", "/desk/write", body)
	st.want(r, 201)
	if want := []any{"host@mall.example", "1", "sales@mall.example", "Kim <kim@far.example>", "Your order", "It is here.",
		true}; !slices.Equal(team.done, want) || strings.TrimSpace(r.body) != `{"room":"R9"}` {
		t.Errorf("%v: %s", team.done, r.body)
	}
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{chatrelay.ErrWriting, 400, "bad-request"}, {chat.ErrUnwanted, 409, "no-links"},
		{&chat.RefusedError{Text: "no such user"}, 422, "refused"}, {chatrelay.ErrNoRoom, 502, "no-room"},
		{chatrelay.ErrNoWriting, 404, "no-writing"}, {chat.ErrUnknown, 404, "unknown"},
	} {
		team.err = c.err
		st.want(st.do("POST", "/desk/write", body), c.status, c.code)
	}
	st.do("POST", "/desk/write", body)
	st.do("POST", "/desk/write", body)
	st.want(st.do("POST", "/desk/write", body), 429, "too-often")
	st.want(st.do("POST", "/desk/write", body, "Sec-Fetch-Site", "cross-site"), 403, "origin")
}
