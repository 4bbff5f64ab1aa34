// SPDX-License-Identifier: GPL-3.0-or-later

package presence

import (
	"embed"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// Every multi-key step is one script on one slot.
var (
	grantScript   = loadScript("time", "host", "grant")
	peekScript    = loadScript("time", "host", "peek")
	listScript    = loadScript("time", "host", "list")
	holdScript    = loadScript("time", "host", "hold")
	blockScript   = loadScript("time", "host", "block")
	dropScript    = loadScript("time", "host", "drop")
	beatScript    = loadScript("time", "host", "beat")
	restoreScript = loadScript("time", "host", "restore")
	renewScript   = loadScript("time", "address", "renew")
	connectScript = loadScript("time", "address", "connect")
	devicesScript = loadScript("time", "devices")
	pointerScript = loadScript("pointer")
	hostsScript   = loadScript("time", "hosts")
	recentScript  = loadScript("time", "recent")
)

// loadScript joins preludes and a script.
func loadScript(names ...string) *redis.Script {
	var b strings.Builder
	for _, name := range names {
		text, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			panic(err) // the files are part of the program
		}
		b.Write(text)
	}
	return redis.NewScript(b.String())
}
