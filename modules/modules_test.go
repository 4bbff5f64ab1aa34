// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	parser "github.com/foxcpp/maddy/framework/cfgparser"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/exterrors"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/presence"
)

// initModule makes a module of a block as the server does. maddy's registry is
// global, so a block in which one module refers to another is read in one test.
func initModule(t *testing.T, name, block string) (module.Module, error) {
	t.Helper()
	nodes, err := parser.Read(strings.NewReader(name+" x {\n"+block+"\n}\n"), "test.conf")
	if err != nil {
		t.Fatal(err)
	}
	m, err := module.Get(name)(name, "x", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c, ok := m.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return m, m.Init(config.NewMap(map[string]any{"hostname": "mx.example"}, nodes[0]))
}

// others stands for the other modules that a block refers to.
type others struct {
	module.DeliveryTarget
	name string
	seen chan presence.Address
}

func (o others) Name() string           { return o.name }
func (o others) InstanceName() string   { return o.name }
func (o others) Init(*config.Map) error { return nil }

func (others) AuthPlain(login, given string) error {
	switch {
	case given == "down":
		return exterrors.WithTemporary(errors.New("no database"), true)
	case login != alice || given != password:
		return module.ErrUnknownCredentials
	}
	return nil
}

func (o others) Renew(_ context.Context, a presence.Address) error {
	o.seen <- a
	return nil
}

func (others) Grant(context.Context, string) (presence.Grant, error) {
	return presence.Grant{}, presence.ErrUnknown
}

func (others) Devices(context.Context, string) ([]presence.Device, error) { return nil, nil }

func (others) OpenFromMail(context.Context, chat.Mail) (chat.Opened, error) {
	return chat.Opened{}, chat.ErrUnknown
}

// register makes o a module that blocks may refer to.
func (o others) register() {
	module.RegisterInstance(o, config.NewMap(nil, config.Node{}))
	module.Initialized[o.name] = true
}

// nameless is a module of no use but for its name.
type nameless struct{ name string }

func (n nameless) Name() string           { return n.name }
func (n nameless) InstanceName() string   { return n.name }
func (n nameless) Init(*config.Map) error { return nil }

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := base{name: "test", out: log.Logger{Out: log.FuncOutput(func(_ time.Time, _ bool, line string) {
		out.WriteString(line + "\n")
	}, nil), Name: "test"}}
	l := b.log().With("login", "a@x").WithGroup("mail")
	l.Debug("not seen")
	l.Info("kept", "err", errors.New("broken"), slog.Group("size", "octets", 3), "took", time.Second)
	const want = "test: kept\t{\"login\":\"a@x\",\"mail.err\":\"broken\",\"mail.size.octets\":3,\"mail.took\":\"1s\"}\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	b.out.Debug = true
	b.log().Debug("seen")
	if !strings.Contains(out.String(), "seen\t\n") {
		t.Errorf("%q", out.String())
	}
}

func TestNormalize(t *testing.T) {
	t.Parallel()
	for login, want := range map[string]string{"Host@Mall.Example": "host@mall.example", "Host": "host"} {
		if got, err := normalize(login); err != nil || got != want {
			t.Errorf("%q: %q %v", login, got, err)
		}
	}
	if _, err := normalize("two words@mall.example"); err == nil {
		t.Error("accepted a space")
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chat.rooms", "chat.relay", "auth.guard", "target.chmail",
		"target.chmail_reply", "storage.maildrop"} {
		if _, err := module.Get(name)(name, "x", nil, []string{"arg"}); err == nil {
			t.Errorf("%s took an argument", name)
		}
	}
}
