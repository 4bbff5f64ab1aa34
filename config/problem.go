// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/xrash/smetrics"
)

// Problem is what an administrator should know of a configuration: what is wrong,
// and what to do about it.
type Problem struct {
	// Warning: the server starts, and does not do what was probably meant. Otherwise
	// it does not start, or loses mail.
	Warning bool   `json:"warning"`
	File    string `json:"file"`           // as the configuration was named, or an imported file
	Line    int    `json:"line,omitempty"` // of the directive; 0: the whole file
	Text    string `json:"text"`
	Passing bool   `json:"passing,omitempty"` // it may be over by itself: a resolver that does not answer
}

// String is the problem in a line, as compilers print theirs.
func (p Problem) String() string {
	where, kind := p.File, "error"
	if p.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, p.Line)
	}
	if p.Warning {
		kind = "warning"
	}
	return fmt.Sprintf("%s: %s: %s", where, kind, p.Text)
}

// Problems are what was found in a configuration.
type Problems []Problem

// Err joins those that are no warnings; nil: there are none.
func (ps Problems) Err() error {
	var errs []error
	for _, p := range ps {
		if !p.Warning {
			errs = append(errs, fmt.Errorf("%s:%d: %s", p.File, p.Line, p.Text))
		}
	}
	return errors.Join(errs...)
}

// Count counts them.
func (ps Problems) Count() (errs, warnings int) {
	for _, p := range ps {
		if p.Warning {
			warnings++
		} else {
			errs++
		}
	}
	return errs, warnings
}

// Sort puts them into the order of the file.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

func (ps *Problems) errorf(n config.Node, format string, args ...any) {
	*ps = append(*ps, Problem{File: n.File, Line: n.Line, Text: fmt.Sprintf(format, args...)})
}

func (ps *Problems) warnf(n config.Node, format string, args ...any) {
	*ps = append(*ps, Problem{Warning: true, File: n.File, Line: n.Line, Text: fmt.Sprintf(format, args...)})
}

// meant ends a sentence about a name that does not exist with the one that was
// probably meant.
func meant(name string, known []string) string {
	best, likeness := "", 0.8
	for _, k := range known {
		if l := smetrics.JaroWinkler(strings.ToLower(name), strings.ToLower(k), 0.7, 4); l > likeness {
			best, likeness = k, l
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}
