// SPDX-License-Identifier: GPL-3.0-or-later

package tuning

import "testing"

func TestLevel(t *testing.T) {
	t.Parallel()
	l, cycles := level{percent: quiet}, uint64(0)
	for i, step := range []struct {
		collections uint64
		want        int
	}{
		{1, quiet}, {many - 1, quiet}, {many, busy}, {1, busy}, {0, busy},
		{1, busy}, {0, busy}, {0, quiet}, {0, quiet}, {many, busy},
	} {
		cycles += step.collections
		if l.next(cycles); l.percent != step.want {
			t.Errorf("step %d: %d", i, l.percent)
		}
	}
}
