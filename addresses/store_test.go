// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/internal/testpart"
)

// accounts are those of a test.
var accounts = []string{"host@mall.example", "joon@mall.example", "kim@mall.example", "mina+work@mall.example",
	"mina@mall.example"}

// open is a store on each database.
func open(t *testing.T, do func(t *testing.T, s *Store)) {
	t.Helper()
	dsn := map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "a.db") },
		"postgres": func(t *testing.T) string { return testpart.Postgres(t) },
	}
	for name, at := range dsn {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), Options{DSN: at(t), Domains: []string{"Mall.Example"}, Delimiter: "+",
				Exists: func(_ context.Context, login string) (bool, error) {
					return slices.Contains(accounts, login), nil
				},
				First: func(context.Context, string) (string, error) { return accounts[0], nil }})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			do(t, s)
		})
	}
}

// ends is where a mail ends, as one text.
func ends(t *testing.T, s *Store, addr string, forwards bool) string {
	t.Helper()
	way, err := s.Resolve(t.Context(), addr, forwards)
	if err != nil {
		return err.Error()
	}
	all := slices.Clone(way.Logins)
	for _, o := range way.Outside {
		all = append(all, o.Via+">"+o.Addr)
	}
	return strings.Join(all, " ")
}

func to(addrs ...string) Rules { return Rules{Forward: addrs} }

func TestResolve(t *testing.T) {
	t.Parallel()
	open(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(s.AddDomain(ctx, "Other.Example"))
		must(s.AddAlias(ctx, "sales@mall.example", "kim@mall.example", "mina@mall.example", "out@far.example"))
		must(s.AddAlias(ctx, "all@mall.example", "Sales@mall.example", "joon@mall.example"))
		must(s.AddAlias(ctx, "kim@mall.example", "kim@mall.example", "joon@mall.example"))
		must(s.AddAlias(ctx, "@other.example", "mina@mall.example"))
		must(s.SetRules(ctx, "joon@mall.example", Rules{Forward: []string{"joon@far.example"}}))
		const sales = "kim@mall.example joon@mall.example mina@mall.example sales@mall.example>out@far.example"
		for addr, want := range map[string]string{
			"Mina@Mall.Example":        "mina@mall.example",
			"mina+x@mall.example":      "mina@mall.example",
			"mina+work@mall.example":   "mina+work@mall.example",
			"sales@mall.example":       sales,
			"sales+q3@mall.example":    sales,
			"all@mall.example":         sales,
			"kim@mall.example":         "joon@mall.example kim@mall.example",
			"anything@other.example":   "mina@mall.example",
			"typo@mall.example":        "typo@mall.example: there is no such address",
			"x@far.example":            ">x@far.example",
			"postmaster":               "host@mall.example",
			"Postmaster@mall.example":  "host@mall.example",
			"abuse@mall.example":       "host@mall.example",
			"abuse@other.example":      "host@mall.example",
			"postmaster@other.example": "host@mall.example",
		} {
			got := strings.Split(ends(t, s, addr, false), " ")
			wanted := strings.Split(want, " ")
			if strings.Contains(want, "no such") {
				got, wanted = []string{strings.Join(got, " ")}, []string{want}
			}
			slices.Sort(got)
			slices.Sort(wanted)
			if !slices.Equal(got, wanted) {
				t.Errorf("%s leads to %q, want %q", addr, got, wanted)
			}
		}
		if got := ends(t, s, "joon@mall.example", true); got != "joon@mall.example>joon@far.example" {
			t.Errorf("forwarded to %q", got)
		}
		must(s.AddAlias(ctx, "postmaster@mall.example", "mina@mall.example"))
		if got := ends(t, s, "abuse@other.example", false); got != "mina@mall.example" {
			t.Errorf("abuse is the postmaster's: %q", got)
		}
		must(s.Disable(ctx, "mina@mall.example", true, "unpaid"))
		if _, err := s.Resolve(ctx, "mina@mall.example", true); !errors.Is(err, ErrDisabled) {
			t.Errorf("disabled: %v", err)
		}
		for addr, want := range map[string]bool{"sales@mall.example": true, "kim+x@mall.example": true,
			"joon@mall.example": false, "kim@far.example": false, "nobody@mall.example": false} {
			if may, err := s.MayUse(ctx, "kim@mall.example", addr); err != nil || may != want {
				t.Errorf("kim may use %s: %v, %v", addr, may, err)
			}
		}
	})
}

