// SPDX-License-Identifier: GPL-3.0-or-later

package reply

import (
	"errors"
	"net/mail"
	"strings"

	"github.com/emersion/go-message/textproto"
	"github.com/emersion/go-msgauth/authres"
	"github.com/foxcpp/maddy/framework/module"
	"golang.org/x/net/publicsuffix"
)

// Why it is not known that a mail comes from the address in its From field.
var (
	errUnproven = errors.New("reply: nothing shows that the answer comes from its sender")
	errNoAnswer = errors.New("reply: whether the answer comes from its sender cannot be found out now")
)

// proven returns nil when a mail comes from the address in its From field: that
// login submitted it, or the checks of the pipeline in front found that the
// address's domain sent it. hostname is the name under which they say so.
func proven(meta *module.MsgMetadata, header textproto.Header, hostname string) error {
	from := header.Values("From")
	if meta.Quarantine || len(from) != 1 {
		return errUnproven
	}
	sender, err := mail.ParseAddress(from[0])
	if err != nil {
		return errUnproven
	}
	if meta.Conn != nil && meta.Conn.AuthUser != "" {
		if strings.EqualFold(meta.Conn.AuthUser, sender.Address) {
			return nil
		}
		return errUnproven
	}
	domain := sender.Address[strings.LastIndexByte(sender.Address, '@')+1:]
	later := false
	for _, r := range results(header, hostname) {
		var value authres.ResultValue
		var of string
		switch r := r.(type) {
		case *authres.DMARCResult:
			value, of = r.Value, r.From
		case *authres.DKIMResult:
			value, of = r.Value, r.Domain
		case *authres.SPFResult:
			value, of = r.Value, r.From[strings.LastIndexByte(r.From, '@')+1:]
		}
		if value == authres.ResultPass && aligned(of, domain) {
			return nil
		}
		later = later || value == authres.ResultTempError
	}
	if later {
		return errNoAnswer
	}
	return errUnproven
}

// results are what our own checks have found. The pipeline puts them above its
// Received field; what stands below that came from outside (RFC 8601 section 5).
func results(header textproto.Header, hostname string) (all []authres.Result) {
	for f := header.Fields(); f.Next(); {
		switch strings.ToLower(f.Key()) {
		case "received":
			return all
		case "authentication-results":
			// Clients choose what stands in quotes, like the name they say they have.
			// authres looks for semicolons in there too, and escapes no backslash.
			value := strings.Split(f.Value(), `"`)
			if strings.Contains(f.Value(), `\`) || len(value)%2 == 0 {
				continue
			}
			for i := 1; i < len(value); i += 2 {
				value[i] = "quoted"
			}
			id, found, err := authres.Parse(strings.Join(value, ""))
			if err == nil && strings.EqualFold(id, hostname) {
				all = append(all, found...)
			}
		}
	}
	return nil // no Received field: nobody knows whose the results are
}

// aligned says whether two domains belong to one organization (RFC 7489 section 3.1).
func aligned(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if a == "" || b == "" || a == b {
		return a == b && a != ""
	}
	orgA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	orgB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && orgA == orgB
}
