// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"os"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashEnv); dsn != "" {
		crashHelper(dsn)
		return
	}
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}
