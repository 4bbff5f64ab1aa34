// SPDX-License-Identifier: GPL-3.0-or-later

// Package vault seals what the mall knows about people, with keys in a file of its
// own: who has the database alone can read none of it.
//
// The keys are a Tink keyset. Rotate adds a key, with which everything is sealed from
// then on; the older ones still open what they sealed. Addresses are found again by
// a keyed hash, whose key stays. Hosts that share the file see a rotation at once, and
// change it one after the other: each locks FILE.lock, and reads the file, before it writes.
package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/chmail/chmail/internal/durable"
	"github.com/chmail/chmail/internal/seal"
)

// ErrSealed: the text was not sealed here, was sealed for something else, or was changed.
var ErrSealed = errors.New("the sealed text cannot be opened")

const (
	keyID    = 5  // octets before a sealed text that name its key (Tink's prefix)
	hashSize = 32 // octets of the key of hashes
)

// Vault seals and opens. Its methods may be called at the same time.
type Vault struct {
	path string
	mu   sync.Mutex // of who reads the file anew
	keys atomic.Pointer[keys]
}

// keys are those of one moment.
type keys struct {
	handle *keyset.Handle
	aead   tink.AEAD
	prefix string // of what the newest key seals
	hash   seal.Key
	file   fs.FileInfo // that they were read from
}

// file is what the file holds.
type file struct {
	Keys json.RawMessage `json:"keys"` // Tink's JSON
	Hash []byte          `json:"hash"`
}

// Open reads the keys of a file, and makes them when there is no file.
func Open(path string) (*Vault, error) {
	v := &Vault{path: path}
	err := v.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = v.alone(func() error {
			if err := v.load(); !errors.Is(err, fs.ErrNotExist) {
				return err // another host has made it meanwhile
			}
			return v.make()
		})
	}
	if err != nil {
		return nil, fmt.Errorf("opening the keys of personal data, %s: %w", path, err)
	}
	return v, nil
}

// alone runs do while nobody else, at no host either, changes the file.
func (v *Vault) alone(do func() error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	lock, err := os.OpenFile(v.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	return do()
}

func (v *Vault) make() error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	hash := make(seal.Key, hashSize)
	_, _ = rand.Read(hash) // it never fails
	return v.write(handle, hash)
}

// load takes the keys of the file into use. What it knows of the file is of the same one that
// it has read: another host may put a new one into its place at any time.
func (v *Vault) load() error {
	in, err := os.Open(v.path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return errors.New("others can read the file: chmod 600 it, and rotate the keys if somebody may have")
	}
	var f file
	if err := json.Unmarshal(content, &f); err != nil {
		return err
	}
	if len(f.Hash) != hashSize {
		return errors.New("the key of the hashes is missing")
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(f.Keys)))
	if err != nil {
		return err
	}
	cipher, err := aead.New(handle)
	if err != nil {
		return err
	}
	sample, err := cipher.Encrypt(nil, nil)
	if err != nil {
		return err
	}
	v.keys.Store(&keys{handle, cipher, string(sample[:keyID]), f.Hash, info})
	return nil
}

// write puts keys into the file, and takes into use what is in it then.
func (v *Vault) write(handle *keyset.Handle, hash seal.Key) error {
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return err
	}
	content, err := json.Marshal(file{b.Bytes(), hash})
	if err != nil {
		return err
	}
	if err := durable.WriteFile(v.path, append(content, '\n'), 0o600); err != nil {
		return err
	}
	return v.load()
}

// now are the keys of the file as it is. While it cannot be read, those before go on.
func (v *Vault) now() *keys {
	have := v.keys.Load()
	if info, err := os.Stat(v.path); err != nil || have.is(info) {
		return have
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.load() // it is replaced in one step, so that it is whole
	return v.keys.Load()
}

// is says whether a file is the one that the keys were read from.
func (k *keys) is(info fs.FileInfo) bool {
	return os.SameFile(k.file, info) && k.file.ModTime().Equal(info.ModTime())
}

// ErrRotated: another host has rotated the keys meanwhile.
var ErrRotated = errors.New("vault: the keys have been rotated again meanwhile")

// Rotate adds a key and seals with it from now on. It is on the disk when Rotate returns,
// with the key's number.
func (v *Vault) Rotate() (newest uint32, err error) {
	err = v.change(func(m *keyset.Manager, _ *keyset.Handle) error {
		if newest, err = m.Add(aead.AES256GCMKeyTemplate()); err != nil {
			return err
		}
		return m.SetPrimary(newest)
	})
	if err != nil {
		return 0, fmt.Errorf("rotating the keys of personal data: %w", err)
	}
	return newest, nil
}

// Forget drops all keys but the newest, when nothing is sealed with them any more. ErrRotated:
// that is another one than Rotate made.
func (v *Vault) Forget(newest uint32) error {
	err := v.change(func(m *keyset.Manager, now *keyset.Handle) error {
		info := now.KeysetInfo()
		if info.GetPrimaryKeyId() != newest {
			return ErrRotated
		}
		for _, key := range info.GetKeyInfo() {
			if key.GetKeyId() == newest {
				continue
			}
			if err := m.Delete(key.GetKeyId()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("dropping the old keys of personal data: %w", err)
	}
	return nil
}

// change changes the keys that are in the file now.
func (v *Vault) change(edit func(m *keyset.Manager, now *keyset.Handle) error) error {
	return v.alone(func() error {
		if err := v.load(); err != nil {
			return err
		}
		now := v.keys.Load()
		manager := keyset.NewManagerFromHandle(now.handle)
		if err := edit(manager, now.handle); err != nil {
			return err
		}
		handle, err := manager.Handle()
		if err != nil {
			return err
		}
		return v.write(handle, now.hash)
	})
}

// Seal seals a text so that it opens only as what it is about: a row's id, say. A
// sealed text that is copied into another row is useless there.
func (v *Vault) Seal(text []byte, about string) (string, error) {
	sealed, err := v.now().aead.Encrypt(text, []byte(about))
	if err != nil {
		return "", fmt.Errorf("sealing: %w", err)
	}
	return base64.RawStdEncoding.EncodeToString(sealed), nil
}

// Open opens what Seal sealed; otherwise ErrSealed.
func (v *Vault) Open(sealed, about string) ([]byte, error) {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err == nil {
		raw, err = v.now().aead.Decrypt(raw, []byte(about))
	}
	if err != nil {
		return nil, ErrSealed
	}
	return raw, nil
}

// Stale reports whether a text was sealed with a key that is not the newest.
func (v *Vault) Stale(sealed string) bool {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	return err != nil || !strings.HasPrefix(string(raw), v.now().prefix)
}

// Hash is the keyed hash by which an e-mail address is found, however it is spelled.
func (v *Vault) Hash(addr string) string {
	return v.keys.Load().hash.Mark("address\x00" + strings.ToLower(strings.TrimSpace(addr)))
}
