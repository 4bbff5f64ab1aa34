// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"net/url"
	"slices"
	"strings"

	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mta"
	"github.com/foxcpp/maddy/framework/config"
	modconfig "github.com/foxcpp/maddy/framework/config/module"
	"github.com/foxcpp/maddy/framework/module"
)

// Stamp is target.chmail: it stamps submitted mail and hands it to the next
// target. It stands before `modify { dkim … }`, so that what leaves is signed
// as it leaves.
//
//	target.chmail stamp {
//	    deliver_to &local_routing   # required: the next target
//	    rooms &rooms                # required: a chat.rooms block
//	    presence &presence          # none: mail leaves without CHmail-Port
//	    host mx.example.org         # CHmail-Host; default: the global hostname
//	    link https://mx.example.org # base of the links; default: https:// and host
//	    require_stamp no            # yes: 451 while the rooms do not answer
//	    aliases &addresses          # as in chmail.submission; the members of an alias get a link each; default: none
//	    copies_at_once 1            # of one message; storage.maildrop takes many, storage.imapsql on SQLite one
//	    # the words on the link in mails of a domain, or of all (*), in a language or in
//	    # all; {name} is the sender. What senders have set themselves comes first
//	    wording mall.example "Ask {name} at the Mall"
//	    wording mall.example ko "{name}님에게 물어보기"
//	    debug no                    # default: the global debug
//	}
type Stamp struct {
	base
	mta.Target
}

const maxCopiesAtOnce = 100

var (
	_ module.Module         = (*Stamp)(nil)
	_ module.DeliveryTarget = (*Stamp)(nil)
)

func init() {
	register("target.chmail", func(b base) module.Module { return &Stamp{base: b} })
}

// Init implements module.Module.
func (m *Stamp) Init(cfg *config.Map) error {
	var hostname string
	var aliases module.Table
	m.debug(cfg)
	cfg.String("hostname", true, false, "", &hostname)
	cfg.String("host", false, false, "", &m.Host)
	cfg.String("link", false, false, "", &m.Link)
	cfg.Bool("require_stamp", false, false, &m.Require)
	modconfig.Table(cfg, "aliases", false, false, nil, &aliases)
	cfg.Int("copies_at_once", false, false, 1, &m.AtOnce)
	cfg.Custom("deliver_to", false, true, nil, modconfig.DeliveryDirective, &m.Next)
	m.Wording = make(mta.Wording)
	cfg.Callback("wording", m.wording)
	cfg.Callback("rooms", func(c *config.Map, node config.Node) error {
		return modconfig.ModuleFromNode("chat", node.Args, node, c.Globals, &m.Rooms)
	})
	cfg.Callback("presence", func(c *config.Map, node config.Node) error {
		return modconfig.ModuleFromNode("presence", node.Args, node, c.Globals, &m.Presence)
	})
	if _, err := cfg.Process(); err != nil {
		return err
	}
	m.Log = m.log()
	if aliases != nil {
		m.Aliases = senders(aliases)
	}
	if own, ok := aliases.(*Addresses); ok {
		m.Expand = own.expand
	}
	if m.AtOnce < 1 || m.AtOnce > maxCopiesAtOnce {
		return config.NodeErr(cfg.Block, "%s: copies_at_once must be from 1 to %d", m.name, maxCopiesAtOnce)
	}
	if m.Rooms == nil {
		return config.NodeErr(cfg.Block, "%s: rooms is required", m.name)
	}
	if m.Host == "" {
		m.Host = hostname
	}
	if m.Host == "" || strings.ContainsAny(m.Host, " \t/:") {
		return config.NodeErr(cfg.Block, "%s: host %q is not a host name", m.name, m.Host)
	}
	if m.Link == "" {
		m.Link = "https://" + m.Host
	}
	m.Link = strings.TrimRight(m.Link, "/")
	u, err := url.Parse(m.Link)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
		return config.NodeErr(cfg.Block, "%s: link %q is not an http or https address", m.name, m.Link)
	}
	return nil
}

// wording reads one wording directive: a domain, perhaps a language, and words.
func (m *Stamp) wording(_ *config.Map, node config.Node) error {
	args := node.Args
	if len(args) == 2 {
		args = []string{args[0], "", args[1]}
	}
	if len(args) != 3 || strings.TrimSpace(args[2]) == "" || len(args[2]) > mta.MaxWording {
		return config.NodeErr(node, "wording takes a domain or *, perhaps a language, and up to %d octets of words",
			mta.MaxWording)
	}
	domain, lang := strings.ToLower(args[0]), args[1]
	if lang != "" && !slices.Contains(words.Languages, lang) {
		return config.NodeErr(node, "wording: the language is one of %s", strings.Join(words.Languages, ", "))
	}
	if m.Wording[domain] == nil {
		m.Wording[domain] = make(map[string]string)
	}
	m.Wording[domain][lang] = args[2]
	return nil
}
