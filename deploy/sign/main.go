// SPDX-License-Identifier: GPL-3.0-or-later

// Command sign signs what make dist has built, in the format of minisign (Ed25519), so that
// anybody can check it: minisign -Vm SHA256SUMS -p chmail.pub.
//
//	sign key FILE         makes a key, and the public one beside it as FILE.pub
//	sign FILE SHA256SUMS  signs: SHA256SUMS.minisig, and the public key as chmail.pub, are beside it
//
// The password of a key that has one is in the environment variable DIST_KEY_PASSWORD.
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"aead.dev/minisign"
)

func main() {
	err := errors.New("usage: sign key FILE | sign FILE SHA256SUMS")
	switch {
	case len(os.Args) != 3:
	case os.Args[1] == "key":
		err = makeKey(os.Args[2])
	default:
		err = sign(os.Args[1], os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sign:", err)
		os.Exit(1)
	}
}

func makeKey(path string) error {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	text, err := private.MarshalText()
	if password := os.Getenv("DIST_KEY_PASSWORD"); err == nil && password != "" {
		text, err = minisign.EncryptKey(password, private)
	}
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // a key is not written over
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return writePublic(path+".pub", public)
}

func writePublic(path string, key minisign.PublicKey) error {
	text, err := key.MarshalText()
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the public key: %w", err)
	}
	return nil
}

func sign(key, path string) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	var private minisign.PrivateKey
	if minisign.IsEncrypted(text) {
		private, err = minisign.DecryptKey(os.Getenv("DIST_KEY_PASSWORD"), text)
	} else {
		err = private.UnmarshalText(text)
	}
	if err != nil {
		return fmt.Errorf("reading the key %s: %w", key, err)
	}
	message, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading what is to be signed: %w", err)
	}
	// The same file has the same signature: no time is in it.
	signature := minisign.SignWithComments(private, message, "CHmail", "verify with chmail.pub")
	if err := os.WriteFile(path+".minisig", signature, 0o644); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	return writePublic(filepath.Join(filepath.Dir(path), "chmail.pub"), private.Public().(minisign.PublicKey))
}
