// SPDX-License-Identifier: GPL-3.0-or-later

package setup

import (
	"os"
	"strings"
	"testing"
)

// TestProxies keeps docs/install.md what quickstart prints.
func TestProxies(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), proxies) {
		t.Error("docs/install.md has other proxies than setup/proxy.go")
	}
	if got := Proxies("talk.far.example", "far.example"); strings.Contains(got, "mall.example") {
		t.Error(got)
	}
}
