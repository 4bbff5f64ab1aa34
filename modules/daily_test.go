// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chmail/chmail/config"
)

// TestDaily looks at the mails of six weeks.
func TestDaily(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			begin   = time.Now()
			problem string
			refuses bool
			days    []int // on which a mail came
		)
		d := &daily{
			find: func(context.Context) config.Problems {
				if problem == "" {
					return nil
				}
				return config.Problems{{Warning: true, File: "c.conf", Line: 1, Text: problem}}
			},
			send: func(_ context.Context, _, text string) error {
				if refuses {
					return errors.New("the disk is full")
				}
				days = append(days, int(time.Since(begin)/(24*time.Hour)))
				return nil
			},
			log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		go d.run(ctx)
		for day := range 20 {
			switch day {
			case 2:
				problem = "the certificate expires"
			case 11:
				problem = "the certificate expired"
			case 14:
				problem, refuses = "", true
			case 15:
				refuses = false
			case 18:
				problem = "panic"
				d.find = func(context.Context) config.Problems { panic("in a check") }
			}
			time.Sleep(24 * time.Hour)
			synctest.Wait()
		}
		if want := []int{2, 9, 11, 15}; !slices.Equal(days, want) {
			t.Errorf("mails on the days %v, want %v", days, want)
		}
		cancel()
		synctest.Wait()
	})
}
