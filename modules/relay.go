// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-message/mail"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
	"github.com/chmail/chmail/chatrelay/store"
	"github.com/chmail/chmail/chatrelay/transcript"
	"github.com/chmail/chmail/presence"
)

// Relay is chat.relay. Its block, with the defaults:
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
//	    # where mails go in that people write at the desk, as if they had submitted
//	    # them: a target.chmail; default: the desk writes none
//	    submit_to &stamp
//	    # address of the granted UDP ports; with a HOST, of those granted under
//	    # that name. It may be repeated
//	    bind 0.0.0.0
//	    # this relay's own WebSocket endpoint, where several share the rooms;
//	    # default: that of web
//	    socket wss://chat.mall.example/chat
//	    # sender of alarm mails; default: postmaster of the host
//	    mail_from postmaster@$(hostname)
//	    # rings of an attempt, and the time between them
//	    rings 3
//	    interval 10s
//	    # where people's files and pictures are kept; `files off`: nowhere. A
//	    # folder that several relays share, where they share the rooms
//	    files files {
//	        max_file  25M   # one file
//	        max_room  500M  # the files of one conversation
//	        max_total 20G   # all files that this relay took
//	    }
//	    # mail domain of the addresses at which transcripts are answered, whose
//	    # mail goes to target.chmail_reply; default: they cannot be answered
//	    replies $(domain)
//	    # a transcript goes out when everybody has left for so long
//	    transcript_after 2m
//	    # whoever has left a conversation gets what they have not read by mail after
//	    # so long, or `never`
//	    unread_after 5m
//	    # an address whose members are all rung by what its mails bring, and by
//	    # chats with it; the first to answer takes it. It may be repeated
//	    group sales@mall.example {
//	        member mina@mall.example joon@mall.example
//	    }
//	    # notifications of browsers and phones (Web Push) to those who switch them
//	    # on at the desk: yes, no, or anywhere, which also allows push services in
//	    # private networks
//	    push yes
//	    # a URL, https or at loopback, that is told of every alarm: who called whom
//	    # about what. It may be repeated
//	    webhook https://ntfy.mall.example/chats {
//	        # json, ntfy or mattermost
//	        format json
//	        # json: signs what is sent; ntfy: its access token
//	        secret XXXX
//	        # logins whose alarms it is told of; default: everybody's
//	        for mina@mall.example
//	    }
//	    # a granted port on which nobody is closes after it
//	    port_idle 2m
//	    # `websocket` alone opens no UDP port
//	    carriers webtransport websocket
//	    debug no
//	}
type Relay struct {
	base
	mailer   *pipelineMailer // sends the server's own mails; nil where nothing runs
	running  awaited[*chatrelay.Relay]
	starting sync.Mutex
	closed   bool
}

var (
	_ module.Module = (*Relay)(nil)
	_ io.Closer     = (*Relay)(nil)
	_ notify.Mailer = (*pipelineMailer)(nil)
)

// defaultFiles is the folder of people's files, below the state directory.
const defaultFiles = "files"

// directCarrier, among the carriers, lets people talk past the server.
const directCarrier = "direct"

// Relay is the relay that runs; nil where nothing runs (module.NoRun), and
// until the rooms' database can be reached.
func (m *Relay) Relay() *chatrelay.Relay { return m.running.get() }

// whenRunning does something with the relay: at once, or when it runs.
func (m *Relay) whenRunning(do func(*chatrelay.Relay) error) error { return m.running.when(do) }

// SignOut ends the sessions of a login where the relay runs. While none does,
// Rooms remembers it.
func (m *Relay) SignOut(ctx context.Context, login string) error {
	relay := m.Relay()
	if relay == nil {
		return nil
	}
	return relay.SignOut(ctx, login)
}

// roomsModule is a chat.rooms.
type roomsModule interface {
	whenOpen(do func(*store.Store) error) error
}

func init() {
	register("chat.relay", func(b base) module.Module { return &Relay{base: b} })
}

// relayBlock is what the block says.
type relayBlock struct {
	opt            chatrelay.Options
	presence       presence.Directory
	rooms          roomsModule
	target, submit module.DeliveryTarget
	hostname, from string
	push           string
	carriers       []string
}

