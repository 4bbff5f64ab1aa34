// SPDX-License-Identifier: GPL-3.0-or-later

package words

import "fmt"

// Octets says a number of octets as people do: "12 B", "1.5 MB".
func Octets(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	const units = "kMGTPE"
	v, u := float64(n)/1000, 0
	for ; v >= 999.95 && u < len(units)-1; u++ {
		v /= 1000
	}
	return fmt.Sprintf("%.1f %cB", v, units[u])
}
