// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"context"

	"github.com/chmail/chmail/chatrelay/store"
)

// Wishes is what Rooms may know besides: whether a login's mails are to be
// stamped at all.
type Wishes interface {
	Stamps(ctx context.Context, login string) (bool, error)
}

var _ Wishes = (*store.Store)(nil)

// wished says whether a login wants its mails stamped; who cannot be asked does.
func (t *Target) wished(ctx context.Context, login string) bool {
	w, ok := t.Rooms.(Wishes)
	if !ok {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, roomsTimeout)
	defer cancel()
	stamps, err := w.Stamps(ctx, login)
	if err != nil {
		t.Log.Error("reading whether mails are to be stamped", "err", err, "login", login)
		return true
	}
	return stamps
}