// Init reads the block and starts the relay.
func (m *Relay) Init(cfg *config.Map) error {
	b := relayBlock{opt: chatrelay.Options{
		Binds: map[string]netip.Addr{}, Files: defaultFiles, Groups: map[string][]string{}}}
	b.directives(cfg)
	m.debug(cfg)
	if _, err := cfg.Process(); err != nil {
		return err
	}
	if err := b.check(cfg.Block); err != nil {
		return err
	}
	if module.NoRun {
		return nil
	}
	opt := b.opt
	opt.Presence, opt.Host = b.presence, b.presence.RelayHost()
	if shared, ok := b.presence.(interface{ Bus() presence.Bus }); ok && shared.Bus() != nil {
		opt.Bus = shared.Bus()
	}
	_, domain, _ := strings.Cut(b.from, "@")
	m.mailer = &pipelineMailer{target: b.target, from: mail.Address{Name: "CHmail", Address: b.from}, domain: domain}
	opt.Mailer = m.mailer
	if b.submit != nil {
		opt.Submit = submitTo(b.submit)
	}
	opt.StateDir = config.StateDirectory
	opt.Log = m.log()
	opt.Reputation = reputations()
	opt.SignedOut, opt.Exists = allGuards.changed, allGuards.exists
	if err := b.rooms.whenOpen(func(rooms *store.Store) error { return m.start(opt, rooms) }); err != nil {
		return config.NodeErr(cfg.Block, "%v", err)
	}
	return nil
}

func (b *relayBlock) directives(cfg *config.Map) {
	opt := &b.opt
	cfg.Custom("presence", false, true, nil, reference[presence.Directory]("presence"), &b.presence)
	cfg.Custom("rooms", false, true, nil, reference[roomsModule]("chat"), &b.rooms)
	cfg.Custom("deliver_to", false, true, nil, modconfig.DeliveryDirective, &b.target)
	cfg.Custom("submit_to", false, false, nil, modconfig.DeliveryDirective, &b.submit)
	cfg.String("hostname", true, false, "", &b.hostname)
	cfg.Callback("bind", func(_ *config.Map, node config.Node) error { return readBind(opt.Binds, node) })
	cfg.String("socket", false, false, "", &opt.Socket)
	cfg.String("web", false, true, "", &opt.WebBase)
	cfg.String("mail_from", false, false, "", &b.from)
	cfg.Int("rings", false, false, 3, &opt.Rings)
	cfg.Duration("interval", false, false, 10*time.Second, &opt.Interval)
	cfg.Duration("port_idle", false, false, 2*time.Minute, &opt.PortIdle)
	cfg.Callback("group", func(_ *config.Map, node config.Node) error { return readGroup(opt.Groups, node) })
	cfg.Callback("webhook", func(m *config.Map, node config.Node) error { return readWebhook(&opt.Webhooks, m, node) })
	cfg.Enum("push", false, false, []string{"yes", "no", "anywhere"}, "yes", &b.push)
	cfg.Callback("files", func(m *config.Map, node config.Node) error { return readFiles(opt, m, node) })
	cfg.String("replies", false, false, "", &opt.Replies)
	cfg.Duration("transcript_after", false, false, transcript.DefaultLeftFor, &opt.LeftFor)
	cfg.Custom("unread_after", false, false, func() (any, error) { return time.Duration(0), nil }, readUnreadAfter,
		&opt.UnreadAfter)
	cfg.StringList("carriers", false, false, []string{carrier.WebTransport, carrier.WebSocket}, &b.carriers)
}

// check looks for what cannot be, and fills in what follows from the rest.
func (b *relayBlock) check(block config.Node) error {
	opt := &b.opt
	wrong := func(format string, args ...any) error { return config.NodeErr(block, format, args...) }
	if u, err := url.Parse(opt.Socket); opt.Socket != "" && (err != nil || u.Host == "" ||
		u.Scheme != "ws" && u.Scheme != "wss") {
		return wrong("socket: %q is not ws(s)://HOST/PATH", opt.Socket)
	}
	if _, err := originURL(opt.WebBase); err != nil {
		return wrong("web: %v", err)
	}
	if opt.Rings < 1 || opt.Interval <= 0 || opt.PortIdle <= 0 || opt.LeftFor <= 0 {
		return wrong("rings, interval, port_idle and transcript_after must be more than 0")
	}
	for _, c := range b.carriers {
		if c != carrier.WebTransport && c != carrier.WebSocket && c != directCarrier {
			return wrong("carriers: %q is none; there are webtransport, websocket and direct", c)
		}
	}
	if !slices.Contains(b.carriers, carrier.WebSocket) {
		return wrong("carriers: websocket cannot be left out, it is the way around blocked UDP")
	}
	opt.Direct = slices.Contains(b.carriers, directCarrier)
	opt.BlockUDP = !slices.Contains(b.carriers, carrier.WebTransport)
	b.from = cmp.Or(b.from, "postmaster@"+b.hostname)
	if _, domain, ok := strings.Cut(b.from, "@"); !ok || domain == "" {
		return wrong("mail_from: %q is not a mail address", b.from)
	}
	if b.push == "yes" {
		if err := notify.CheckContact(b.from); err != nil {
			return wrong("mail_from: %v; Apple's refuses all else: set another address, or `push no`", err)
		}
	}
	if b.push != "no" {
		opt.Push = &notify.PushOptions{Contact: b.from, Anywhere: b.push == "anywhere"}
	}
	if opt.Files != "" && !filepath.IsAbs(opt.Files) {
		opt.Files = filepath.Join(config.StateDirectory, opt.Files)
	}
	return checkGroups(opt.Groups, block)
}

