// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"embed"
	"io/fs"
	"net/http"
	"slices"

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

// scripts are the pages that have one, and the conversation and the question of the chat page.
var scripts = []string{"chat", "talk", "gate", "desk", "landing", "offline", "register"}

// neededAssets are the files that the pages refer to.
func neededAssets() []string {
	needed := []string{"card.css", "app.css"}
	for _, name := range append(slices.Clone(scripts), "sw") {
		for _, lang := range words.Languages {
			needed = append(needed, name+"."+lang+".js")
		}
	}
	return needed
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	if !s.assets.Serve(w, r) {
		s.plainPage(w, r, http.StatusNotFound, "missing")
	}
}
