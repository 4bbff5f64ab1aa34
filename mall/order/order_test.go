// SPDX-License-Identifier: GPL-3.0-or-later

package order

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestDocumented: the table of docs/mall.md is the one of this package.
func TestDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/mall.md")
	if err != nil {
		t.Fatal(err)
	}
	goods := map[int]string{-1: "set aside", 0: "", 1: "for sale again"}
	var want []string
	for _, s := range Table {
		var by []string
		for _, r := range s.By {
			by = append(by, string(r))
		}
		want = append(want, strings.Join([]string{string(s.From), string(s.Act), strings.Join(by, ", "), string(s.To),
			goods[s.Stock]}, "|"))
	}
	_, rest, found := strings.Cut(string(page), "| state | act | by | next state | goods |\n|---|---|---|---|---|\n")
	if !found {
		t.Fatal("docs/mall.md has no table of orders")
	}
	var got []string
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		var cells []string
		for _, c := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(c))
		}
		got = append(got, strings.Join(cells, "|"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/mall.md has\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTable: every state but the first is reached, every way ends, and goods that are
// set aside are set aside once and come back once at most.
func TestTable(t *testing.T) {
	t.Parallel()
	var walk func(at State, aside, steps int)
	seen := map[State]bool{}
	walk = func(at State, aside, steps int) {
		seen[at] = true
		if steps > len(Table) || aside < 0 || aside > 1 {
			t.Fatalf("at %s after %d steps with %d sets of goods aside", at, steps, aside)
		}
		for _, s := range Table {
			if s.From == at {
				walk(s.To, aside-s.Stock, steps+1)
			}
		}
	}
	walk(Offered, 0, 0)
	for _, s := range []State{Offered, Accepted, Paid, Sent, Done, Cancelled, Returned} {
		if !seen[s] {
			t.Errorf("no way leads to %s", s)
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	if s, err := Next(Offered, Accept, Member); err != nil || s.To != Accepted {
		t.Errorf("accepted: %+v, %v", s, err)
	}
	for _, no := range []struct {
		from State
		act  Act
		by   Role
	}{{Offered, Accept, Shop}, {Accepted, Accept, Member}, {Accepted, Pay, Member}, {Paid, Cancel, Member},
		{Cancelled, Pay, Payment}, {Offered, Pay, Payment}, {Sent, Cancel, Shop}} {
		if _, err := Next(no.from, no.act, no.by); !errors.Is(err, ErrStep) {
			t.Errorf("%+v: %v", no, err)
		}
	}
	if got := Acts(Accepted, Member); !slices.Equal(got, []Act{Cancel}) {
		t.Errorf("a member may %v", got)
	}
}
