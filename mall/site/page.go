// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chmail/chmail/internal/assets"
	"github.com/chmail/chmail/internal/clean"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall"
	"github.com/chmail/chmail/mall/store"
)

const (
	sessionCookie = "mall_session"
	langCookie    = "mall_lang"
	workTimeout   = 20 * time.Second // what a request may ask of the store, the relay and the mail
	minZipped     = 1 << 10          // octets of a page, from which on it is compressed
)

//go:embed templates/*.html
var templateFiles embed.FS

// templates are the pages in each language.
var templates = func() map[string]*template.Template {
	all := make(map[string]*template.Template)
	for _, lang := range words.Languages {
		tongue := words.In(lang)
		all[lang] = template.Must(template.New(lang).Funcs(template.FuncMap{
			"say":     tongue.HTML,
			"money":   func(currency string, amount int64) string { return Money(lang, currency, amount) },
			"date":    func(micros int64) string { return date(lang, micros) },
			"when":    func(micros int64) string { return store.Time(micros).Format(time.RFC3339) },
			"picture": pictureURL,
			"field":   newField,
			"list":    func(items ...any) []any { return items },
			"pairs":   pairs,
			"maxName": func() int { return clean.MaxName },
		}).Funcs(advertFuncs).ParseFS(templateFiles, "templates/*.html"))
	}
	return all
}()

// page is a page that is to be served.
type page struct {
	Title    string
	Template string // of a file in templates; it gets a *view
	Data     any
	Wide     bool   // it uses the whole width, as lists and tables do
	Work     string // that its form needs (work.go); empty: none
	Minutes  int    // until it needs none
}

// view is what a page's templates get.
type view struct {
	page
	Lang, Style, Script string
	Mall                string // its name
	Visitor             mall.Visitor
	Path                string // of this page, with its query
	Query               string // what was searched for
	Chat                string // origin of the chat pages
	Basket              int    // how many goods are in it
	Came                string // the proof of the advertisement that led here
	Body                template.HTML
}

// request is what is known about a request from its begin.
type request struct {
	visitor mall.Visitor
	tongue  words.Tongue
}

type requestKey struct{}

func of(r *http.Request) request {
	known, _ := r.Context().Value(requestKey{}).(request)
	if known.tongue.Lang == "" {
		known.tongue = words.In(r.Header.Get("Accept-Language"))
	}
	return known
}

// visitor is who asks: a stranger, or a login with what it is here.
func visitor(r *http.Request) mall.Visitor { return of(r).visitor }

// tongue is the reader's language: the one they chose, or that their browser likes best.
func tongue(r *http.Request) words.Tongue { return of(r).tongue }

// outer is around every request: headers, who asks, limits, the origin check, and the
// end of a panic.
func (s *Server) outer(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answered := &recorder{ResponseWriter: w}
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				s.log.Error("a request ended in a panic", "route", r.Pattern, "reason", fmt.Sprint(p),
					"stack", string(debug.Stack()))
				if !answered.begun {
					s.notice(answered, r, http.StatusInternalServerError, "broken")
					return
				}
			}
			if p != nil { // half an answer must not pass for a whole one
				panic(http.ErrAbortHandler)
			}
		}()
		s.secure(w.Header())
		known := request{tongue: words.In(r.Header.Get("Accept-Language"))}
		if c, err := r.Cookie(langCookie); err == nil && isLanguage(c.Value) {
			known.tongue = words.In(c.Value)
		}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, known))
		bucket := s.limits.page
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			bucket = s.limits.post
			if err := s.cross.Check(r); err != nil {
				s.notice(answered, r, http.StatusForbidden, "origin")
				return
			}
		}
		if wait := bucket.WaitOf(s.clientIP(r)); wait > 0 {
			s.tooOften(answered, r, wait)
			return
		}
		if c, err := r.Cookie(sessionCookie); err == nil && !isFile(r.URL.Path) {
			if known.visitor, err = s.mall.Visitor(r.Context(), c.Value); err != nil {
				s.failed(answered, r, err)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), requestKey{}, known))
		}
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		if isSocket(r) { // it stays as long as the page is open
			ctx = r.Context()
		}
		routes.ServeHTTP(answered, r.WithContext(ctx))
	})
}

