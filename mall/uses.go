// SPDX-License-Identifier: GPL-3.0-or-later

package mall

import (
	"context"
	"time"

	"github.com/chmail/chmail/mall/store"
)

const (
	maxUses     = 1000 // that wait to be recorded; further ones are lost
	usesAtOnce  = 200
	maxUseAbout = 100 // characters of what was searched for
)

// Looked records what a member looks at, if they agreed to that. It never waits.
func (m *Mall) Looked(member *store.Member, what, about string) {
	if member == nil || !member.Record || about == "" {
		return
	}
	if letters := []rune(about); len(letters) > maxUseAbout {
		about = string(letters[:maxUseAbout])
	}
	select {
	case m.uses <- store.Use{Member: member.ID, At: store.Micros(time.Now()), What: what, About: about}:
	default: // too many people look at once
	}
}

// record writes a use, with those that wait behind it.
func (m *Mall) record(ctx context.Context, u store.Use) {
	list := []store.Use{u}
	for len(list) < usesAtOnce && len(m.uses) > 0 { // nobody else takes from it
		list = append(list, <-m.uses)
	}
	ctx, cancel := context.WithTimeout(ctx, eventWait)
	defer cancel()
	if err := m.store.AddUses(ctx, list); err != nil && ctx.Err() == nil {
		m.log.Warn("recording what members look at", "err", err)
	}
}
