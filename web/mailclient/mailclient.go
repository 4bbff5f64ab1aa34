// SPDX-License-Identifier: GPL-3.0-or-later

// Package mailclient writes what mail programs ask a server for, so that a person types
// only name, address and password: Thunderbird's autoconfig, Microsoft's Autodiscover and
// Apple's configuration profile. The login is the address. What is written depends on the
// domain alone: it tells nobody which addresses exist.
package mailclient

import (
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxAddress = 254     // octets (RFC 5321 section 4.5.3.1.3, without the angle brackets)
	maxRequest = 4 << 10 // octets of what Autodiscover is asked
)

// Names are the host names at which mail programs ask about a domain. The certificate must
// be for them, and the DNS must lead them here.
func Names(domain string) []string {
	return []string{"autoconfig." + domain, "autodiscover." + domain}
}

// Server is a port at which mail programs sign in. There is always TLS.
type Server struct {
	Protocol string `json:"protocol"` // "smtp", "imap" or "pop3"
	Port     int    `json:"port"`
	TLS      bool   `json:"tls"` // from the start; otherwise by STARTTLS
}

// Address splits a mail address, and returns its domain in ASCII and lower case.
func Address(typed string) (address, domain string, ok bool) {
	address = strings.TrimSpace(typed)
	at := strings.LastIndexByte(address, '@')
	odd := func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) || strings.ContainsRune(`<>"`, c) }
	if at < 1 || len(address) > maxAddress || !utf8.ValidString(address) || strings.ContainsFunc(address, odd) {
		return "", "", false
	}
	domain, err := idna.Lookup.ToASCII(address[at+1:])
	return address, domain, err == nil && domain != ""
}

// Asked is the domain that a request is about which names no address: that of the host.
func Asked(host string) string {
	for _, begin := range Names("") {
		if domain, ok := strings.CutPrefix(strings.ToLower(host), begin); ok {
			return domain
		}
	}
	return strings.ToLower(host)
}

// Account is what a program is told.
type Account struct {
	Domain  string   // in ASCII
	Address string   // as it was typed; empty: the program knows it
	Host    string   // at which the servers are
	Servers []Server // the better of a protocol first
}

// Whole says whether mail can be read and sent, so that there is something to tell.
func (a Account) Whole() bool { return len(a.of("smtp")) > 0 && len(a.incoming()) > 0 }

func (a Account) of(protocol string) (found []Server) {
	for _, s := range a.Servers {
		if s.Protocol == protocol {
			found = append(found, s)
		}
	}
	return found
}

// incoming are the servers for reading: a program takes the first that it likes.
func (a Account) incoming() []Server { return append(a.of("imap"), a.of("pop3")...) }

// Best are the first servers of each protocol, IMAP before POP3, sending last.
func (a Account) Best() (best []Server) {
	for _, protocol := range []string{"imap", "pop3", "smtp"} {
		if all := a.of(protocol); len(all) > 0 {
			best = append(best, all[0])
		}
	}
	return best
}

// document is XML with its declaration.
func document(v any) []byte {
	b, err := xml.MarshalIndent(v, "", "  ")
	if err != nil { // structs of strings and numbers
		panic(fmt.Sprintf("writing XML: %v", err))
	}
	return append([]byte(xml.Header), append(b, '\n')...)
}

type autoconfig struct {
	XMLName  xml.Name `xml:"clientConfig"`
	Version  string   `xml:"version,attr"`
	Provider struct {
		ID       string           `xml:"id,attr"`
		Domain   string           `xml:"domain"`
		Name     string           `xml:"displayName"`
		Short    string           `xml:"displayShortName"`
		Incoming []autoconfigPort `xml:"incomingServer"`
		Outgoing []autoconfigPort `xml:"outgoingServer"`
	} `xml:"emailProvider"`
}

type autoconfigPort struct {
	Type   string `xml:"type,attr"`
	Host   string `xml:"hostname"`
	Port   int    `xml:"port"`
	Socket string `xml:"socketType"`
	Login  string `xml:"username"`
	Auth   string `xml:"authentication"`
}

// Thunderbird is a config-v1.1.xml, which other programs read too. The program puts the
// address in itself.
func (a Account) Thunderbird() []byte {
	c := autoconfig{Version: "1.1"}
	ports := func(servers []Server) (all []autoconfigPort) {
		for _, s := range servers {
			p := autoconfigPort{s.Protocol, a.Host, s.Port, "STARTTLS", "%EMAILADDRESS%", "password-cleartext"}
			if s.TLS {
				p.Socket = "SSL"
			}
			all = append(all, p)
		}
		return all
	}
	p := &c.Provider
	p.ID, p.Domain, p.Name, p.Short = a.Domain, a.Domain, a.Domain, a.Domain
	p.Incoming, p.Outgoing = ports(a.incoming()), ports(a.of("smtp"))
	return document(c)
}

