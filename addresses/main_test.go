// SPDX-License-Identifier: GPL-3.0-or-later

package addresses

import (
	"os"
	"testing"

	"github.com/chmail/chmail/internal/testpart"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testpart.EndPostgres()
	os.Exit(code)
}
