// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"net/http"

	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/store"
)

// looked is one act of the audit trail, in words.
type looked struct {
	store.Audit
	What string
}

// auditTrail is a part of the audit trail of a shop, or of the whole mall, and where the
// next part is.
func (s *Server) auditTrail(r *http.Request, shop string) (list []looked, more string, err error) {
	rows, err := s.store.AuditTrail(r.Context(), shop, r.URL.Query().Get("before"), listed+1)
	if len(rows) > listed {
		rows = rows[:listed]
		more = "?before=" + rows[listed-1].ID
	}
	for _, row := range rows {
		list = append(list, looked{row, actWords(tongue(r), row.Act)})
	}
	return list, more, err
}

// actWords says what somebody did; an act without words is shown as it is stored.
func actWords(t words.Tongue, act string) string {
	if key := "console.did." + act; t.Say(key) != key {
		return t.Say(key)
	}
	return act
}

// audit shows a shop's owner what its people did with the data of others.
func (s *Server) audit(w http.ResponseWriter, r *http.Request, c visit) {
	list, more, err := s.auditTrail(r, c.Shop.ID)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.show(w, r, http.StatusOK, "audit", consoleData{visit: c, More: more, Data: list})
}

// operatorAudit shows the operator what everybody did. That look is written down, too.
func (s *Server) operatorAudit(w http.ResponseWriter, r *http.Request) {
	v := visitor(r)
	if !v.Operator {
		s.missing(w, r)
		return
	}
	err := s.store.AddAudit(r.Context(), store.Audit{Actor: v.Login, Role: store.ActorOperator, Act: "audit.read"})
	var list []looked
	var more string
	if err == nil {
		list, more, err = s.auditTrail(r, "")
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, page{Title: tongue(r).Say("console.audit"), Template: "operator-audit", Wide: true,
		Data: consoleData{More: more, Data: list}})
}
