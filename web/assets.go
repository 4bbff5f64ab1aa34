// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/chmail/chmail/internal/words"
)

// The bundles are made from web/ui by `make build`; what is in assets/static
// is kept as it is.
//
//go:embed assets/*
var assetFiles embed.FS

func embedded() fs.FS {
	sub, err := fs.Sub(assetFiles, "assets")
	if err != nil { // "assets" is a valid path
		panic(err)
	}
	return sub
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

// pageLinks are the addresses a page refers to.
type pageLinks struct {
	card, app string            // stylesheets: of a card, and of all that is more than one
	scripts   map[string]string // by page and language: "chat.ko"
}

// scripts are the pages that have one, and the conversation of the chat page.
var scripts = []string{"chat", "talk", "desk", "landing", "offline"}

// loadAssets gives the bundles names that change with their content, so that
// browsers keep them for ever. Files of static/ and the service worker keep
// their names, at the root; the service worker is there once in each language.
func loadAssets(files fs.FS) (map[string]*asset, pageLinks, error) {
	all := make(map[string]*asset)
	links := pageLinks{scripts: make(map[string]string)}
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
			a.lang, a.other = langOf(name), all[url]
		default:
			ext := path.Ext(name)
			url = "/assets/" + strings.TrimSuffix(path.Base(name), ext) + "-" + a.etag + ext
			a.caching = "public, max-age=31536000, immutable"
		}
		if page := strings.TrimSuffix(name, ".js"); page != name {
			links.scripts[page] = url
		}
		switch name {
		case "card.css":
			links.card = url
		case "app.css":
			links.app = url
		}
		all[url] = a
		return nil
	})
	if err != nil {
		return nil, links, fmt.Errorf("web: reading the assets: %w", err)
	}
	for _, name := range append(slices.Clone(scripts), "sw") {
		for _, lang := range words.Languages {
			if file := name + "." + lang; links.scripts[file] == "" {
				return nil, links, fmt.Errorf("web: assets/%s.js is missing: run make build", file)
			}
		}
	}
	for name, link := range map[string]string{"card": links.card, "app": links.app} {
		if link == "" {
			return nil, links, fmt.Errorf("web: assets/%s.css is missing: run make build", name)
		}
	}
	return all, links, nil
}

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

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	a := s.assets[r.URL.Path]
	if a == nil { // a path that the mux cleaned
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
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
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
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
			return
		}
	}
	h.Set("Content-Type", a.kind)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	w.Write(content)
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3) as far as gzip
// goes.
func acceptsGzip(header string) bool {
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
