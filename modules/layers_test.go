// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
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
	"chatrelay/frame":      "chatrelay/chat",
	"chatrelay/carrier":    "chatrelay/frame guard/limit",
	"chatrelay/store":      "chatrelay/chat",
	"chatrelay/notify":     "chatrelay/chat",
	"chatrelay/files":      "chatrelay/chat guard/limit",
	"chatrelay/transcript": "chatrelay/chat",
	"chatrelay/cluster":    "chatrelay/chat presence",
	"chatrelay": "chatrelay/attempt chatrelay/carrier chatrelay/chat" +
		" chatrelay/cluster chatrelay/files chatrelay/frame" +
		" chatrelay/notify chatrelay/transcript guard/limit presence",
	"guard/signin":   "guard/limit",
	"guard/limit":    "",
	"presence":       "",
	"presence/local": "presence",
	"presence/redis": "presence",
	"pop3d":          "guard/limit presence",
	"imapd":          "guard/limit guard/signin presence",
	"mailstore":      "imapd pop3d",
	"mta/stamp":      "",
	"mta":            "chatrelay/chat mta/stamp presence",
	"mta/reply":      "chatrelay/transcript",
	"web": "chatrelay chatrelay/carrier chatrelay/chat chatrelay/files chatrelay/frame" +
		" chatrelay/notify guard/limit presence",
	"admin": "chatrelay/chat chatrelay/files mailstore presence",
}

// TestLayers: arrows between packages point one way, and no package of the
// domain links the mail server but mta, which speaks its delivery interface. So
// the program on a person's computer can link the relay alone.
func TestLayers(t *testing.T) {
	t.Parallel()
	for pkg, may := range layers {
		for _, imported := range list(t, "{{join .Imports \"\\n\"}}", pkg) {
			own, ours := strings.CutPrefix(imported, path)
			if ours && !strings.Contains("/"+own, "/internal/") && !slices.Contains(strings.Fields(may), own) {
				t.Errorf("%s imports %s", pkg, own)
			}
		}
		if strings.HasPrefix(pkg, "mta") {
			continue
		}
		for _, dep := range list(t, "{{join .Deps \"\\n\"}}", pkg) {
			if strings.HasPrefix(dep, "github.com/foxcpp/maddy") {
				t.Errorf("%s links %s", pkg, dep)
			}
		}
	}
}

func list(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", format, path+pkg).Output()
	if err != nil {
		t.Fatalf("listing what %s imports: %v", pkg, err)
	}
	return strings.Fields(string(out))
}
