// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"strings"
	"testing"

	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"
)

// TestMallReturns: a report waits at its sender's until the mall runs.
func TestMallReturns(t *testing.T) {
	if _, err := initModule(t, "target.mall_returns", "colour blue"); err == nil ||
		!strings.Contains(err.Error(), "colour") {
		t.Errorf("an unknown directive: %v", err)
	}
	m, err := initModule(t, "target.mall_returns", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.(*MallReturns).Start(context.Background(), &module.MsgMetadata{}, ""); !exterrors.IsTemporary(err) {
		t.Errorf("before the mall runs: %v", err)
	}
}
