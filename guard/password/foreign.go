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
	if _, err := readForeign(text); err != nil {
		return "", err
	}
	return foreign + ":" + text, nil
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
	same, err := readForeign(stored)
	if err != nil {
		return false, err
	}
	return same(password)
}

// readForeign reads {SCHEME} and a hash, and returns what compares a password with it.
// Reading it costs nothing of the hash's own price.
func readForeign(stored string) (same func(password string) (bool, error), err error) {
	m := scheme.FindStringSubmatch(stored)
	if m == nil {
		return nil, errors.New("it has no {SCHEME}")
	}
	name, coding, text := strings.ToUpper(m[1]), m[2], m[3]
	if prefix, ok := crypts[name]; ok {
		if !strings.HasPrefix(text, prefix) {
			return nil, fmt.Errorf("a hash of %s begins with %s", name, prefix)
		}
		return readCrypt(text)
	}
	d, ok := digests[name]
	if !ok {
		return nil, fmt.Errorf("hashes of the scheme %s cannot be taken over: set a new password", name)
	}
	var sum []byte
	if coding == "hex" || coding == "" && name == "PLAIN-MD5" {
		sum, err = hex.DecodeString(text)
	} else {
		sum, err = base64.StdEncoding.DecodeString(text)
	}
	size := d.make().Size()
	if err != nil || len(sum) < size || !d.salted && len(sum) != size {
		return nil, fmt.Errorf("it is no hash of %s", name)
	}
	return func(password string) (bool, error) {
		h := d.make()
		h.Write([]byte(password))
		h.Write(sum[size:])
		return subtle.ConstantTimeCompare(h.Sum(nil), sum[:size]) == 1, nil
	}, nil
}

// byCrypt are the hashes of crypt(3) that are taken: MD5, SHA-256 and SHA-512, with rounds
// that a sign-in may cost.
var byCrypt = regexp.MustCompile(`^\$(1\$[^$]{0,8}\$[./0-9A-Za-z]{22}|5\$(rounds=\d{1,6}\$)?[^$]{0,16}\$[./0-9A-Za-z]{43}|` +
	`6\$(rounds=\d{1,6}\$)?[^$]{0,16}\$[./0-9A-Za-z]{86})$`)

// readCrypt is readForeign of what crypt(3) made.
func readCrypt(text string) (same func(password string) (bool, error), err error) {
	if strings.HasPrefix(text, "$2") {
		if cost, err := bcrypt.Cost([]byte(text)); err != nil || cost > 15 {
			return nil, errors.New("it is no hash of bcrypt with a cost of up to 15")
		}
		return func(password string) (bool, error) {
			err := bcrypt.CompareHashAndPassword([]byte(text), []byte(password))
			if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
				return false, nil
			}
			return err == nil, err
		}, nil
	}
	if !byCrypt.MatchString(text) {
		return nil, errors.New("crypt(3) made it in a way that cannot be taken over: set a new password")
	}
	return func(password string) (bool, error) {
		// Its Verify takes a part of the hash for salt where rounds are given.
		end := strings.LastIndexByte(text, '$')
		made, err := crypt.NewFromHash(text).Generate([]byte(password), []byte(text[:end]))
		hash := made[strings.LastIndexByte(made, '$')+1:]
		return err == nil && subtle.ConstantTimeCompare([]byte(hash), []byte(text[end+1:])) == 1, err
	}, nil
}
