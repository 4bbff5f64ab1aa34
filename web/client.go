// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientIP is who asks.
func (s *Server) clientIP(r *http.Request) netip.Addr { return s.opts.TrustedProxies.Client(r) }

// deviceName says a User-Agent as a person would: "Firefox on Linux".
func deviceName(agent string) string {
	first := func(pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			if strings.Contains(agent, pairs[i]) {
				return pairs[i+1]
			}
		}
		return ""
	}
	// The order matters: most browsers name those they descend from as well.
	browser := first("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser/", "Samsung Internet", "Firefox/", "Firefox",
		"FxiOS/", "Firefox", "CriOS/", "Chrome", "HeadlessChrome/", "Chromium", "Chromium/", "Chromium",
		"Chrome/", "Chrome", "Safari/", "Safari")
	system := first("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows",
		"CrOS", "ChromeOS", "Mac OS X", "macOS", "Linux", "Linux")
	switch {
	case browser == "":
		return "Browser"
	case system == "":
		return browser
	}
	return browser + " on " + system
}
