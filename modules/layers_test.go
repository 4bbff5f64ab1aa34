// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"bytes"
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const path = "github.com/chmail/chmail/"

// layers are the packages and those of ours that each may import, packages
// below internal aside. docs/architecture.md draws them.
var layers = map[string]string{
	"chatrelay/chat":       "",
	"chatrelay/attempt":    "",
	"chatrelay/pass":       "",
	"chatrelay/frame":      "chatrelay/chat",
	"chatrelay/carrier":    "chatrelay/frame guard/limit",
	"chatrelay/direct":     "chatrelay/carrier chatrelay/chat chatrelay/frame",
	"chatrelay/store":      "chatrelay/attempt chatrelay/chat",
	"chatrelay/notify":     "chatrelay/chat chatrelay/frame",
	"chatrelay/files":      "chatrelay/chat guard/limit",
	"chatrelay/transcript": "chatrelay/chat",
	"chatrelay/cluster":    "chatrelay/chat presence",
	"chatrelay": "chatrelay/attempt chatrelay/carrier chatrelay/chat" +
		" chatrelay/cluster chatrelay/direct chatrelay/files chatrelay/frame" +
		" chatrelay/notify chatrelay/transcript guard/limit guard/reputation presence",
	"guard/signin":      "guard/limit guard/reputation",
	"guard/limit":       "",
	"guard/reputation":  "",
	"guard/password":    "",
	"guard/apppassword": "",
	"guard/ticket":      "guard/limit",
	"guard/work":        "guard/ticket",
	"presence":          "",
	"presence/local":    "presence",
	"presence/redis":    "presence",
	"pop3d":             "guard/limit guard/reputation guard/signin presence",
	"imapd":             "guard/limit guard/reputation guard/signin presence",
	"mailstore":         "imapd pop3d",
	"mta/stamp":         "",
	"mta":               "chatrelay/chat mta/stamp presence",
	"mta/reply":         "chatrelay/transcript",
	"mta/queue":         "",
	"mta/dkimkeys":      "",
	"mta/greylist":      "",
	"mta/outbound":      "mta/queue",
	"certificates":      "",
	"mta/smtpd":         "guard/limit guard/reputation guard/signin",
	"web": "addresses chatrelay chatrelay/carrier chatrelay/chat chatrelay/files chatrelay/frame" +
		" chatrelay/notify chatrelay/pass guard/apppassword guard/limit guard/password guard/reputation" +
		" guard/signin guard/work presence web/mailclient",
	"web/mailclient": "",
	"mall/vault":     "", "mall/order": "", "mall/picture": "",
	"mall/store": "mall/order", "mall/feed": "mall/store", "mall/advert": "mall/store",
	"mall/sample":    "mall mall/order mall/picture mall/store mall/vault",
	"mall/publicity": "chatrelay/chat mall/picture mall/store",
	"mall": "chatrelay chatrelay/attempt chatrelay/carrier chatrelay/chat chatrelay/frame chatrelay/pass" +
		" guard/password guard/signin guard/ticket mall/order mall/picture mall/store mall/vault presence",
	"mall/site": "chatrelay chatrelay/carrier chatrelay/chat chatrelay/frame guard/limit guard/password guard/signin" +
		" guard/work mall mall/advert mall/feed mall/order mall/picture mall/publicity mall/store",
	"agent":          "agent/notice agent/portmap agent/server chatrelay/direct chatrelay/frame",
	"agent/server":   "chatrelay/chat chatrelay/frame",
	"agent/terminal": "agent/server chatrelay/carrier chatrelay/chat chatrelay/direct chatrelay/frame",
	"agent/notice":   "", "agent/secret": "", "agent/update": "", "agent/autostart": "", "agent/portmap": "",
	"addresses": "",
	"admin": "addresses chatrelay/chat chatrelay/files guard/apppassword guard/password guard/reputation mailstore" +
		" mta/queue presence",
}

// TestLayers: arrows between packages point one way, and no package of the
// domain links the mail server but mta, which speaks its delivery interface. So
// the program on a person's computer can link the relay alone.
func TestLayers(t *testing.T) {
	t.Parallel()
	for pkg, of := range listed(t, slices.Collect(maps.Keys(layers))) {
		for _, imported := range of.Imports {
			own, ours := strings.CutPrefix(imported, path)
			if ours && !strings.Contains("/"+own, "/internal/") && !slices.Contains(strings.Fields(layers[pkg]), own) {
				t.Errorf("%s imports %s", pkg, own)
			}
		}
		if strings.HasPrefix(pkg, "mta") {
			continue
		}
		for _, dep := range of.Deps {
			if strings.HasPrefix(dep, "github.com/foxcpp/maddy") {
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
}

type imports struct{ Imports, Deps []string }

// listed is what packages of ours import, and what they link.
func listed(t *testing.T, pkgs []string) map[string]imports {
	t.Helper()
	args := []string{"list", "-json=ImportPath,Imports,Deps"}
	for _, pkg := range pkgs {
		args = append(args, path+pkg)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("listing what packages import: %v", err)
	}
	found := make(map[string]imports)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p struct {
			ImportPath string
			imports
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(p.ImportPath, path)] = p.imports
	}
	if len(found) != len(pkgs) {
		t.Fatalf("%d packages of %d are listed", len(found), len(pkgs))
	}
	return found
}