const (
	outlookRequest  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
	outlookResponse = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// ErrRequest: what Autodiscover was asked cannot be read, or is not about mail.
var ErrRequest = errors.New("this is no Autodiscover request for the settings of a mail program")

// ReadAutodiscover reads the address out of a request ([MS-OXDSCLI] section 2.2.3). The
// reader of XML knows no entities of the document's own and opens nothing.
func ReadAutodiscover(r io.Reader) (address string, err error) {
	body, err := io.ReadAll(io.LimitReader(r, maxRequest+1))
	if err != nil {
		return "", fmt.Errorf("reading what Autodiscover is asked: %w", err)
	}
	var asked struct {
		XMLName xml.Name `xml:"Autodiscover"`
		Request struct {
			Address string `xml:"EMailAddress"`
			Schema  string `xml:"AcceptableResponseSchema"`
		}
	}
	if len(body) > maxRequest || xml.Unmarshal(body, &asked) != nil || asked.XMLName.Space != outlookRequest ||
		strings.TrimSpace(asked.Request.Schema) != outlookResponse {
		return "", ErrRequest
	}
	return asked.Request.Address, nil
}

type autodiscover struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Response struct {
		Space   string `xml:"xmlns,attr"`
		Account struct {
			Type   string             `xml:"AccountType"`
			Action string             `xml:"Action"`
			Ports  []autodiscoverPort `xml:"Protocol"`
		}
	}
}

type autodiscoverPort struct {
	Type       string
	Server     string
	Port       int
	Domain     string `xml:"DomainRequired"`
	Login      string `xml:"LoginName,omitempty"`
	SPA        string
	SSL        string
	Encryption string
	Auth       string `xml:"AuthRequired"`
}

// Autodiscover answers Outlook ([MS-OXDSCLI] section 2.2.4) with the best port of each
// protocol.
func (a Account) Autodiscover() []byte {
	var d autodiscover
	d.Response.Space = outlookResponse
	d.Response.Account.Type, d.Response.Account.Action = "email", "settings"
	for _, s := range a.Best() {
		p := autodiscoverPort{Type: strings.ToUpper(s.Protocol), Server: a.Host, Port: s.Port, Domain: "off",
			Login: a.Address, SPA: "off", SSL: "on", Encryption: "TLS", Auth: "on"} // TLS: STARTTLS
		if s.TLS {
			p.Encryption = "SSL"
		}
		d.Response.Account.Ports = append(d.Response.Account.Ports, p)
	}
	return document(d)
}

// Apple is a configuration profile for the Mail of iPhone, iPad and Mac, with IMAP where it
// is served. It is not signed. about is said to whoever installs it.
func (a Account) Apple(about string) []byte {
	in, out := a.incoming()[0], a.of("smtp")[0]
	kind := "EmailTypeIMAP"
	if in.Protocol == "pop3" {
		kind = "EmailTypePOP"
	}
	// The same address has the same identifiers, so that a profile takes the place of an older one.
	sum := sha256.Sum256([]byte(a.Domain + "\x00" + strings.ToLower(a.Address)))
	parts := strings.Split(a.Domain, ".")
	slices.Reverse(parts)
	name := fmt.Sprintf("%s.mail.%x", strings.Join(parts, "."), sum[:4])
	payload := func(id, kind string, uuid []byte, more ...property) dictionary {
		return append(dictionary{
			{"PayloadDisplayName", a.Address}, {"PayloadIdentifier", id}, {"PayloadOrganization", a.Domain},
			{"PayloadType", kind}, {"PayloadUUID", uuidOf(uuid)}, {"PayloadVersion", 1},
		}, more...)
	}
	mail := payload(name+".account", "com.apple.mail.managed", sum[:16],
		property{"EmailAccountDescription", a.Address}, property{"EmailAccountType", kind},
		property{"EmailAddress", a.Address},
		property{"IncomingMailServerAuthentication", "EmailAuthPassword"},
		property{"IncomingMailServerHostName", a.Host}, property{"IncomingMailServerPortNumber", in.Port},
		property{"IncomingMailServerUseSSL", true}, property{"IncomingMailServerUsername", a.Address},
		property{"OutgoingMailServerAuthentication", "EmailAuthPassword"},
		property{"OutgoingMailServerHostName", a.Host}, property{"OutgoingMailServerPortNumber", out.Port},
		property{"OutgoingMailServerUseSSL", true}, property{"OutgoingMailServerUsername", a.Address},
		property{"OutgoingPasswordSameAsIncomingPassword", true})
	whole := payload(name, "Configuration", sum[16:], property{"PayloadDescription", about},
		property{"PayloadContent", mail})
	var b strings.Builder
	b.WriteString(xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" ` +
		`"http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n" + `<plist version="1.0">` + "\n")
	whole.write(&b)
	b.WriteString("</plist>\n")
	return []byte(b.String())
}

// uuidOf makes a name of 16 octets into a UUID (RFC 9562 section 5.8).
func uuidOf(octets []byte) string {
	u := slices.Clone(octets)
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return strings.ToUpper(fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
}

// dictionary is one of a property list; value is a string, a number, true, or one
// dictionary, which is written as an array.
type dictionary []property

type property struct {
	key   string
	value any
}

func (d dictionary) write(b *strings.Builder) {
	b.WriteString("<dict>\n")
	for _, p := range d {
		fmt.Fprintf(b, "<key>%s</key>", p.key)
		switch v := p.value.(type) {
		case string:
			b.WriteString("<string>")
			xml.EscapeText(b, []byte(v))
			b.WriteString("</string>\n")
		case int:
			fmt.Fprintf(b, "<integer>%d</integer>\n", v)
		case bool:
			b.WriteString("<true/>\n")
		case dictionary:
			b.WriteString("<array>\n")
			v.write(b)
			b.WriteString("</array>\n")
		}
	}
	b.WriteString("</dict>\n")
}
