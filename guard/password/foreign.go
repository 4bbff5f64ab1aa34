// SPDX-License-Identifier: GPL-3.0-or-later

package password

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strings"

	"github.com/GehirnInc/crypt"
	_ "github.com/GehirnInc/crypt/md5_crypt"    // $1$
	_ "github.com/GehirnInc/crypt/sha256_crypt" // $5$
	_ "github.com/GehirnInc/crypt/sha512_crypt" // $6$
	"golang.org/x/crypto/bcrypt"
)

// foreign begins the stored form of a password that came from another mail server. What
// follows is as it was there: {SCHEME} and the hash.
const foreign = "foreign"

// scheme is how another mail server keeps a password.
var scheme = regexp.MustCompile(`^\{([A-Za-z0-9-]+)(?:\.(b64|base64|hex))?\}(.*)$`)

// own are the forms that this program, or maddy's auth.pass_table, has written.
var own = regexp.MustCompile(`^(argon2|bcrypt|sha256):`)

// digests are the schemes of a digest, with a salt behind it where one may be.
var digests = map[string]struct {
	make   func() hash.Hash
	salted bool
}{
	"SHA": {sha1.New, false}, "SHA1": {sha1.New, false}, "SSHA": {sha1.New, true},
	"SHA256": {sha256.New, false}, "SSHA256": {sha256.New, true},
	"SHA512": {sha512.New, false}, "SSHA512": {sha512.New, true},
	"LDAP-MD5": {md5.New, false}, "PLAIN-MD5": {md5.New, false}, "SMD5": {md5.New, true},
}

// crypts are the schemes of crypt(3); CRYPT is any of them.
var crypts = map[string]string{"MD5-CRYPT": "$1$", "SHA256-CRYPT": "$5$", "SHA512-CRYPT": "$6$", "BLF-CRYPT": "$2",
	"MD5": "$1$", "CRYPT": "$"}

// Import is the stored form of what another mail server kept: {SCHEME} and a hash, as in
// Dovecot, saslauthd and LDAP, what crypt(3) made, what maddy wrote, or a password itself,
// perhaps behind {PLAIN}. A hash is kept as it is; Old says to make it anew.
func Import(text string) (string, error) {
	if own.MatchString(text) {
		if err := Verify(text, ""); err != nil && !errors.Is(err, ErrMismatch) {
			return "", err
		}
		return text, nil
	}
	if strings.HasPrefix(text, "$") {
		text = "{CRYPT}" + text
	}
	m := scheme.FindStringSubmatch(text)
	if m == nil || m[1] == "PLAIN" || m[1] == "CLEARTEXT" {
		if m != nil {
			text = m[3]
		}
		if err := Check(text); err != nil {
			return "", err
		}
		return Hash(text), nil
	}
	stored := foreign + ":" + text
	if err := Verify(stored, ""); err != nil && !errors.Is(err, ErrMismatch) {
		return "", err
	}
	return stored, nil
}

// CheckImport says why Import would refuse a text, without the cost of a new hash.
func CheckImport(text string) error {
	if m := scheme.FindStringSubmatch(text); m != nil && (m[1] == "PLAIN" || m[1] == "CLEARTEXT") {
		return Check(m[3])
	} else if m == nil && !own.MatchString(text) && !strings.HasPrefix(text, "$") {
		return Check(text)
	}
	_, err := Import(text)
	return err
}

// Old says whether a stored form is another one than Hash makes, to be made anew when
// its password is known.
func Old(stored string) bool { return !strings.HasPrefix(stored, "argon2:") }

// verifyForeign compares a password with {SCHEME} and a hash.
func verifyForeign(stored, password string) (bool, error) {
	m := scheme.FindStringSubmatch(stored)
	if m == nil {
		return false, errors.New("it has no {SCHEME}")
	}
	name, coding, text := strings.ToUpper(m[1]), m[2], m[3]
	if prefix, ok := crypts[name]; ok {
		if !strings.HasPrefix(text, prefix) {
			return false, fmt.Errorf("a hash of %s begins with %s", name, prefix)
		}
		return verifyCrypt(text, password)
	}
	d, ok := digests[name]
	if !ok {
		return false, fmt.Errorf("hashes of the scheme %s cannot be taken over: set a new password", name)
	}
	var sum []byte
	var err error
	if coding == "hex" || coding == "" && name == "PLAIN-MD5" {
		sum, err = hex.DecodeString(text)
	} else {
		sum, err = base64.StdEncoding.DecodeString(text)
	}
	h := d.make()
	if err != nil || len(sum) < h.Size() || !d.salted && len(sum) != h.Size() {
		return false, fmt.Errorf("it is no hash of %s", name)
	}
	h.Write([]byte(password))
	h.Write(sum[h.Size():])
	return subtle.ConstantTimeCompare(h.Sum(nil), sum[:h.Size()]) == 1, nil
}

// costly is a hash of more rounds of crypt(3) than a sign-in may cost.
var costly = regexp.MustCompile(`^\$[56]\$rounds=\d{7,}\$`)

// verifyCrypt compares a password with what crypt(3) made.
func verifyCrypt(text, password string) (bool, error) {
	if strings.HasPrefix(text, "$2") {
		if cost, err := bcrypt.Cost([]byte(text)); err != nil || cost > 15 {
			return false, errors.New("it is no hash of bcrypt with a cost of up to 15")
		}
		err := bcrypt.CompareHashAndPassword([]byte(text), []byte(password))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	}
	if !crypt.IsHashSupported(text) || costly.MatchString(text) || strings.Count(text, "$") < 3 {
		return false, errors.New("crypt(3) made it in a way that cannot be taken over: set a new password")
	}
	err := crypt.NewFromHash(text).Verify(text, []byte(password))
	if errors.Is(err, crypt.ErrKeyMismatch) {
		return false, nil
	}
	return err == nil, err
}
