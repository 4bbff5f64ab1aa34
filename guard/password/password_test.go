// SPDX-License-Identifier: GPL-3.0-or-later

package password

import (
	"errors"
	"strings"
	"testing"
)

// What auth.pass_table wrote; all of "password".
var ofPassTable = []string{
	"sha256:U0FMVA==:8PDRAgaUqaLSk34WpYniXjaBgGM93Lc6iF4pw2slthw=",
	"bcrypt:$2y$10$4tEJtJ6dApmhETg8tJ4WHOeMtmYXQwmHDKIyfg09Bw1F/smhLjlaa",
	"argon2:1:8:1:U0FBQUFBTFQ=:" +
		"KHUshl3DcpHR3AoVd28ZeBGmZ1Fj1gwJgNn98Ia8DAvGHqI0BvFOMJPxtaAfO8F+qomm2O3h0P0yV50QGwXI/Q==",
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, stored := range append(ofPassTable, Hash("password")) {
		if err := Verify(stored, "password"); err != nil {
			t.Errorf("%s: %v", stored, err)
		}
		for _, wrong := range []string{"", "Password", "password "} {
			if err := Verify(stored, wrong); !errors.Is(err, ErrMismatch) {
				t.Errorf("%s: %q: %v", stored, wrong, err)
			}
		}
	}
	if a, b := Hash("password"), Hash("password"); a == b || !strings.HasPrefix(a, "argon2:2:19456:1:") {
		t.Errorf("%s and %s", a, b)
	}
	if err := Waste("password"); !errors.Is(err, ErrMismatch) {
		t.Error(err)
	}
	for _, broken := range []string{"", "plain:password", "bcrypt:x", "sha256:!:!", "sha256:U0FMVA==", "argon2:1:8",
		"argon2:0:8:1:U0FBQUFBTFQ=:KHUs", "argon2:1:8:0:U0FBQUFBTFQ=:KHUs", "argon2:1:4000000000:1:U0FBQUFBTFQ=:KHUs",
		"argon2:1:8:1:U0FBQUFBTFQ=:"} {
		if err := Verify(broken, ""); err == nil || errors.Is(err, ErrMismatch) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for password, fits := range map[string]bool{
		"": false, "a": false, "sevenxx": false, "eight888": true, "여덟글자비밀번호": true, "일곱글자비밀번": false,
		"with spaces in it": true, "a\x00bcdefgh": false, "\xff\xfe345678": false,
		strings.Repeat("x", MaxLength): true, strings.Repeat("x", MaxLength+1): false,
	} {
		if err := Check(password); (err == nil) != fits || err != nil && !errors.Is(err, ErrUnfit) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for kind, stored := range map[string]string{"argon2id": Hash("password"), "bcrypt": ofPassTable[1]} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				if err := Verify(stored, "password"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
