// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// STSTesting is the mode of an MTA-STS policy that other servers report on and do not obey.
const STSTesting = "testing"

// STSPolicy is the MTA-STS policy of a domain whose mail this host takes (RFC 8461 section 3.2).
func STSPolicy(host, mode string) string {
	age := 7 * 24 * 3600 // seconds
	if mode == STSTesting {
		age = 24 * 3600
	}
	return fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: %d\r\n", mode, ASCII(host), age)
}

// stsRecord tells other servers that there is a policy, and whether they know it (RFC 8461
// section 3.1); "" where the pages serve none.
func (f *File) stsRecord() string {
	for _, n := range f.Nodes {
		if mode := cmp.Or(value(n, "mta_sts"), STSTesting); n.Name == "web" && mode != "none" {
			sum := sha256.Sum256([]byte(STSPolicy(f.Hostname(), mode)))
			return "v=STSv1; id=" + hex.EncodeToString(sum[:8]) + ";"
		}
	}
	return ""
}
