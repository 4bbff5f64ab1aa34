// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"strings"

	"github.com/foxcpp/maddy/framework/config"
)

// plus is the default: kim+shop@mall.example is kim's.
func plus() (interface{}, error) { return "+", nil }

// delimiter reads the directive `delimiter`; empty: addresses have no tags.
func delimiter(_ *config.Map, node config.Node) (interface{}, error) {
	if len(node.Args) != 1 {
		return nil, config.NodeErr(node, "delimiter takes one character, or none")
	}
	switch arg := node.Args[0]; {
	case arg == "none":
		return "", nil
	case len(arg) == 1 && strings.ContainsAny(arg, "+-_=#"):
		return arg, nil
	}
	return nil, config.NodeErr(node, "delimiter: %q is none of + - _ = # and none", node.Args[0])
}
