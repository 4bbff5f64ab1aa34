// SPDX-License-Identifier: GPL-3.0-or-later

package chat

import "testing"

func TestMasked(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"customer@mall.example": "c…@mall.example", "é@x": "é…@x", "@x": "…", "": "…", "postmaster": "…",
	} {
		if got := Masked(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}