// TestLoops: a circle is refused with words, and one that came about all the same loses no
// mail.
func TestLoops(t *testing.T) {
	t.Parallel()
	open(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if err := s.AddAlias(ctx, "a@mall.example", "kim@mall.example"); err != nil {
			t.Fatal(err)
		}
		if err := s.AddAlias(ctx, "b@mall.example", "a@mall.example"); err != nil {
			t.Fatal(err)
		}
		if err := s.SetRules(ctx, "kim@mall.example", Rules{Forward: []string{"mina@mall.example"}}); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			err  error
			want error
		}{
			"an alias of itself":  {s.AddAlias(ctx, "a@mall.example", "b@mall.example"), ErrLoop},
			"no account":          {s.AddAlias(ctx, "c@mall.example", "c@mall.example"), ErrLoop},
			"a nobody":            {s.AddAlias(ctx, "c@mall.example", "nobody@mall.example"), ErrUnknown},
			"a foreign domain":    {s.AddAlias(ctx, "c@far.example", "kim@mall.example"), ErrDomain},
			"no address":          {s.AddAlias(ctx, "c@mall.example", "kim"), ErrUnfit},
			"itself":              {s.SetRules(ctx, "kim@mall.example", to("kim@mall.example")), ErrLoop},
			"back":                {s.SetRules(ctx, "mina@mall.example", to("b@mall.example")), ErrLoop},
			"removing nothing":    {s.RemoveAlias(ctx, "c@mall.example"), ErrUnknown},
			"the configuration's": {s.RemoveDomain(ctx, "mall.example"), ErrUnfit},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: %v", what, c.err)
			}
		}
		// Two programs at a time can make one.
		if err := s.set(ctx, "mina@mall.example", "rules", `{"forward":["kim@mall.example"]}`); err != nil {
			t.Fatal(err)
		}
		if got := ends(t, s, "kim@mall.example", true); got != "mina@mall.example" {
			t.Errorf("in a circle: %q", got)
		}
		many := make([]string, maxMembers+1)
		for i := range many {
			many[i] = fmt.Sprintf("p%d@far.example", i)
		}
		if err := s.AddAlias(ctx, "many@mall.example", many...); !errors.Is(err, ErrFull) {
			t.Errorf("too many members: %v", err)
		}
	})
}

func TestPeople(t *testing.T) {
	t.Parallel()
	open(t, func(t *testing.T, s *Store) {
		ctx, login := t.Context(), "kim@mall.example"
		five := int64(5 << 30)
		if err := errors.Join(s.SetQuota(ctx, login, &five), s.Disable(ctx, login, true, "gone fishing")); err != nil {
			t.Fatal(err)
		}
		p, err := s.Person(ctx, login)
		if err != nil || p.Quota == nil || *p.Quota != five || !p.Disabled || p.Reason != "gone fishing" {
			t.Errorf("%+v, %v", p, err)
		}
		if all, err := s.People(ctx); err != nil || len(all) != 1 || !all[login].Disabled {
			t.Errorf("%+v, %v", all, err)
		}
		for what, r := range map[string]Rules{
			"a day":     {Vacation: Vacation{Until: "tomorrow"}},
			"no notice": {Vacation: Vacation{On: true}},
			"a field":   {Filters: []Filter{{Field: "body", Contains: "x"}}},
			"nothing":   {Filters: []Filter{{Field: "from", Contains: " "}}},
			"many":      {Filters: make([]Filter, MaxFilters+1)},
			"addresses": to("a@b.example", "c@b.example", "d@b.example", "e@b.example", "f@b.example", "g@b.example"),
		} {
			if err := s.SetRules(ctx, login, r); !errors.Is(err, ErrUnfit) {
				t.Errorf("%s: %v", what, err)
			}
		}
		now := time.Now()
		for i, want := range []bool{true, false} {
			if may, err := s.Answer(ctx, login, "Joon@far.example", now); err != nil || may != want {
				t.Errorf("answer %d: %v, %v", i, may, err)
			}
		}
		if may, err := s.Answer(ctx, login, "joon@far.example", now.Add(AnswerAgain)); err != nil || !may {
			t.Errorf("a week later: %v, %v", may, err)
		}
		if err := s.AddAlias(ctx, "sales@mall.example", login); err != nil {
			t.Fatal(err)
		}
		if err := s.Forget(ctx, login); err != nil {
			t.Fatal(err)
		}
		aliases, err := s.Aliases(ctx)
		if p, _ := s.Person(ctx, login); err != nil || len(aliases) != 0 || p.Disabled || p.Quota != nil {
			t.Errorf("of somebody who is gone: %v, %+v, %v", aliases, p, err)
		}
	})
}
