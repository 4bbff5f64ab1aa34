// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"errors"
	"html/template"
	"mime"
	"net/http"
	"net/url"

	"github.com/chmail/chmail/web/mailclient"
)

// MailPrograms are what people's mail programs are told about this server.
type MailPrograms struct {
	Host    string                     // at which mail is read and sent
	Servers func() []mailclient.Server // what there is, the better first
	Domain  func(domain string) bool   // whether mail of a domain, in ASCII, is here
}

// clientRoutes are how mail programs set themselves up, and how people do. They ask the
// configuration alone, and so say nothing of accounts.
func (s *Server) clientRoutes(mux *http.ServeMux) {
	if s.opts.MailPrograms == nil {
		return
	}
	mux.HandleFunc("GET /setup/mail", s.mailSetupPage)
	mux.HandleFunc("GET /setup/mail.mobileconfig", s.appleProfile)
	mux.HandleFunc("GET /mail/config-v1.1.xml", s.autoconfig)
	mux.HandleFunc("GET /.well-known/autoconfig/mail/config-v1.1.xml", s.autoconfig)
	for _, folder := range []string{"autodiscover", "Autodiscover", "AutoDiscover"} { // as programs write it
		mux.HandleFunc("GET /"+folder+"/"+folder+".xml", s.askedAutodiscover)
		mux.HandleFunc("POST /"+folder+"/"+folder+".xml", s.autodiscover)
	}
}

// mailAccount is what there is to tell about an address, or without one about a domain.
func (s *Server) mailAccount(typed, host string) (a mailclient.Account, ok bool) {
	domain := mailclient.Asked(host)
	if typed != "" {
		if typed, domain, ok = mailclient.Address(typed); !ok {
			return a, false
		}
	}
	mail := s.opts.MailPrograms
	a = mailclient.Account{Domain: domain, Address: typed, Host: mail.Host, Servers: mail.Servers()}
	return a, a.Whole() && mail.Domain(domain)
}

func sendXML(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	write(w, http.StatusOK, body)
}

// autoconfig answers Thunderbird and those that follow it.
func (s *Server) autoconfig(w http.ResponseWriter, r *http.Request) {
	a, ok := s.mailAccount(r.URL.Query().Get("emailaddress"), hostOf(r))
	if !ok {
		http.Error(w, "Mail of this domain is not here.", http.StatusNotFound)
		return
	}
	sendXML(w, a.Thunderbird())
}

// autodiscover answers Outlook, which posts XML with the address.
func (s *Server) autodiscover(w http.ResponseWriter, r *http.Request) {
	address, err := mailclient.ReadAutodiscover(r.Body)
	switch {
	case errors.Is(err, mailclient.ErrRequest):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case err == nil:
		s.answerAutodiscover(w, r, address)
	}
}

func (s *Server) askedAutodiscover(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	for _, name := range []string{"emailaddress", "EmailAddress", "email", "Email"} {
		if address := asked.Get(name); address != "" {
			s.answerAutodiscover(w, r, address)
			return
		}
	}
	s.answerAutodiscover(w, r, "")
}

func (s *Server) answerAutodiscover(w http.ResponseWriter, r *http.Request, address string) {
	a, ok := s.mailAccount(address, hostOf(r))
	if !ok {
		http.Error(w, "Mail of this domain is not here.", http.StatusNotFound)
		return
	}
	sendXML(w, a.Autodiscover())
}

// appleProfile is the configuration profile of an address.
func (s *Server) appleProfile(w http.ResponseWriter, r *http.Request) {
	typed := r.URL.Query().Get("address")
	a, ok := s.mailAccount(typed, "")
	if !ok || typed == "" {
		http.Redirect(w, r, "/setup/mail?address="+url.QueryEscape(typed), http.StatusSeeOther)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-apple-aspen-config")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{
		"filename": a.Domain + ".mobileconfig"}))
	write(w, http.StatusOK, a.Apple(s.tongue(r).Say("clients.apple.about", "address", a.Address)))
}

// mailSetupView is what the page at /setup/mail shows.
type mailSetupView struct {
	Address   string // as it was typed
	Elsewhere bool   // its mail is not here
	Host      string
	Servers   []mailclient.Server
	Kind      string // of the first server for reading: "IMAP"
	Profile   template.URL
}

// Programs are those that the page tells of.
func (mailSetupView) Programs() []string {
	return []string{"thunderbird", "outlook", "apple", "android"}
}

// Security is what programs call it.
func (v mailSetupView) Security(s mailclient.Server) string {
	if s.TLS {
		return "SSL/TLS"
	}
	return "STARTTLS"
}

// setupPage tells people how to set up a mail program. A form of it asks for the address,
// which no script has to read.
func (s *Server) mailSetupPage(w http.ResponseWriter, r *http.Request) {
	typed := r.URL.Query().Get("address")
	a, ok := s.mailAccount(typed, "")
	view := mailSetupView{Address: a.Address, Elsewhere: typed != "" && !ok, Host: s.opts.MailPrograms.Host}
	if all := (mailclient.Account{Servers: s.opts.MailPrograms.Servers()}); all.Whole() {
		view.Servers, view.Kind = all.Best(), "IMAP"
		if view.Servers[0].Protocol == "pop3" {
			view.Kind = "POP3"
		}
	}
	if view.Elsewhere {
		view.Address = typed
	} else if typed != "" {
		view.Profile = template.URL("/setup/mail.mobileconfig?address=" + url.QueryEscape(a.Address))
	}
	title := s.tongue(r).Say("clients.title")
	s.page(w, r, http.StatusOK, shown{title: title, template: "mail-setup", with: view, more: true})
}
