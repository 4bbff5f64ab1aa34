// SPDX-License-Identifier: GPL-3.0-or-later

package mta

import (
	"context"
	"errors"
	"time"
)

// ask asks the rooms. When they have been silent for roomsTimeout, mails wait
// only briefly for them, until after roomsPause one mail waits long again.
func (t *Target) ask(ctx context.Context, question func(context.Context) error) error {
	bound := roomsTimeout
	silent, now := t.silent.Load(), time.Now().UnixNano()
	if silent != 0 && (now-silent < int64(roomsPause) || !t.silent.CompareAndSwap(silent, now)) {
		bound = roomsBriefly
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	err := question(ctx)
	switch {
	case err == nil:
		t.silent.Store(0)
	case bound == roomsTimeout && errors.Is(ctx.Err(), context.DeadlineExceeded):
		t.silent.Store(time.Now().UnixNano())
	}
	return err
}
