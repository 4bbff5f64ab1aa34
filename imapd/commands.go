// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-imap/utf7"

	"github.com/chmail/chmail/guard/reputation"
)

// capabilities are what the client may use now.
func (c *conn) capabilities() []string {
	caps := []string{"IMAP4rev1", "SASL-IR", "LITERAL-", "ID", "ENABLE"}
	s := c.session
	if s.account == nil {
		if c.mayStartTLS() {
			caps = append(caps, "STARTTLS")
		}
		if !c.maySignIn() {
			return append(caps, "LOGINDISABLED")
		}
		for _, mechanism := range s.AuthenticateMechanisms() {
			caps = append(caps, "AUTH="+mechanism)
		}
		return caps
	}
	caps = append(caps, "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "CHILDREN", "SPECIAL-USE",
		"CREATE-SPECIAL-USE", "LIST-EXTENDED", "LIST-STATUS", "STATUS=SIZE", "ESEARCH", "SEARCHRES", "UTF8=ACCEPT",
		"QUOTA", "QUOTA=RES-STORAGE")
	if limit := c.srv.Store.AppendLimit(); limit > 0 {
		caps = append(caps, fmt.Sprintf("APPENDLIMIT=%d", limit))
	}
	return caps
}

func (c *conn) mayStartTLS() bool { return c.srv.TLS != nil && !c.secure && c.session.account == nil }

// maySignIn says whether passwords may be said on this connection.
func (c *conn) maySignIn() bool { return c.secure || c.srv.InsecureAuth }

// begin looks at the first line of a command, and answers it where the library
// cannot: then it is read to its end.
func (c *conn) begin(line []byte) (answered bool, err error) {
	c.session.awaitIdle()
	tag, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(" "))
	if len(tag) == 0 && len(rest) == 0 {
		return true, nil // an empty line
	}
	if reputation.Foreign(line) {
		c.srv.Reputation.Fault(c.remote, reputation.Probe)
		return true, io.EOF
	}
	if !validTag(tag) {
		return true, c.respond([]byte("* BAD Not a tag\r\n"))
	}
	name, args, _ := bytes.Cut(rest, []byte(" "))
	command := strings.ToUpper(string(name))
	c.append, c.idle = command == "APPEND", command == "IDLE"
	s := c.session
	if s.account != nil {
		s.seen()
	}
	var run func(tag string, args []byte) error
	switch command {
	case "CAPABILITY":
		run = c.capability
	case "STARTTLS":
		run = c.startTLS
	case "ID":
		run = c.id
	case "GETQUOTA", "GETQUOTAROOT":
		if s.account == nil {
			return true, c.tagged(string(tag), "BAD Sign in first")
		}
		run = s.quotaRoot
		if command == "GETQUOTA" {
			run = s.quota
		}
	default:
		return false, nil
	}
	label := string(tag) // line goes with the next one
	args, ok, err := c.whole(bytes.Clone(args))
	if err != nil {
		return true, err
	}
	if !ok {
		return true, c.tagged(label, "BAD Too long a command")
	}
	return true, run(label, args)
}

// validTag: a tag is what may stand in an atom, but no + (RFC 3501 section 9).
func validTag(tag []byte) bool {
	return len(tag) > 0 && len(tag) <= maxTag && !bytes.ContainsFunc(tag, func(r rune) bool {
		return r <= ' ' || r >= 0x7F || strings.ContainsRune(`(){%*"\]+`, r)
	})
}

// whole reads the literals of a command that is answered here, and returns its
// arguments with the literals in them; ok is false if they are too long.
func (c *conn) whole(args []byte) (_ []byte, ok bool, err error) {
	for {
		size, sync, ok := announced(args)
		if !ok {
			return bytes.TrimRight(args, "\r\n"), true, nil
		}
		if size > maxLiteral || len(args) > 2*maxLiteral {
			if sync {
				return nil, false, nil
			}
			return nil, false, c.bye("Too long a literal")
		}
		c.inside = true
		literal, err := c.collect(size, sync)
		if err != nil {
			return nil, false, err
		}
		args = append(append(args, "\r\n"...), literal...)
		line, err := c.line()
		c.inside = false
		if err != nil {
			return nil, false, err
		}
		args = append(args, bytes.TrimRight(line, "\r\n")...)
	}
}

func (c *conn) tagged(tag, text string) error { return c.respond([]byte(tag + " " + text + "\r\n")) }

