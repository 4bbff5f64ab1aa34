// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/log"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay/room"
	"github.com/chmail/chmail/presence"
)

const moduleName = "chat.relay"

// Module is the maddy module chat.relay. Its block, with the defaults:
//
//	chat.relay relay {
//	    # required: who is where, and which port is whose
//	    presence &presence
//	    # required: the conversations
//	    rooms &rooms
//	    # required: origin of the pages; links in alarm mails begin with it
//	    web https://chat.mall.example
//	    # required: where alarm mails go in
//	    deliver_to &local_routing
//	    # name of this relay host; default: the global hostname
//	    host $(hostname)
//	    # address of the granted UDP ports
//	    bind 0.0.0.0
//	    # sender of alarm mails; default: postmaster of the host
//	    mail_from postmaster@$(hostname)
//	    # rings of an attempt, and the time between them
//	    rings 3
//	    interval 10s
//	    # a granted port on which nobody is closes after it
//	    port_idle 2m
//	    # `websocket` alone opens no UDP port
//	    carriers webtransport websocket
//	    debug no
//	}
type Module struct {
	relay    *Relay
	instance string
	log      log.Logger
}

var (
	_ module.Module = (*Module)(nil)
	_ io.Closer     = (*Module)(nil)
	_ Mailer        = (*pipelineMailer)(nil)
)

func init() {
	module.Register(moduleName, func(_, instance string, _, args []string) (module.Module, error) {
		if len(args) != 0 {
			return nil, fmt.Errorf("%s: no arguments expected", moduleName)
		}
		return &Module{instance: instance, log: log.Logger{Name: moduleName}}, nil
	})
}

// Name implements module.Module.
func (m *Module) Name() string { return moduleName }

// InstanceName implements module.Module.
func (m *Module) InstanceName() string { return m.instance }

// Relay is the relay that runs; nil where nothing runs (module.NoRun).
func (m *Module) Relay() *Relay { return m.relay }

// Init reads the block and starts the relay.
func (m *Module) Init(cfg *config.Map) error {
	var (
		opt                  Options
		dir                  presence.Directory
		rooms                *room.Store
		target               module.DeliveryTarget
		hostname, bind, from string
		carriers             []string
	)
	cfg.Custom("presence", false, true, nil, presence.Directive, &dir)
	cfg.Custom("rooms", false, true, nil, room.Directive, &rooms)
	cfg.Custom("deliver_to", false, true, nil, modconfig.DeliveryDirective, &target)
	cfg.String("hostname", true, false, "", &hostname)
	cfg.String("host", false, false, "", &opt.Host)
	cfg.String("bind", false, false, "0.0.0.0", &bind)
	cfg.String("web", false, true, "", &opt.WebBase)
	cfg.String("mail_from", false, false, "", &from)
	cfg.Int("rings", false, false, 3, &opt.Rings)
	cfg.Duration("interval", false, false, 10*time.Second, &opt.Interval)
	cfg.Duration("port_idle", false, false, 2*time.Minute, &opt.PortIdle)
	cfg.StringList("carriers", false, false, []string{CarrierWebTransport, CarrierWebSocket}, &carriers)
	cfg.Bool("debug", true, false, &m.log.Debug)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	var err error
	if opt.Host == "" {
		opt.Host = hostname
	}
	if opt.Bind, err = netip.ParseAddr(bind); err != nil {
		return config.NodeErr(cfg.Block, "bind: %q is not an IP address", bind)
	}
	if opt.Rings < 1 || opt.Interval <= 0 || opt.PortIdle <= 0 {
		return config.NodeErr(cfg.Block, "rings, interval and port_idle must be more than 0")
	}
	for _, c := range carriers {
		if c != CarrierWebTransport && c != CarrierWebSocket {
			return config.NodeErr(cfg.Block, "carriers: %q is none; there are webtransport and websocket", c)
		}
	}
	if !slices.Contains(carriers, CarrierWebSocket) {
		return config.NodeErr(cfg.Block, "carriers: websocket cannot be left out, it is the way around blocked UDP")
	}
	opt.BlockUDP = !slices.Contains(carriers, CarrierWebTransport)
	if from == "" {
		from = "postmaster@" + hostname
	}
	_, domain, ok := strings.Cut(from, "@")
	if !ok || domain == "" {
		return config.NodeErr(cfg.Block, "mail_from: %q is not a mail address", from)
	}
	if module.NoRun {
		return nil
	}
	opt.Presence, opt.Rooms = dir, rooms
	opt.Mailer = &pipelineMailer{target: target, from: from, domain: domain}
	opt.StateDir = config.StateDirectory
	opt.Log = func(msg string, fields ...any) { m.log.Msg(msg, fields...) }
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	opt.Key, err = rooms.Setting(ctx, "relay.key", func() ([]byte, error) {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return key, err
	})
	if err != nil {
		return config.NodeErr(cfg.Block, "%v", err)
	}
	if m.relay, err = New(opt); err != nil {
		return config.NodeErr(cfg.Block, "%v", err)
	}
	m.log.DebugMsg("relay started", "host", opt.Host, "bind", bind, "rings", opt.Rings, "interval", opt.Interval)
	return nil
}

// Close implements io.Closer.
func (m *Module) Close() error {
	if m.relay == nil {
		return nil
	}
	return m.relay.Close()
}

// pipelineMailer hands mails to a delivery target.
type pipelineMailer struct {
	target       module.DeliveryTarget
	from, domain string
}

// Send implements Mailer.
func (p *pipelineMailer) Send(ctx context.Context, m Mail) error {
	header, body, err := compose(m, mail.Address{Name: "CHmail", Address: p.from}, p.domain, time.Now())
	if err != nil {
		return err
	}
	id, err := module.GenerateMsgID()
	if err != nil {
		return fmt.Errorf("sending a mail: %w", err)
	}
	d, err := p.target.Start(ctx, &module.MsgMetadata{ID: id, OriginalFrom: p.from, DontTraceSender: true}, p.from)
	if err != nil {
		return fmt.Errorf("sending a mail: %w", err)
	}
	err = d.AddRcpt(ctx, m.To.Addr, smtp.RcptOptions{})
	if err == nil {
		err = d.Body(ctx, header, buffer.MemoryBuffer{Slice: body})
	}
	if err == nil {
		err = d.Commit(ctx)
	} else if aborted := d.Abort(ctx); aborted != nil {
		err = fmt.Errorf("%w (and giving it up: %v)", err, aborted)
	}
	if err != nil {
		return fmt.Errorf("sending a mail: %w", err)
	}
	return nil
}