// isSocket says whether a request opens a connection that stays.
func isSocket(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func isLanguage(lang string) bool {
	for _, l := range words.Languages {
		if l == lang {
			return true
		}
	}
	return false
}

// recorder knows whether an answer has begun.
type recorder struct {
	http.ResponseWriter
	begun bool
}

func (rec *recorder) WriteHeader(status int) {
	rec.begun = true
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(b []byte) (int, error) {
	rec.begun = true
	return rec.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController and the WebSocket library through.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// secure sets what every answer has; who must be framed or fetched from elsewhere
// sets it anew.
func (s *Server) secure(h http.Header) {
	h.Set("Content-Security-Policy", s.policy("'none'"))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers without frame-ancestors
	h.Set("Cache-Control", "no-store")
	if s.https {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// policy is the Content-Security-Policy: everything from this origin, frames of the
// chat pages alone. ancestors are the origins whose pages may frame this one.
func (s *Server) policy(ancestors string) string {
	base, chats := s.mall.Base(), s.mall.Chat()
	socket := strings.Replace(base.Scheme, "http", "ws", 1) + "://" + base.Host
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'",
		"connect-src 'self' " + socket, "frame-src " + origin(chats), "base-uri 'none'",
		"form-action 'self' " + origin(chats), // "Chat now" without script leads there
		"manifest-src 'self'", "frame-ancestors " + ancestors, "require-trusted-types-for 'script'",
		"trusted-types chmail",
	}, "; ")
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// page answers with a page.
func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, p page) {
	known := of(r)
	lang := known.tongue.Lang
	v := &view{page: p, Lang: lang, Style: s.assets.Link("mall.css"), Script: s.assets.Link("mall." + lang + ".js"),
		Mall: s.mall.Name(), Visitor: known.visitor, Path: r.URL.RequestURI(), Query: r.URL.Query().Get("q"),
		Chat: origin(s.mall.Chat()), Came: r.URL.Query().Get("advert")}
	if r.Method != http.MethodGet {
		v.Path = "/"
	}
	if m := known.visitor.Member; m != nil {
		n, err := s.store.BasketCount(r.Context(), m.ID)
		if err != nil {
			s.log.Warn("counting a basket", "err", err)
		}
		v.Basket = n
	}
	b := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(b)
	fill := func(name string) {
		b.Reset()
		if err := templates[lang].ExecuteTemplate(b, name, v); err != nil {
			panic(fmt.Sprintf("filling in a page: %v", err))
		}
	}
	fill(p.Template)
	v.Body = template.HTML(b.String())
	fill("page")
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Add("Vary", "Accept-Language, Cookie, Accept-Encoding")
	send(w, r, status, b.Bytes())
}

// bare answers with a page that has nothing of the mall around it.
func (s *Server) bare(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := templates[tongue(r).Lang].ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("filling in a page: %v", err))
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Vary", "Accept-Language, Cookie, Accept-Encoding")
	send(w, r, status, b.Bytes())
}

// buffers are used again for page after page.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// zips are the compressors, each of which has a memory of its own.
var zips = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil { // the level is a valid one
		panic(err)
	}
	return z
}}

// send writes an answer, compressed where the client takes that.
func send(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	if len(body) >= minZipped && assets.TakesGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := zips.Get().(*gzip.Writer)
		defer zips.Put(z)
		z.Reset(w) // an error of the client's connection is nobody's to read
		z.Write(body)
		z.Close()
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// notice answers with a page that says one thing: the words mall.KEY.title and
// mall.KEY.what.
func (s *Server) notice(w http.ResponseWriter, r *http.Request, status int, key string, values ...any) {
	t := tongue(r)
	s.page(w, r, status, page{Title: t.Say("mall." + key + ".title"), Template: "notice",
		Data: notice{t.HTML("mall."+key+".what", values...)}})
}

type notice struct{ What template.HTML }

func (s *Server) missing(w http.ResponseWriter, r *http.Request) {
	s.notice(w, r, http.StatusNotFound, "missing")
}

func (s *Server) tooOften(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	s.notice(w, r, http.StatusTooManyRequests, "often")
}

// failed answers for an act that did not succeed: what is not there or not allowed
// looks the same to whoever asks, and all else is trouble of ours.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, store.ErrUnknown), errors.Is(err, mall.ErrNotAllowed):
		s.missing(w, r)
	case errors.Is(err, store.ErrState):
		s.notice(w, r, http.StatusConflict, "changed")
	case r.Context().Err() != nil && errors.Is(err, r.Context().Err()):
		w.WriteHeader(http.StatusServiceUnavailable) // nobody reads it any more
	default:
		s.log.Error("answering a request", "route", r.Pattern, "err", err)
		w.Header().Set("Retry-After", "5")
		s.notice(w, r, http.StatusServiceUnavailable, "down")
	}
}

// see sends the browser to another page, after a form.
func see(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, path, http.StatusSeeOther)
}

// localPath is a path of this site, or / for anything else that a link may say.
func localPath(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// setCookie sets a cookie that scripts cannot read and that other sites' posts do not
// carry. A negative life removes it.
func (s *Server) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: s.https})
}

// pictureURL is the address of a picture of goods at a width that mall/picture makes.
func pictureURL(hash string, width int) string {
	return "/pictures/" + hash + "-" + strconv.Itoa(width) + ".jpg"
}

// isFile says whether a path is of files that are everybody's, so that who asks for one
// is not looked up.
func isFile(path string) bool {
	return strings.HasPrefix(path, "/assets/") || strings.HasPrefix(path, "/pictures/")
}
