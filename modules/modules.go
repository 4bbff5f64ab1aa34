// SPDX-License-Identifier: GPL-3.0-or-later

// Package modules makes CHmail's packages modules of the maddy mail server:
// each file reads the block of one module and starts what it names. The
// packages themselves know no maddy.
package modules

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/text/secure/precis"
)

// base is what every module has: its name, the name of its block, and a log.
type base struct {
	name, instance string
	out            log.Logger // its Debug is read from the block
}

// Name implements module.Module.
func (b *base) Name() string { return b.name }

// InstanceName implements module.Module.
func (b *base) InstanceName() string { return b.instance }

// debug reads `debug`, whose default is the global one.
func (b *base) debug(cfg *config.Map) { cfg.Bool("debug", true, false, &b.out.Debug) }

// log is the module's log, for what it starts. It is asked for when the block has been read.
func (b *base) log() *slog.Logger { return slog.New(&logHandler{out: b.out}) }

// register makes maddy know a module whose block has a name and takes no arguments.
func register(name string, make func(base) module.Module) {
	module.Register(name, func(_, instance string, _, args []string) (module.Module, error) {
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: it takes no arguments, only directives", name)
		}
		return make(base{name, instance, log.Logger{Name: name}}), nil
	})
}

// ownEndpoints are the names of the modules here that listen. They do not where nothing
// runs (module.NoRun), unlike maddy's own.
var ownEndpoints []string

// registerEndpoint makes maddy know a module that listens on addresses.
func registerEndpoint(name string, make func(base, []string) module.Module) {
	ownEndpoints = append(ownEndpoints, name)
	module.RegisterEndpoint(name, func(_ string, addrs []string) (module.Module, error) {
		return make(base{name, name, log.Logger{Name: name}}, addrs), nil
	})
}

// reference reads `DIRECTIVE &NAME`, or a block in place, of another module;
// kind is the part of the other module's name before the dot.
func reference[T any](kind string) func(*config.Map, config.Node) (any, error) {
	return func(m *config.Map, node config.Node) (any, error) {
		var other T
		err := modconfig.ModuleFromNode(kind, node.Args, node, m.Globals, &other)
		return other, err
	}
}

// absent is the default of a reference that may be left out.
func absent[T any]() (any, error) {
	var none T
	return none, nil
}

// normalize brings a login into the form it is kept in, as maddy's endpoints
// do by default (auth_map_normalize auto).
func normalize(login string) (string, error) {
	if address.Valid(login) {
		return address.PRECISFold(login)
	}
	return precis.UsernameCaseMapped.CompareKey(login)
}

// logHandler writes to maddy's log.
type logHandler struct {
	out    log.Logger
	prefix string // of the groups
	attrs  []any  // key, value, …
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.out.Debug
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	fields := h.attrs[:len(h.attrs):len(h.attrs)]
	r.Attrs(func(a slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, a)
		return true
	})
	if r.Level < slog.LevelInfo {
		h.out.DebugMsg(r.Message, fields...)
	} else {
		h.out.Msg(r.Message, fields...)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = h.attrs[:len(h.attrs):len(h.attrs)]
	for _, a := range attrs {
		with.attrs = appendAttr(with.attrs, h.prefix, a)
	}
	return &with
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	with := *h
	with.prefix += name + "."
	return &with
}

func appendAttr(fields []any, prefix string, a slog.Attr) []any {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup {
		return append(fields, prefix+a.Key, v.Any())
	}
	if a.Key != "" {
		prefix += a.Key + "."
	}
	for _, member := range v.Group() {
		fields = appendAttr(fields, prefix, member)
	}
	return fields
}
