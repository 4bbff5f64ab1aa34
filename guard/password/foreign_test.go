// SPDX-License-Identifier: GPL-3.0-or-later

package password

import (
	"errors"
	"strings"
	"testing"
)

// TestImport: hashes that crypt(3) and Dovecot's doveadm made are taken over as they are.
func TestImport(t *testing.T) {
	t.Parallel()
	const given = "a fine password"
	for _, kept := range []string{
		"{SHA512-CRYPT}$6$saltsalt$pyc8jajkrrOuB8Im.jaoDf/cziALBTCpw2joH06BZt7DPCImf/" +
			".He1Pjc7HzKK1O0A0JOuNZDrSdWq9ynHMoh/",
		"{SHA256-CRYPT}$5$rounds=6000$saltsalt$Ree82SwP3BC7SYGDNCpt7aHb8iiOeDh.5j37jfYXFz5",
		"$5$rounds=6000$saltsalt$Ree82SwP3BC7SYGDNCpt7aHb8iiOeDh.5j37jfYXFz5",
		"$6$rounds=6000$saltsalt$yl1aWq7O0Y8Wsg5qr0tQEBiAStX1SMIv/dKhIuAgwmKTLQYNgua58" +
			"RjQ3/dPSw8xDxkaDmyWBslnub26ll8p5.",
		"{MD5-CRYPT}$1$saltsalt$gdo/zi.sSkCSe5S6PO2h40",
		"{CRYPT}$1$saltsalt$gdo/zi.sSkCSe5S6PO2h40",
		"{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuuKLiCawqA5qQyBVEkm.BMDIvm3kE8k96",
		"bcrypt:$2b$04$abcdefghijklmnopqrstuuKLiCawqA5qQyBVEkm.BMDIvm3kE8k96",
		"{SSHA}2v7zmQQpYMD8y3i3Od3sr/xCV6dzYWx0",
		"{SSHA256}3LByP+ZwobggNhWp8d93J+DBvN2Nd63fZdaz1UBUbCFzYWx0",
		"{SSHA512}+QNSSn/S3z/2Rg+2hgHIs3QYFsrVk8ixeUNhZi5zl2WmjnFU3FmjCSaDWAGij76PtdymnvqBnU/ftc9JywxPZnNhbHQ=",
	} {
		stored, err := Import(kept)
		if err != nil {
			t.Errorf("%s: %v", kept, err)
			continue
		}
		if !Old(stored) || strings.Contains(stored, given) {
			t.Errorf("%s is kept as %s", kept, stored)
		}
		if err := Verify(stored, given); err != nil {
			t.Errorf("%s: %v", kept, err)
		}
		if err := Verify(stored, given+"x"); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s and another password: %v", kept, err)
		}
	}
	for _, plain := range []string{"{PLAIN}" + given, "{CLEARTEXT}" + given, given} {
		if stored, err := Import(plain); err != nil || Old(stored) || Verify(stored, given) != nil {
			t.Errorf("%s is kept as %s, %v", plain, stored, err)
		}
	}
	for kept, want := range map[string]string{
		"{SCRAM-SHA-1}4096,x,y,z":       "SCRAM-SHA-1",
		"{SHA512-CRYPT}$1$saltsalt$gdo": "begins with $6$",
		"{SSHA}short":                   "no hash of SSHA",
		"{SSHA256}2v7zmQQpYMD8y3i3Od3s": "no hash of SSHA256",
		"$y$j9T$salt$hash":              "cannot be taken over",
		"$6$":                           "cannot be taken over",
		"{SHA512-CRYPT}$6$rounds=99999999$saltsalt$x":                             "cannot be taken over",
		"{BLF-CRYPT}$2b$31$abcdefghijklmnopqrstuuKLiCawqA5qQyBVEkm.BMDIvm3kE8k96": "cost",
		"{PLAIN}short": "shorter than",
		"password1":    "tried first",
	} {
		for what, err := range map[string]error{"CheckImport": CheckImport(kept), "Import": second(Import(kept))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", what, kept, err, want)
			}
		}
	}
}

func second(_ string, err error) error { return err }

func TestCheckFor(t *testing.T) {
	t.Parallel()
	for _, weak := range []string{"Password", "password123!", "11111111", "12341234", "kimberley", "Kimberley2026",
		"kimberley@mall.example", "mall.example"} {
		if err := CheckFor("Kimberley@mall.example", weak); !errors.Is(err, ErrUnfit) {
			t.Errorf("%q is taken: %v", weak, err)
		}
	}
	for _, good := range []string{"kimberley likes rain", "correct horse", "x7!mQ2pz"} {
		if err := CheckFor("Kimberley@mall.example", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}
