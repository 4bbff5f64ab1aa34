// SPDX-License-Identifier: GPL-3.0-or-later

package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func derive(t testing.TB, secret byte, purpose string) Key {
	t.Helper()
	k, err := Derive(bytes.Repeat([]byte{secret}, 32), purpose)
	if err != nil || len(k) != 32 {
		t.Fatalf("key of %d octets, %v", len(k), err)
	}
	return k
}

func TestSum(t *testing.T) {
	t.Parallel()
	// RFC 4231 section 4.3.
	sum := Key("Jefe").Sum([]byte("what do ya want for nothing?"))
	if got := hex.EncodeToString(sum); got != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Fatal(got)
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	k, body := derive(t, 1, "a"), []byte("body")
	sum := k.Sum(body)
	for n := range len(sum) + 1 {
		if got := k.Fits(sum[:n], body); got != (n >= MinSum) {
			t.Errorf("a sum of %d octets fits: %v", n, got)
		}
	}
	wrong := bytes.Clone(sum)
	wrong[MinSum-1] ^= 1
	if k.Fits(wrong, body) || k.Fits(sum, []byte("other")) || k.Fits(append(sum, 0), body) ||
		derive(t, 1, "b").Fits(sum, body) {
		t.Error("a wrong sum fits")
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	k := derive(t, 1, "a")
	mark := k.Mark("text")
	if !k.Marks(mark, "text") {
		t.Error("the mark is not that of its text")
	}
	if k.Marks("", "text") || k.Marks(mark[1:], "text") || k.Marks(mark, "text2") ||
		derive(t, 2, "a").Marks(mark, "text") {
		t.Error("a wrong mark is taken")
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	k := derive(t, 1, "a")
	for _, body := range []string{"", "x", "a ticket"} {
		sealed := k.Seal([]byte(body))
		if got, err := k.Open(sealed); err != nil || string(got) != body {
			t.Errorf("%q: %q, %v", body, got, err)
		}
		for name, wrong := range map[string]string{"empty": "", "cut": sealed[:len(sealed)-4],
			"changed":       "A" + sealed[1:],
			"not base64url": sealed + "=", "of another key": derive(t, 2, "a").Seal([]byte(body)),
			"of another purpose": derive(t, 1, "b").Seal([]byte(body))} {
			if wrong == sealed {
				continue
			}
			if _, err := k.Open(wrong); !errors.Is(err, ErrSeal) {
				t.Errorf("%q, %s: %v", body, name, err)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := derive(f, 1, "a")
	f.Add(k.Seal([]byte("body")))
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		if body, err := k.Open(sealed); err == nil && k.Seal(body) != sealed {
			t.Errorf("%q is a second spelling of %q", sealed, k.Seal(body))
		}
	})
}
