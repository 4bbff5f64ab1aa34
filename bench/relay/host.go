// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

const tries = 5

// undisturbed measures until the host leaves the processors to this machine,
// or for the last time whatever it does.
func undisturbed(s settings, out *results, measure func(*results) error) error {
	for try := 1; ; try++ {
		r := results{quiet: true}
		stolen, all := processors()
		err := measure(&r)
		stolenAfter, allAfter := processors()
		if err != nil {
			return err
		}
		share := 100 * (stolenAfter - stolen) / max(allAfter-all, 1)
		disturbed := share > s.stolen
		if disturbed {
			fmt.Fprintf(os.Stderr, "measurement %d of at most %d: the host took %.0f %% of the processors\n",
				try, tries, share)
		}
		if !disturbed || try == tries {
			out.take(&r)
			return nil
		}
	}
}

// processors returns the time the host has taken, and all time, since the
// start, of all processors in ticks (proc(5), /proc/stat); 0 where there is no
// such file.
func processors() (stolen, all float64) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, word := range strings.Fields(line) {
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || i > 8 { // the line's name; guests, which count as users too
			continue
		}
		all += n
		if i == 8 {
			stolen = n
		}
	}
	return stolen, all
}