func (c *conn) capability(tag string, _ []byte) error {
	return c.respond([]byte("* CAPABILITY " + strings.Join(c.capabilities(), " ") + "\r\n" +
		tag + " OK CAPABILITY completed\r\n"))
}

// id is ID (RFC 2971). What the client says of itself is not kept.
func (c *conn) id(tag string, _ []byte) error {
	return c.respond([]byte("* ID (\"name\" \"CHmail\")\r\n" + tag + " OK ID completed\r\n"))
}

// startTLS begins encryption (RFC 3501 section 6.2.1).
func (c *conn) startTLS(tag string, args []byte) error {
	switch {
	case len(args) > 0:
		return c.tagged(tag, "BAD STARTTLS takes no argument")
	case c.secure:
		return c.tagged(tag, "BAD The connection is encrypted")
	case c.srv.TLS == nil:
		return c.tagged(tag, "NO Encryption is not available")
	case c.session.account != nil:
		return c.tagged(tag, "BAD You are signed in")
	}
	// Whatever came in plaintext behind STARTTLS may be someone else's words, to be
	// taken for the client's after the handshake.
	if len(c.in) > 0 {
		metricInjected.Inc()
		c.srv.Log.Info("imapd: discarded plaintext behind STARTTLS", "addr", c.remote)
		c.in = nil
	}
	c.mu.Lock()
	err := c.put([]byte(tag + " OK Begin TLS\r\n"))
	if err == nil {
		err = c.flush()
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.tls = tls.Server(c.base, c.srv.TLS)
	c.Conn = c.tls
	c.mu.Unlock()
	if err := c.handshake(); err != nil {
		return errEnded
	}
	return nil
}

// quotaName is the one quota root of an account.
const quotaName = `""`

// quotaRoot is GETQUOTAROOT (RFC 9208 section 4.1.2).
func (s *session) quotaRoot(tag string, args []byte) error {
	name, rest := readString(args)
	if len(rest) > 0 || name == "" {
		return s.c.tagged(tag, "BAD GETQUOTAROOT takes a mailbox")
	}
	mailbox, err := decodeName(name)
	if err != nil {
		return s.c.tagged(tag, "BAD Not a name of a mailbox")
	}
	if _, err := s.account.Status(mailbox, false); err != nil {
		return s.c.tagged(tag, status(s.answer("GETQUOTAROOT", err)))
	}
	root := appendString(nil, name, s.utf8())
	return s.writeQuota(tag, fmt.Sprintf("* QUOTAROOT %s %s\r\n", root, quotaName), "GETQUOTAROOT")
}

// quota is GETQUOTA (RFC 9208 section 4.1.1).
func (s *session) quota(tag string, args []byte) error {
	if string(args) != quotaName {
		return s.c.tagged(tag, "NO [NONEXISTENT] No such quota root")
	}
	return s.writeQuota(tag, "", "GETQUOTA")
}

// writeQuota answers with what is used, in units of 1,024 octets. Without a bound
// there is nothing to list (RFC 9208 section 5.1).
func (s *session) writeQuota(tag, before, command string) error {
	used, limit, err := s.account.Quota()
	if err != nil {
		return s.c.tagged(tag, status(s.answer(command, err)))
	}
	resource := ""
	if limit > 0 {
		resource = fmt.Sprintf("STORAGE %d %d", (used+1023)/1024, limit/1024)
	}
	return s.c.respond([]byte(before + "* QUOTA " + quotaName + " (" + resource + ")\r\n" +
		tag + " OK " + command + " completed\r\n"))
}

// readString reads a string or an atom and what comes behind it.
func readString(b []byte) (string, []byte) {
	if size, _, ok := announced(firstLine(b)); ok {
		b = b[bytes.IndexByte(b, '\n')+1:]
		return string(b[:size]), b[size:]
	}
	if len(b) == 0 || b[0] != '"' {
		word, rest, _ := bytes.Cut(b, []byte(" "))
		return string(word), rest
	}
	var s []byte
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return string(s), b[i+1:]
		case '\\':
			if i++; i == len(b) {
				return "", b
			}
		}
		s = append(s, b[i])
	}
	return "", b
}

func firstLine(b []byte) []byte {
	if end := bytes.IndexByte(b, '\n'); end >= 0 {
		return b[:end+1]
	}
	return nil
}

// decodeName reads a mailbox name: UTF-8, or modified UTF-7 (RFC 3501 section 5.1.3).
func decodeName(name string) (string, error) {
	if strings.EqualFold(name, Inbox) {
		return Inbox, nil
	}
	return utf7.Encoding.NewDecoder().String(name)
}
