// SPDX-License-Identifier: GPL-3.0-or-later

// Package assets serves the files that pages are made of: scripts a language,
// style sheets, pictures. Bundles get addresses that change with their content.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/chmail/chmail/internal/words"
)

// Set is the files of one web server.
type Set struct {
	at    map[string]*asset // by URL path
	links map[string]string // URL path by the file's name
}

// asset is a file as it travels.
type asset struct {
	lang    string // of a script with words in it
	other   *asset // the same script in the next language, at the same address
	kind    string // Content-Type
	etag    string // without quotes
	caching string
	plain   []byte
	zipped  []byte // nil if that is not smaller
}

// Load reads the files. Bundles get names that change with their content, so that
// browsers keep them for ever. Files of static/ and the service worker keep their
// names, at the root; the service worker is there once in each language.
// needed are files without which there is no server.
func Load(files fs.FS, needed ...string) (*Set, error) {
	set := &Set{at: make(map[string]*asset), links: make(map[string]string)}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		a := &asset{kind: kindOf(name), etag: hex.EncodeToString(sum[:8]), plain: content, zipped: zip(content)}
		url := "/" + path.Base(name)
		switch {
		case path.Dir(name) == "static":
			a.caching = "public, max-age=86400"
		case strings.HasPrefix(name, "sw."):
			// A service worker keeps its address, and browsers look for a newer one.
			url, a.caching = "/sw.js", "no-cache"
			a.lang, a.other = langOf(name), set.at[url]
		default:
			ext := path.Ext(name)
			url = "/assets/" + strings.TrimSuffix(path.Base(name), ext) + "-" + a.etag + ext
			a.caching = "public, max-age=31536000, immutable"
		}
		set.links[name], set.at[url] = url, a
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the assets: %w", err)
	}
	for _, name := range needed {
		if set.links[name] == "" {
			return nil, fmt.Errorf("assets/%s is missing: run make build", name)
		}
	}
	return set, nil
}

// Link is the address of a file, such as "app.css" or "chat.ko.js"; empty: there is none.
func (s *Set) Link(name string) string { return s.links[name] }

// Paths are the addresses of all files.
func (s *Set) Paths() iter.Seq[string] { return maps.Keys(s.at) }

// langOf is the language of a bundle: "ko" of "sw.ko.js".
func langOf(name string) string {
	return strings.TrimPrefix(path.Ext(strings.TrimSuffix(name, ".js")), ".")
}

func kindOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".webmanifest":
		return "application/manifest+json"
	case ".js":
		return "text/javascript; charset=utf-8"
	default:
		if kind := mime.TypeByExtension(ext); kind != "" {
			return kind
		}
		return "application/octet-stream"
	}
}

func zip(content []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil { // the level is a valid one
		panic(err)
	}
	w.Write(content) // to memory: cannot fail
	w.Close()
	if b.Len() >= len(content) {
		return nil
	}
	return b.Bytes()
}

// Serve answers a request for one of the files, or reports that there is none.
func (s *Set) Serve(w http.ResponseWriter, r *http.Request) bool {
	a := s.at[r.URL.Path]
	if a == nil { // a path that the mux cleaned
		return false
	}
	h := w.Header()
	if a.other != nil {
		h.Add("Vary", "Accept-Language")
		for lang := words.In(r.Header.Get("Accept-Language")).Lang; a.lang != lang && a.other != nil; {
			a = a.other
		}
	}
	content, etag := a.plain, `"`+a.etag+`"`
	if a.zipped != nil {
		h.Add("Vary", "Accept-Encoding")
		if TakesGzip(r.Header.Get("Accept-Encoding")) {
			content, etag = a.zipped, `"`+a.etag+`-gz"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Cache-Control", a.caching)
	h.Set("ETag", etag)
	for _, known := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == etag || known == "*" {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
	return true
}

// TakesGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as gzip
// goes.
func TakesGzip(header string) bool {
	for _, coding := range strings.Split(header, ",") {
		name, params, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		q, given := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		weight, err := strconv.ParseFloat(q, 64)
		return !given || err == nil && weight > 0
	}
	return false
}
