// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/carrier"
	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/guard/reputation"
	"github.com/chmail/chmail/internal/assets"
)

// outer is around every request: headers, limits, the origin check, metrics,
// and the end of a panic. relay is nil until there is one.
func (s *Server) outer(routes http.Handler, relay Relay) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, zips: assets.TakesGzip(r.Header.Get("Accept-Encoding"))}
		began := time.Now()
		defer func() {
			p, whole := recover(), false
			if p != nil && p != http.ErrAbortHandler {
				panicsTotal.Inc()
				s.log.Error("a request ended in a panic", "route", route(r),
					"reason", fmt.Sprint(p), "stack", string(debug.Stack()))
				if rec.status == 0 {
					s.plainPage(rec, r, http.StatusInternalServerError, "broken")
					whole = true
				}
			}
			requestsTotal.WithLabelValues(route(r), strconv.Itoa(rec.code())).Inc()
			if !isSocket(r) {
				requestSeconds.WithLabelValues(route(r)).Observe(time.Since(began).Seconds())
			}
			if p != nil && !whole { // half an answer must not pass for a whole one
				panic(http.ErrAbortHandler)
			}
		}()
		s.secure(w.Header(), relay)
		if to := s.altSvc(r); to != "" {
			w.Header().Set("Alt-Svc", to)
		}
		who := s.clientIP(r)
		switch {
		case s.opts.Reputation.Bars(who): // behind a proxy; else there is no connection
			retryAfter(rec, time.Minute)
			s.plainPage(rec, r, http.StatusTooManyRequests, "busy")
			return
		case isSocket(r): // bounded by the connections of a prefix, and needs a ticket or a session
		case isFrames(r): // bounded by its connection; the handler looks where the page is from
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			r.Body = http.NoBody // a form in it would be read without a bound
			if wait := s.limits.page.WaitOf(who); wait > 0 {
				retryAfter(rec, wait)
				s.plainPage(rec, r, http.StatusTooManyRequests, "busy")
				return
			}
		default:
			if err := s.cross.Check(r); err != nil && !bringsSecret(r) {
				refuse(rec, http.StatusForbidden, "origin", "This request came from another site.")
				return
			}
			if r.URL.Path == "/desk/ws/stream" {
				break // bounded by its connection
			}
			if wait := s.limits.post.WaitOf(who); wait > 0 {
				tooOften(rec, wait)
				return
			}
		}
		routes.ServeHTTP(rec, r)
	})
}

// isSocket says whether a request opens a carrier: after a restart everyone
// behind one address comes back at once.
func isSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && slices.Contains(
		[]string{"/chat", carrier.StreamPath, "/desk/ws", "/desk/ws/stream"}, r.URL.Path)
}

// isFrames says whether a request belongs to a room's connection. A page of another
// relay may send it, so it is no request of this site alone.
func isFrames(r *http.Request) bool {
	return r.Method == http.MethodPost && (r.URL.Path == carrier.StreamPath || r.URL.Path == "/chat/gone")
}

// bringsSecret says whether a request shows by itself who sends it: with a password or a token,
// and no cookie counts. An add-on of a mail program sends these, from an origin of its own; a
// page of another site cannot, since browsers would ask first whether it may.
func bringsSecret(r *http.Request) bool {
	_, isToken := bearer(r)
	return isToken || r.URL.Path == "/desk/token"
}

// route is the label of a request's metrics: its pattern, never its path,
// which has tokens in it.
func route(r *http.Request) string {
	if r.Pattern == "" {
		return "none"
	}
	return r.Pattern
}

// recorder remembers the status code, and whether the client takes gzip.
type recorder struct {
	http.ResponseWriter
	status int
	zips   bool
}

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (int, error) {
	rec.status = rec.code()
	return rec.ResponseWriter.Write(b)
}

func (rec *recorder) code() int {
	if rec.status == 0 {
		return http.StatusOK
	}
	return rec.status
}

