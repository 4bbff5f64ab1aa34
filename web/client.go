// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"
	"net/netip"
)

// clientIP is who asks.
func (s *Server) clientIP(r *http.Request) netip.Addr { return s.opts.TrustedProxies.Client(r) }
