// SPDX-License-Identifier: GPL-3.0-or-later

package web

import "strings"

// named are a part of a User-Agent and what people call it; the first that is there
// counts, since most browsers name others too.
type named [][2]string

var (
	browsers = named{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Whale/", "Whale"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
		{"HeadlessChrome/", "Chromium"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}}
	systems = named{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"}}
)

func (n named) in(agent string) string {
	for _, each := range n {
		if strings.Contains(agent, each[0]) {
			return each[1]
		}
	}
	return ""
}

// browserName is what its owner may call the browser of a User-Agent: "Chrome, Android".
// It is empty where nothing is known of it.
func browserName(agent string) string {
	browser, system := browsers.in(agent), systems.in(agent)
	if browser == "" || system == "" {
		return browser + system
	}
	return browser + ", " + system
}

// deviceName says a User-Agent as a person would: "Firefox on Linux".
func deviceName(agent string) string {
	browser, system := browsers.in(agent), systems.in(agent)
	switch {
	case browser == "":
		return "Browser"
	case system == "":
		return browser
	}
	return browser + " on " + system
}