// Unwrap lets http.ResponseController and the WebSocket library through.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// secure sets what every answer has.
func (s *Server) secure(h http.Header, relay Relay) {
	var peers []chat.Relay
	direct := false
	if relay != nil {
		peers, direct = relay.Peers(), relay.Direct()
	}
	h.Set("Content-Security-Policy", policy(s.opts.Base, s.opts.RelayHosts, peers, string(s.cardStyle), direct))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Referrer-Policy", "no-referrer") // a link is a secret
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Cache-Control", "no-store")
	if s.https {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

const notFramed = "frame-ancestors 'none'"

// policy is the Content-Security-Policy: everything from this origin, no
// inline script, one inline style, and connections to the granted ports and to the
// WebSockets of the relays that share the rooms; direct: to people's computers too.
func policy(base *url.URL, relays []string, peers []chat.Relay, style string, direct bool) string {
	hash := sha256.Sum256([]byte(style))
	connect := []string{"'self'", strings.Replace(base.Scheme, "http", "ws", 1) + "://" + base.Host}
	hosts := append([]string{base.Hostname()}, relays...)
	for _, p := range peers {
		hosts = append(hosts, p.Name)
		if u, err := url.Parse(p.Socket); err == nil && u.Host != "" && !strings.ContainsAny(u.Host, " ;,'\"") {
			connect = append(connect, u.Scheme+"://"+u.Host)
		}
	}
	if direct { // to computers that nobody knows yet
		connect = append(connect, "https:")
	}
	if base.Hostname() == "localhost" {
		hosts = append(hosts, "127.0.0.1") // as which a relay bound to loopback is reached
	}
	for _, host := range hosts {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if source := "https://" + host + ":*"; host != "" && !strings.ContainsAny(host, " ;,'\"") &&
			!contains(connect, source) {
			connect = append(connect, source)
		}
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'",
		"style-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'", "img-src 'self' blob:",
		"connect-src " + strings.Join(connect, " "), "worker-src 'self'", "manifest-src 'self'", "base-uri 'none'",
		"form-action 'self'", notFramed, "require-trusted-types-for 'script'", "trusted-types chmail",
	}, "; ")
}

// framedBy lets the pages of some origins frame the answer.
func framedBy(h http.Header, origins []string) {
	policy := h.Get("Content-Security-Policy")
	h.Set("Content-Security-Policy", strings.Replace(policy, notFramed, "frame-ancestors "+strings.Join(origins, " "), 1))
	h.Del("X-Frame-Options")
}

func contains(list []string, item string) bool {
	for _, have := range list {
		if have == item {
			return true
		}
	}
	return false
}

// fault counts what a client asked for. Another site can make a browser ask for anything, and
// a proxy asks for everybody: that counts for nobody.
func (s *Server) fault(r *http.Request, f reputation.Fault) {
	ip, site := s.clientIP(r), r.Header.Get("Sec-Fetch-Site")
	if (site == "" || site == "none") && !s.opts.TrustedProxies.Trusts(ip) {
		s.opts.Reputation.Fault(ip, f)
	}
}

// refusal is the JSON of an error: a code for programs, words for people who
// read programs' output. The page says it in its reader's language.
type refusal struct {
	Error string `json:"error"`
	Text  string `json:"text"`
	To    string `json:"to,omitempty"`    // claimed: where a code can be sent
	Guest *bool  `json:"guest,omitempty"` // claimed: whether one may come in as a guest
	// Account, of claimed and prove: the recipient's password shows whose link it is, too.
	Account bool `json:"account,omitempty"`
}

func refuse(w http.ResponseWriter, status int, code, text string) {
	answer(w, status, refusal{Error: code, Text: text})
}

func tooOften(w http.ResponseWriter, wait time.Duration) {
	retryAfter(w, wait)
	refuse(w, http.StatusTooManyRequests, "too-often", "Too many requests: wait a moment.")
}

// mishap counts a page whose script made a mistake: its body is the name of the page.
func (s *Server) mishap(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if page := string(b); err == nil && slices.Contains(scripts, page) {
		mishapsTotal.WithLabelValues(page).Inc()
	}
	w.WriteHeader(http.StatusNoContent)
}

// retryAfter says when to come back, in whole seconds rounded up.
func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // nothing that is answered can fail to marshal
		panic(fmt.Sprintf("encoding an answer: %v", err))
	}
	w.Header().Set("Content-Type", "application/json")
	write(w, status, append(b, '\n'))
}

// write sends a body, zipped where that is worth it and the client takes it.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if rec, ok := w.(*recorder); ok && len(body) >= minZipped {
		h.Add("Vary", "Accept-Encoding")
		if rec.zips {
			h.Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			zip := gzip.NewWriter(w) // an error of the client's connection is nobody's to read
			zip.Write(body)
			zip.Close()
			return
		}
	}
	w.WriteHeader(status)
	w.Write(body)
}

// read decodes a request's JSON body into v; otherwise it has answered with
// 413, 415 or 400 and reports false.
func read(w http.ResponseWriter, r *http.Request, v any) bool { return readUpTo(w, r, v, maxBody) }

// readUpTo reads a body of that many octets.
func readUpTo(w http.ResponseWriter, r *http.Request, v any, octets int64) bool {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "media-type", "Send application/json.")
		return false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, octets))
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		refuse(w, http.StatusRequestEntityTooLarge, "too-large", "The request is too large.")
		return false
	case errors.As(err, &timeout) && timeout.Timeout():
		refuse(w, http.StatusRequestTimeout, "timeout", "The request did not come in time.")
		return false
	case err != nil || json.Unmarshal(body, v) != nil:
		refuse(w, http.StatusBadRequest, "bad-request", "The request is not the JSON that belongs here.")
		return false
	}
	return true
}
