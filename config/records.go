// SPDX-License-Identifier: GPL-3.0-or-later

package config

import "fmt"

// Records says which DNS records and firewall openings a server needs. The
// DKIM record stands in dkim_keys/ of the state directory after the first
// start.
func Records(s Server) string {
	return fmt.Sprintf(`DNS:
    %[1]s.          A/AAAA  the address of this machine
    %[2]s.          MX      10 %[1]s.
    %[2]s.          TXT     "v=spf1 mx -all"
    _dmarc.%[2]s.   TXT     "v=DMARC1; p=quarantine"
    default._domainkey.%[2]s.  TXT  the content of %[3]s/dkim_keys/%[2]s_default.dns

Firewall: TCP 25, 443, 465, 587, 993, 995; UDP 443, %[4]s.
`, s.Host, s.Domain, s.StateDir, s.Ports)
}
