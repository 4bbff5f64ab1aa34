// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/attempt"
	"github.com/chmail/chmail/chatrelay/chat"
)

// maxAsked is how many attempts the figures of one range read.
const maxAsked = 100_000

// Figures counts how a login and its groups were asked for, from one moment until
// before another, with the days of a time zone. Attempts of people whom the login
// has blocked do not count. ErrQuery: the range is empty or longer than
// chat.MaxFigureDays.
func (s *Store) Figures(
	ctx context.Context, login string, from, until time.Time, zone *time.Location,
) (f chat.Figures, err error) {
	days := daysOf(from, until, zone)
	if len(days) == 0 || len(days) > chat.MaxFigureDays {
		return f, fmt.Errorf("counting attempts: %w: %d days", chat.ErrQuery, len(days))
	}
	teams, err := teamsOf(ctx, s.read, login)
	if err != nil {
		return f, fmt.Errorf("counting attempts: %w", err)
	}
	total, byDay, of := &tally{}, map[string]*tally{}, map[string]*tally{}
	for _, day := range days {
		byDay[day] = &tally{}
	}
	for _, team := range teams {
		of[team] = &tally{}
	}
	var args params
	// From the attempts of the range, few of which are of other logins' rooms.
	_, err = collect(ctx, s.read, func(rows *sql.Rows) (none struct{}, err error) {
		var started, ended int64
		var state, callee, taker string
		if err := rows.Scan(&started, &ended, &state, &callee, &taker); err != nil {
			return none, err
		}
		at, took := moment(started), moment(ended).Sub(moment(started))
		for _, t := range []*tally{total, byDay[at.In(zone).Format(time.DateOnly)], of[callee]} {
			t.add(state, took)
		}
		if taker != "" && taker != callee && state == attempt.Answered {
			if of[taker] == nil {
				of[taker] = &tally{}
			}
			of[taker].add(state, took)
		}
		return none, nil
	}, "SELECT a.started, a.ended, a.state, p.login, COALESCE(t.login, '') FROM attempts a CROSS JOIN participants p"+
		" JOIN participants c ON c.id = a.caller LEFT JOIN participants t ON t.id = a.taker"+
		" WHERE a.started >= "+args.put(micros(from))+" AND a.started < "+args.put(micros(until))+
		" AND a.ended <> 0 AND p.id = a.callee AND NOT p.guest AND p.login IN "+among(&args, teams)+
		" AND NOT EXISTS (SELECT 1 FROM blocks b WHERE b.login = "+args.put(teams[0])+
		" AND b.who <> '' AND b.who = c.addr) ORDER BY a.started LIMIT "+args.put(maxAsked), args...)
	if err != nil {
		return f, fmt.Errorf("counting attempts: %w", err)
	}
	f.Total = total.figure("")
	for _, day := range days {
		f.Days = append(f.Days, byDay[day].figure(day))
	}
	for who, t := range of {
		if t.Asked > 0 {
			f.Of = append(f.Of, t.figure(who))
		}
	}
	slices.SortFunc(f.Of, func(a, b chat.Figure) int { return strings.Compare(a.Name, b.Name) })
	return f, nil
}

// daysOf are the days of a zone in a range.
func daysOf(from, until time.Time, zone *time.Location) (days []string) {
	first, last := from.In(zone), until.Add(-1).In(zone).Format(time.DateOnly)
	for i := 0; from.Before(until) && len(days) <= chat.MaxFigureDays; i++ {
		// By noon: a day whose midnight the clocks leave out has none.
		day := time.Date(first.Year(), first.Month(), first.Day()+i, 12, 0, 0, 0, zone).Format(time.DateOnly)
		if days = append(days, day); day == last {
			break
		}
	}
	return days
}

// tally counts attempts.
type tally struct {
	chat.Figure
	took []time.Duration // until each was answered
}

func (t *tally) add(state string, took time.Duration) {
	t.Asked++
	if state != attempt.Answered {
		t.Missed++
		return
	}
	t.Answered++
	t.took = append(t.took, took)
}

func (t *tally) figure(name string) chat.Figure {
	f := t.Figure
	f.Name = name
	if n := len(t.took); n > 0 {
		slices.Sort(t.took)
		f.Median = ((t.took[(n-1)/2] + t.took[n/2]) / 2).Seconds()
	}
	return f
}
