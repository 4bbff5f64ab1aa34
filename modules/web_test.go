// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/foxcpp/maddy/framework/config"
	"github.com/foxcpp/maddy/framework/module"
)

func TestEndpointAddresses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr          string
		tls, insecure bool
		problem       string
	}{
		{"tcp://127.0.0.1:8080", false, false, ""},
		{"tcp://[::1]:8080", false, false, ""},
		{"tcp://localhost:8080", false, false, ""},
		{"tls://0.0.0.0:443", true, false, ""},
		{"tcp://0.0.0.0:80", true, true, ""},
		{"tcp://0.0.0.0:80", true, false, "insecure yes"},
		{"tls://0.0.0.0:443", false, false, "no tls directive"},
		{"unix:///run/web", false, true, "only tcp:// and tls://"},
		{"http://x", false, true, "unsupported scheme"},
	} {
		_, err := endpoints([]string{c.addr}, c.tls, c.insecure)
		if c.problem == "" && err != nil ||
			c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := endpoints(nil, true, false); err == nil {
		t.Error("no address is no problem")
	}
}

func TestEndpointNeedsItsDirectives(t *testing.T) {
	t.Parallel()
	for _, children := range [][]config.Node{nil, {{Name: "nonsense", Args: []string{"yes"}}}} {
		e, err := module.GetEndpoint("web")("web", []string{"tcp://127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Init(config.NewMap(map[string]interface{}{}, config.Node{Name: "web", File: "x.conf",
			Line: 3, Children: children})); err == nil {
			t.Errorf("%v: accepted", children)
		}
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	all, err := prefixes([]string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32"})
	if err != nil || len(all) != 3 || all[1].String() != "192.0.2.1/32" {
		t.Errorf("%v %v", all, err)
	}
	if _, err := prefixes([]string{"proxy"}); err == nil {
		t.Error("accepted a name")
	}
}

func TestLandingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "landing.json")
	if b, err := readLanding(path); b != nil || err != nil {
		t.Errorf("before it is there: %s %v", b, err)
	}
	if err := os.WriteFile(path, []byte(`{"web":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := readLanding(path); string(b) != `{"web":"x"}` || err != nil {
		t.Errorf("%s %v", b, err)
	}
}
