// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-message/textproto"
	"github.com/foxcpp/maddy/framework/address"
	"github.com/foxcpp/maddy/framework/buffer"
	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/dns"
	"github.com/foxcpp/maddy/framework/module"

	"github.com/chmail/chmail/mta/dkimkeys"
)

// DKIM is modify.chmail_dkim: maddy's modify.dkim, whose selector `chmaild dkim rotate`
// changes for one domain while the server runs.
//
//	modify {
//	    chmail_dkim {
//	        domains mall.example other.example # required
//	        selector default                   # until the first rotation
//	        …                                  # and maddy's other directives of modify.dkim
//	    }
//	}
type DKIM struct {
	base
	domains []dkimkeys.Domain
	block   config.Node // without domains and selector
	globals map[string]any
	stop    context.CancelFunc
	looking sync.WaitGroup

	mu      sync.Mutex
	signers map[string]*signer // by domain
}

// signer signs for one domain with one key.
type signer struct {
	selector string
	checked  time.Time
	modifier module.Modifier
}

const (
	dkimName    = "modify.chmail_dkim"
	dkimKeyPath = "dkim_keys/{domain}_{selector}.key"
	// selectorKept is how long a changed selector may go unnoticed.
	selectorKept = time.Second
	// lookEvery is how often the DNS is asked for the record of a new key.
	lookEvery = 5 * time.Minute
	lookTime  = 30 * time.Second
)

var (
	_ module.Module   = (*DKIM)(nil)
	_ module.Modifier = (*DKIM)(nil)
	_ io.Closer       = (*DKIM)(nil)
)

func init() {
	register(dkimName, func(b base) module.Module { return &DKIM{base: b, signers: map[string]*signer{}} })
}

// Init implements module.Module.
func (m *DKIM) Init(cfg *config.Map) error {
	var names []string
	var selector, path string
	m.debug(cfg)
	cfg.StringList("domains", false, true, nil, &names)
	cfg.String("selector", false, false, "default", &selector)
	cfg.String("key_path", false, false, dkimKeyPath, &path)
	cfg.AllowUnknown()
	rest, err := cfg.Process()
	if err != nil {
		return err
	}
	m.block = config.Node{Name: "dkim", Children: rest, File: cfg.Block.File, Line: cfg.Block.Line}
	m.globals = cfg.Globals
	for _, name := range names {
		m.domains = append(m.domains, dkimkeys.Domain{Name: name, Path: inState(path), First: selector})
	}
	for _, d := range m.domains { // which makes the first key
		if _, err := m.signer(d); err != nil {
			return err
		}
	}
	if module.NoRun {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.looking.Go(func() { m.look(ctx) })
	return nil
}

// Close implements io.Closer.
func (m *DKIM) Close() error {
	if m.stop != nil {
		m.stop()
		m.looking.Wait()
	}
	return nil
}

// look lets new keys sign whose records are in the DNS.
func (m *DKIM) look(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		for _, d := range m.domains {
			within, cancel := context.WithTimeout(ctx, lookTime)
			selector, err := d.Promote(within, time.Now(), dns.DefaultResolver().LookupTXT)
			cancel()
			switch {
			case err != nil:
				m.out.Error("looking for the record of a new DKIM key", err, "domain", d.Name)
			case selector != "":
				m.out.Msg("a new DKIM key signs", "domain", d.Name, "selector", selector)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// signer is that of a domain's key now.
func (m *DKIM) signer(d dkimkeys.Domain) (module.Modifier, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.signers[d.Name]
	if s != nil && time.Since(s.checked) < selectorKept {
		return s.modifier, nil
	}
	state, err := d.Load()
	if s != nil && (err != nil || state.Current == s.selector) {
		s.checked = time.Now()
		if err != nil {
			m.out.Error("which key signs", err, "domain", d.Name)
		}
		return s.modifier, nil
	}
	if err != nil {
		return nil, err
	}
	block := m.block
	block.Children = append([]config.Node{
		{Name: "domains", Args: []string{d.Name}}, {Name: "selector", Args: []string{state.Current}},
		{Name: "key_path", Args: []string{d.Path}},
	}, m.block.Children...)
	inner, err := module.Get("modify.dkim")("modify.dkim", "", nil, nil)
	if err == nil {
		err = inner.Init(config.NewMap(m.globals, block))
	}
	if err != nil {
		if s != nil { // the key that was there goes on signing
			s.checked = time.Now()
			m.out.Error("a new DKIM key cannot be used", err, "domain", d.Name, "selector", state.Current)
			return s.modifier, nil
		}
		return nil, err
	}
	modifier, ok := inner.(module.Modifier)
	if !ok {
		return nil, errors.New("this maddy's modify.dkim is another one")
	}
	m.signers[d.Name] = &signer{state.Current, time.Now(), modifier}
	return modifier, nil
}

// of is the domain that signs for a sender; none: nobody does.
func (m *DKIM) of(from string) (d dkimkeys.Domain, ok bool) {
	if from == "" {
		return m.domains[0], true
	}
	_, domain, err := address.Split(from)
	if err != nil {
		return d, false
	}
	for _, d := range m.domains {
		a, b := strings.ToLower(cmp.Or(domain, d.Name)), strings.ToLower(d.Name)
		if dns.Equal(a, b) || len(m.domains) == 1 && strings.HasSuffix(a, "."+b) { // sign_subdomains, perhaps
			return d, true
		}
	}
	return d, false
}

// ModStateForMsg implements module.Modifier.
func (m *DKIM) ModStateForMsg(_ context.Context, meta *module.MsgMetadata) (module.ModifierState, error) {
	return &signing{m: m, meta: meta}, nil
}

type signing struct {
	m    *DKIM
	meta *module.MsgMetadata
	from string
}

// RewriteSender implements module.ModifierState.
func (s *signing) RewriteSender(_ context.Context, from string) (string, error) {
	s.from = from
	return from, nil
}

// RewriteRcpt implements module.ModifierState.
func (s *signing) RewriteRcpt(_ context.Context, to string) ([]string, error) {
	return []string{to}, nil
}

// RewriteBody implements module.ModifierState.
func (s *signing) RewriteBody(ctx context.Context, h *textproto.Header, body buffer.Buffer) error {
	d, ok := s.m.of(s.from)
	if !ok {
		s.m.out.Msg("no DKIM key for the sender's domain", "msg_id", s.meta.ID, "from", s.from)
		return nil
	}
	modifier, err := s.m.signer(d)
	if err != nil {
		return err
	}
	state, err := modifier.ModStateForMsg(ctx, s.meta)
	if err != nil {
		return err
	}
	defer state.Close()
	if _, err := state.RewriteSender(ctx, s.from); err != nil {
		return err
	}
	return state.RewriteBody(ctx, h, body)
}

// Close implements module.ModifierState.
func (s *signing) Close() error { return nil }
