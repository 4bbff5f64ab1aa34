// SPDX-License-Identifier: GPL-3.0-or-later

package web

import "strings"

// named are a part of a User-Agent and what people call it; the first that is there
// counts, since most browsers name others too.
type named [][2]string

var (
	browsers = named{{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Whale/", "Whale"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
		{"Chrome/", "Chrome"}, {"Safari/", "Safari"}}
	systems = named{{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "Mac"}, {"Linux", "Linux"}}
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
