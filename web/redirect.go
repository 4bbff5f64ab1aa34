// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net"
	"net/http"
	"strings"
)

// ServeRedirects sends whoever comes to l over plain HTTP to the same page over TLS, until
// Shutdown or Close. Authorities that prove a name of this machine are answered.
func (s *Server) ServeRedirects(l net.Listener) error {
	return served(s.redirects.Serve(s.bound(l)))
}

func (s *Server) redirect(w http.ResponseWriter, r *http.Request) {
	if s.challenge(w, r) {
		return
	}
	host := hostOf(r)
	if host == "" || strings.EqualFold(host, s.opts.Base.Hostname()) {
		host = s.opts.Base.Host // with its port
	}
	to := *r.URL
	to.Scheme, to.Host, to.User = "https", host, nil
	http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
}

// hostOf is the host that a client asks, without a port; an IPv6 address keeps its brackets.
func hostOf(r *http.Request) string {
	if i := strings.LastIndexByte(r.Host, ':'); i >= 0 && !strings.HasSuffix(r.Host, "]") {
		return r.Host[:i]
	}
	return r.Host
}

// challenge answers an authority that proves a name, and says whether r is from one.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request) bool {
	return s.opts.Challenge != nil && s.opts.Challenge(w, r)
}

// mailPolicy is what other mail servers ask for at https://mta-sts.DOMAIN (RFC 8461 section 3.3).
func (s *Server) mailPolicy(w http.ResponseWriter, r *http.Request) {
	domain, ok := strings.CutPrefix(strings.ToLower(hostOf(r)), "mta-sts.")
	policy := ""
	if ok && s.opts.MailPolicy != nil {
		policy = s.opts.MailPolicy(domain)
	}
	if policy == "" {
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	write(w, http.StatusOK, []byte(policy))
}
