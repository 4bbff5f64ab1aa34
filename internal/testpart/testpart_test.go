// SPDX-License-Identifier: GPL-3.0-or-later

package testpart

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// ended is a test that says how it ended.
type ended struct {
	testing.TB
	how string
}

func (e *ended) Helper() {}

func (e *ended) Skip(args ...any) {
	e.how = "skipped: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func (e *ended) Skipf(format string, args ...any) { e.Skip(fmt.Sprintf(format, args...)) }

func (e *ended) Fatal(args ...any) {
	e.how = "failed: " + fmt.Sprint(args...)
	runtime.Goexit()
}

func TestNeed(t *testing.T) {
	for _, c := range []struct{ ci, name, want string }{
		{"", "sh", ""},
		{"", "no-such-program", "skipped: NOT TESTED"},
		{"true", "no-such-program", "failed: NOT TESTED"},
	} {
		t.Setenv("CI", c.ci)
		e := &ended{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Need(e, c.name)
		}()
		<-done
		if testing.Short() {
			c.want = "skipped: a short test"
		}
		if !strings.HasPrefix(e.how, c.want) || c.want == "" && e.how != "" {
			t.Errorf("CI=%q, %s: %q", c.ci, c.name, e.how)
		}
	}
}
