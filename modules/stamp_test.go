// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"strings"
	"testing"
)

func TestStamp(t *testing.T) {
	others{name: "mta_test"}.register()
	const good = "deliver_to &mta_test\nrooms &mta_test\npresence &mta_test\n"
	for block, want := range map[string]string{
		good: "",
		good + "host chat.example\nlink https://chat.example/\nrequire_stamp yes\ncopies_at_once 8\n": "",
		good + "wording mall.example \"Ask {name}\"\nwording * ko \"{name}님에게 묻기\"\n":                 "",
		good + "wording mall.example\n":               "wording takes",
		good + "wording mall.example de \"Fragen\"\n": "the language is one of",
		good + "copies_at_once 0\n":                   "copies_at_once",
		"deliver_to &mta_test\n":                      "rooms is required",
		"rooms &mta_test\n":                           "deliver_to",
		good + "host http://x\n":                      "not a host name",
		good + "link chat.example\n":                  "not an http or https address",
		good + "colour blue\n":                        "colour",
		"deliver_to &mta_test\nrooms &no_such_one\n":  "no_such_one",
	} {
		m, err := initModule(t, "target.chmail", block)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", block, err)
		case want == "" && strings.HasSuffix(m.(*Stamp).Link, "/"):
			t.Errorf("link %s", m.(*Stamp).Link)
		}
	}
}
