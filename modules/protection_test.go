// SPDX-License-Identifier: GPL-3.0-or-later

package modules

import (
	"strings"
	"testing"
)

func TestGateways(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT": "",
		"eth0 00000000 010011AC 0003 0 0 0 00000000 0 0 0":                       "172.17.0.1",
		"eth0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0":                       "",
	} {
		if ip, ok := gateway4(strings.Fields(line)); ok != (want != "") || ok && ip.String() != want {
			t.Errorf("%q: %v, %v", line, ip, ok)
		}
	}
	const zero = "00000000000000000000000000000000"
	line := zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0"
	if ip, ok := gateway6(strings.Fields(line)); !ok || ip.String() != "fe80::1" {
		t.Errorf("%v, %v", ip, ok)
	}
}
