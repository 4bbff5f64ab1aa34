// SPDX-License-Identifier: GPL-3.0-or-later

package clean

import "testing"

func TestInitials(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Kim Min Ji": "KJ", "jo@mall.example": "J", "홍길동": "길동", "李": "李",
		"": "?", "...": "?", "mina & Co": "MC"} {
		if got := Initials(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
