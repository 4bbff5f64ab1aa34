// SPDX-License-Identifier: GPL-3.0-or-later

package site

import "net/http"

func (s *Server) catalogueRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.front)
}

func (s *Server) front(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, page{Title: s.mall.Name(), Template: "front", Wide: true})
}
