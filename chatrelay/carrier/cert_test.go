// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"testing"
	"time"
)

func TestCertificateRotation(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now()
	c, err := openCerts("relay.example", dir, now)
	if err != nil {
		t.Fatal(err)
	}
	first := c.hashes()
	c, err = openCerts("relay.example", dir, now.Add(7*24*time.Hour))
	if err != nil || len(c.hashes()) != 2 || c.hashes()[0] != first[0] {
		t.Fatalf("after a week: %v, %v", c.hashes(), err)
	}
	second := c.hashes()[1]
	c, err = openCerts("relay.example", dir, now.Add(12*24*time.Hour+2*time.Hour))
	if err != nil || c.hashes()[0] != second {
		t.Fatalf("after twelve days: %v, %v", c.hashes(), err)
	}
}
