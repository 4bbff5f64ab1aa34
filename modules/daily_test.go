// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
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
			mu      sync.Mutex // of what follows
			begin   = time.Now()
			problem string
			refuses bool
			days    []int // on which a mail came
		)
		d := &daily{
			find: func(context.Context) config.Problems {
				mu.Lock()
				defer mu.Unlock()
				switch problem {
				case "":
					return nil
				case "panic":
					panic("in a check")
				}
				return config.Problems{{Warning: true, File: "c.conf", Line: 1, Text: problem}}
			},
			send: func(_ context.Context, _, text string) error {
				mu.Lock()
				defer mu.Unlock()
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
			mu.Lock()
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
			}
			mu.Unlock()
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
