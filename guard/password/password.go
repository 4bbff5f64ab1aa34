// SPDX-License-Identifier: GPL-3.0-or-later

// Package password makes and checks the stored form of passwords. It reads what
// maddy's auth.pass_table has written (bcrypt, argon2, sha256) and what other mail servers
// have (foreign.go), and writes argon2id in the form of the first.
package password

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	// MinLength is the characters of the shortest new password.
	MinLength = 8
	// MaxLength is the octets of the longest: a line of POP3 ends at 255.
	MaxLength = 200

	// What a new hash costs: OWASP's second choice, with little memory.
	memory  = 19 << 10 // KiB
	rounds  = 2
	threads = 1

	// The most that a stored hash may cost.
	maxMemory = 1 << 20 // KiB
	maxRounds = 64

	saltSize = 16
	hashSize = 64 // as auth.pass_table takes it
)

var (
	// ErrMismatch: the password is another one.
	ErrMismatch = errors.New("another password")
	// ErrUnfit is what Check's errors wrap.
	ErrUnfit = errors.New("choose another password")
)

// Check says why a password cannot be a new one.
func Check(password string) error {
	switch {
	case password == "":
		return fmt.Errorf("no password was given: %w", ErrUnfit)
	case utf8.RuneCountInString(password) < MinLength:
		return fmt.Errorf("the password is shorter than %d characters: %w", MinLength, ErrUnfit)
	case len(password) > MaxLength:
		return fmt.Errorf("the password is longer than %d octets: %w", MaxLength, ErrUnfit)
	case strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r == 0x7F || r == utf8.RuneError }):
		return fmt.Errorf("the password has characters that cannot be typed: %w", ErrUnfit)
	case easy(password):
		return fmt.Errorf("the password is one of those that are tried first: %w", ErrUnfit)
	}
	return nil
}

// Hash is the stored form of a new password.
func Hash(password string) string {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // it never fails
	hash := argon2.IDKey([]byte(password), salt, rounds, memory, threads, hashSize)
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("argon2:%d:%d:%d:%s:%s", rounds, memory, threads, encode(salt), encode(hash))
}

// Waste takes as long as Verify of a new hash, and says ErrMismatch.
func Waste(password string) error {
	argon2.IDKey([]byte(password), make([]byte, saltSize), rounds, memory, threads, hashSize)
	return ErrMismatch
}

// Verify compares a password with a stored form. Errors other than ErrMismatch are
// about the stored form.
func Verify(stored, password string) error {
	kind, rest, _ := strings.Cut(stored, ":")
	var (
		same bool
		err  error
	)
	switch kind {
	case "argon2":
		same, err = verifyArgon2(rest, password)
	case "bcrypt":
		err = bcrypt.CompareHashAndPassword([]byte(rest), []byte(password))
		same = err == nil
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			err = nil
		}
	case foreign:
		same, err = verifyForeign(rest, password)
	case "sha256":
		same, err = verifySHA256(rest, password)
	default:
		err = errors.New("its kind is unknown")
	}
	switch {
	case err != nil:
		return fmt.Errorf("reading a stored password: %w", err)
	case !same:
		return ErrMismatch
	}
	return nil
}

// verifyArgon2 reads ROUNDS:MEMORY:THREADS:SALT:HASH.
func verifyArgon2(stored, password string) (bool, error) {
	parts := strings.Split(stored, ":")
	if len(parts) != 5 {
		return false, errors.New("it has not five parts")
	}
	t, errTime := strconv.ParseUint(parts[0], 10, 32)
	m, errMemory := strconv.ParseUint(parts[1], 10, 32)
	p, errThreads := strconv.ParseUint(parts[2], 10, 8)
	salt, errSalt := base64.StdEncoding.DecodeString(parts[3])
	hash, errHash := base64.StdEncoding.DecodeString(parts[4])
	if err := errors.Join(errTime, errMemory, errThreads, errSalt, errHash); err != nil {
		return false, err
	}
	if t < 1 || t > maxRounds || m > maxMemory || p < 1 || len(hash) == 0 {
		return false, errors.New("its costs are out of range")
	}
	got := argon2.IDKey([]byte(password), salt, uint32(t), uint32(m), uint8(p), uint32(len(hash)))
	return subtle.ConstantTimeCompare(got, hash) == 1, nil
}

// verifySHA256 reads SALT:HASH.
func verifySHA256(stored, password string) (bool, error) {
	salted, hashed, _ := strings.Cut(stored, ":")
	salt, errSalt := base64.StdEncoding.DecodeString(salted)
	hash, errHash := base64.StdEncoding.DecodeString(hashed)
	if err := errors.Join(errSalt, errHash); err != nil {
		return false, err
	}
	if len(hash) != sha256.Size {
		return false, errors.New("it has another length")
	}
	got := sha256.Sum256(append(salt, password...))
	return subtle.ConstantTimeCompare(got[:], hash) == 1, nil
}
