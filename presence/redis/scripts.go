// SPDX-License-Identifier: GPL-3.0-or-later

package redis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"strings"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// Every multi-key step is one script on one slot.
var (
	extendScript  = loadScript("time", "host", "renewal", "extend")
	grantScript   = loadScript("time", "host", "renewal", "change", "grant")
	peekScript    = loadScript("time", "host", "view", "peek")
	listScript    = loadScript("time", "host", "view", "list")
	holdScript    = loadScript("time", "host", "hold")
	blockScript   = loadScript("time", "host", "change", "block")
	dropScript    = loadScript("host", "drop")
	beatScript    = loadScript("time", "host", "change", "beat")
	restoreScript = loadScript("time", "host", "change", "restore")
	renewScript   = loadScript("time", "address", "renew")
	connectScript = loadScript("time", "address", "connect")
	devicesScript = loadScript("time", "devices")
	pointerScript = loadScript("pointer")
	hostsScript   = loadScript("time", "hosts")
	recentScript  = loadScript("time", "recent")
)

// script is the text of a script and the hash that Redis knows it by.
type script struct{ text, hash string }

// loadScript joins preludes and a script.
func loadScript(names ...string) *script {
	var b strings.Builder
	for _, name := range names {
		text, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			panic(err) // the files are part of the program
		}
		b.Write(text)
	}
	hash := sha1.Sum([]byte(b.String()))
	return &script{b.String(), hex.EncodeToString(hash[:])}
}