// start starts the relay, unless it runs, and what waits for it.
func (m *Relay) start(opt chatrelay.Options, rooms *store.Store) error {
	m.starting.Lock()
	defer m.starting.Unlock()
	if m.closed {
		return nil
	}
	relay := m.running.get()
	if relay == nil {
		ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
		defer cancel()
		var err error
		opt.Rooms = rooms
		opt.UsualTranscript = func(ctx context.Context, login string) (chat.TranscriptPreference, bool) {
			of, err := rooms.Settings(ctx, login)
			return chat.TranscriptPreference{On: of[login].Transcript, Zone: of[login].Zone}, err == nil
		}
		opt.Key, err = rooms.Setting(ctx, "relay.key", func() ([]byte, error) {
			key := make([]byte, 32)
			_, err := rand.Read(key)
			return key, err
		})
		if err != nil {
			return err
		}
		if relay, err = chatrelay.New(opt); err != nil {
			return err
		}
		m.log().Debug("relay started", "host", opt.Host, "rings", opt.Rings, "interval", opt.Interval)
	}
	return m.running.set(relay)
}

// readBind reads `bind ADDRESS [HOST]`.
func readBind(binds map[string]netip.Addr, node config.Node) error {
	if len(node.Args) != 1 && len(node.Args) != 2 || len(node.Children) != 0 {
		return config.NodeErr(node, "want an address, and the host name of those ports if there are several")
	}
	a, err := netip.ParseAddr(node.Args[0])
	if err != nil {
		return config.NodeErr(node, "%q is not an IP address", node.Args[0])
	}
	host := ""
	if len(node.Args) == 2 {
		host = strings.ToLower(node.Args[1])
	}
	if _, twice := binds[host]; twice {
		return config.NodeErr(node, "the address of these ports is given twice")
	}
	binds[host] = a
	return nil
}

// readUnreadAfter reads `unread_after DURATION` or `unread_after never`.
func readUnreadAfter(_ *config.Map, node config.Node) (any, error) {
	if len(node.Args) == 1 && node.Args[0] == "never" {
		return time.Duration(-1), nil
	}
	if len(node.Args) == 1 {
		if d, err := time.ParseDuration(node.Args[0]); err == nil && d > 0 {
			return d, nil
		}
	}
	return nil, config.NodeErr(node, "want a duration such as 5m, or never")
}

// readFiles reads `files DIR { … }` or `files off`.
func readFiles(opt *chatrelay.Options, m *config.Map, node config.Node) error {
	if len(node.Args) != 1 || node.Args[0] == "" {
		return config.NodeErr(node, "want a folder, or off")
	}
	if opt.Files = node.Args[0]; opt.Files == "off" {
		opt.Files = ""
	}
	const tera = 1 << 40
	bounds := config.NewMap(m.Globals, node)
	var file, room, total int64
	bounds.DataSize("max_file", false, false, 25<<20, &file)
	bounds.DataSize("max_room", false, false, 500<<20, &room)
	bounds.DataSize("max_total", false, false, 20<<30, &total)
	if _, err := bounds.Process(); err != nil {
		return err
	}
	if file < 1 || room < file || total < room || total > 1000*tera {
		return config.NodeErr(node,
			"max_file, max_room and max_total must be more than 0, each at least the one before")
	}
	opt.MaxFile, opt.MaxRoom, opt.MaxFiles = file, room, total
	return nil
}

// Close implements io.Closer.
func (m *Relay) Close() error {
	m.starting.Lock()
	defer m.starting.Unlock()
	m.closed = true
	if relay := m.Relay(); relay != nil {
		return relay.Close()
	}
	return nil
}

// pipelineMailer hands mails to a delivery target. Their envelope has the null
// sender, so that nothing that is automatic answers them (RFC 3834 section 3.3).
type pipelineMailer struct {
	target module.DeliveryTarget
	from   mail.Address
	domain string
}

// Send implements Mailer.
func (p *pipelineMailer) Send(ctx context.Context, m chat.ServerMail) error {
	header, body, err := notify.Compose(m, p.from, p.domain, time.Now())
	if err != nil {
		return err
	}
	if err := deliverTo(ctx, p.target, &module.MsgMetadata{}, m.To.Addr, header, body); err != nil {
		return fmt.Errorf("sending a mail: %w", err)
	}
	return nil
}
