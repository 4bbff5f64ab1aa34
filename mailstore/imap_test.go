// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"testing"

	imapbackend "github.com/emersion/go-imap/backend"
	backendtests "github.com/foxcpp/go-imap-backend-tests"
)

// suite is a store as the conformance suite wants a backend.
type suite struct{ *Store }

func (s suite) CreateUser(login string) error { return s.CreateAccount(login) }

func (s suite) GetUser(login string) (imapbackend.User, error) { return s.IMAPUser(login) }

func (s suite) SetMessageLimit(limit *uint32) error {
	s.SetAppendLimit(0)
	if limit != nil {
		s.SetAppendLimit(*limit)
	}
	return nil
}

func (s suite) CreateMessageLimit() *uint32 { return nil }

// TestIMAPConformance is go-imap's suite for backends.
func TestIMAPConformance(t *testing.T) {
	t.Parallel()
	backendtests.RunTests(t, func() backendtests.Backend {
		return suite{openStore(t, t.TempDir(), Options{})}
	}, func(b backendtests.Backend) {
		s := b.(suite).Store
		checkClean(t, s)
		s.Close()
	})
}
