// SPDX-License-Identifier: GPL-3.0-or-later

package frame

import (
	"bytes"
	"testing"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"t":"ping","n":1}`, `{"t":"say","id":"a","text":"x"}`, `{}`, `[]`, `{"t":1}`, `{"t":"hello","seen_by":{"1":2}}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		if err != nil {
			return
		}
		one := Encode(got)
		again, err := Decode(one)
		if err != nil || !bytes.Equal(Encode(again), one) {
			t.Fatalf("%s came back as another: %v", one, err)
		}
	})
}
