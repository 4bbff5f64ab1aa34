// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"strings"

	"github.com/foxcpp/maddy/framework/config"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/notify"
)

const (
	maxGroups = 1000 // in the configuration
	maxHooks  = 16
)

// readGroup reads `group ADDRESS { member LOGIN … }`.
func readGroup(groups map[string][]string, node config.Node) error {
	if len(node.Args) != 1 || !strings.Contains(node.Args[0], "@") {
		return config.NodeErr(node, "want the address of the group")
	}
	addr := strings.ToLower(node.Args[0])
	if groups[addr] != nil || len(groups) >= maxGroups {
		return config.NodeErr(node, "the group is there twice, or there are more than %d", maxGroups)
	}
	for _, child := range node.Children {
		if child.Name != "member" || len(child.Args) == 0 || len(child.Children) != 0 {
			return config.NodeErr(child, "want `member LOGIN`")
		}
		for _, login := range child.Args {
			if strings.EqualFold(login, addr) {
				return config.NodeErr(child, "a group is no member of itself")
			}
			groups[addr] = append(groups[addr], strings.ToLower(login))
		}
	}
	if n := len(groups[addr]); n == 0 || n > chat.MaxMembers {
		return config.NodeErr(node, "a group has 1 to %d members", chat.MaxMembers)
	}
	return nil
}

// checkGroups refuses groups within groups.
func checkGroups(groups map[string][]string, block config.Node) error {
	for addr, logins := range groups {
		for _, l := range logins {
			if groups[l] != nil {
				return config.NodeErr(block, "group %s: the member %s is a group", addr, l)
			}
		}
	}
	return nil
}

// readWebhook reads `webhook URL { … }`.
func readWebhook(hooks *[]notify.Webhook, m *config.Map, node config.Node) error {
	if len(node.Args) != 1 {
		return config.NodeErr(node, "want the address to call")
	}
	w := notify.Webhook{URL: node.Args[0]}
	block := config.NewMap(m.Globals, node)
	block.Enum("format", false, false, []string{notify.HookJSON, notify.HookNtfy, notify.HookMattermost},
		notify.HookJSON, &w.Format)
	block.String("secret", false, false, "", &w.Secret)
	block.StringList("for", false, false, nil, &w.For)
	if _, err := block.Process(); err != nil {
		return err
	}
	for i, login := range w.For {
		w.For[i] = strings.ToLower(login)
	}
	if err := w.Check(); err != nil {
		return config.NodeErr(node, "%v", err)
	}
	if *hooks = append(*hooks, w); len(*hooks) > maxHooks {
		return config.NodeErr(node, "there are more than %d webhooks", maxHooks)
	}
	return nil
}
