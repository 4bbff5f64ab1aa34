// SPDX-License-Identifier: GPL-3.0-or-later

package config

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// Server is what differs between one server's configuration and another's.
type Server struct {
	Domain   string // the mail domain: mall.example
	Host     string // name of this machine, in links and headers: chat.mall.example
	Web      string // base of the links: https://chat.mall.example
	Mall     string // base of the mall: https://www.mall.example; "" is no mall
	StateDir string
	RunDir   string
	Cert     string // PEM files; "" is certificates from an authority, which the server gets itself
	Key      string
	CA       string // the authority's directory; "" is Let's Encrypt
	CARoot   string // PEM file: whom to trust as its server; "": the system's
	Proxy    bool   // the pages are behind a proxy on this machine, which ends TLS
	Presence string // "" is in process; redis://… is shared
	Database string // sqlite:rooms.db or postgres://…
	Ports    string // the range to grant, "20000-29999"
	Rspamd   bool   // rspamd is installed here, and looks at the mail that comes in

	Demo    bool // loopback only: no DNS, nothing leaves, passwords without TLS allowed
	Listen  Listeners
	Landing string // JSON for the demo's landing page
}

// Listeners are the addresses of the endpoints as host:port.
type Listeners struct {
	Web, Submission, SMTP, POP3, IMAP, Metrics, Mall string
}

//go:embed maddy.conf.tmpl
var confText string

var conf = template.Must(template.New("maddy.conf").
	Funcs(template.FuncMap{"quote": quote}).Parse(confText))

// Template writes the configuration of a server.
func Template(w io.Writer, s Server) error {
	if err := conf.Execute(w, s); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// quote writes a value so that maddy's lexer, to which a backslash means
// something only before a quote, reads it back as one argument.
func quote(s string) string {
	return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
}

// Example is the server of maddy.conf.example: a mall on one machine.
var Example = Server{
	Domain:   "mall.example",
	Host:     "chat.mall.example",
	Web:      "https://chat.mall.example",
	Mall:     "https://www.mall.example:8443",
	StateDir: "/var/lib/chmail",
	RunDir:   "/run/chmail",
	Database: "sqlite:rooms.db",
	Ports:    "20000-29999",
}
