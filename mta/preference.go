// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"context"
)

// Preferences is what Rooms may know besides: whether a login's mails are to be
// stamped at all.
type Preferences interface {
	Stamps(ctx context.Context, login string) (bool, error)
}

// wantsStamp says whether a login wants its mails stamped; who cannot be asked does.
func (t *Target) wantsStamp(ctx context.Context, login string) bool {
	p, ok := t.Rooms.(Preferences)
	if !ok {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, roomsTimeout)
	defer cancel()
	stamps, err := p.Stamps(ctx, login)
	if err != nil {
		t.Log.Error("reading whether mails are to be stamped", "err", err, "login", login)
		return true
	}
	return stamps
}
