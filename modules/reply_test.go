// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"strings"
	"testing"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
)

// idle is a chat.relay that does not run.
type idle struct{ nameless }

func (idle) Relay() *chatrelay.Relay { return nil }

func TestReply(t *testing.T) {
	module.RegisterInstance(idle{nameless{"reply_test"}}, config.NewMap(nil, config.Node{}))
	for block, want := range map[string]string{
		"relay &reply_test":              "",
		"":                               "relay",
		"relay &none_such":               "none_such",
		"relay &reply_test\ncolour blue": "colour",
	} {
		m, err := initModule(t, "target.chmail_reply", block)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v", block, err)
		case want == "":
			_, err := m.(*Reply).Start(context.Background(), &module.MsgMetadata{}, "a@x")
			if !exterrors.IsTemporary(err) {
				t.Errorf("before the relay runs: %v", err)
			}
		}
	}
}
