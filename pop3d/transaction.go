// SPDX-License-Identifier: GPL-3.0-or-later

package pop3d

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// number reads a message number and refuses one that is marked as deleted.
func (s *session) number(arg string) (n int, ok bool) {
	n, ok = parseNumber(arg)
	if !ok || n < 1 {
		s.fail("not a message number")
		return 0, false
	}
	if !s.listed() {
		return 0, false
	}
	if n > s.drop.Count() || s.isDeleted(n) {
		s.fail("no such message")
		return 0, false
	}
	return n, true
}

// listed makes sure that the maildrop is listed, or answers that it cannot be.
func (s *session) listed() bool {
	late, ok := s.drop.(LateLister)
	if !ok || s.known {
		return true
	}
	ctx, cancel := context.WithTimeout(s.srv.ctx, storageTimeout)
	defer cancel()
	if err := late.List(ctx); err != nil {
		s.srv.Log.Error("pop3d: listing a maildrop", "err", err, "login", s.login)
		s.fail("[SYS/TEMP] the maildrop cannot be listed just now")
		return false
	}
	s.known = true
	return true
}

// parseNumber reads up to nine decimal digits and nothing else.
func parseNumber(arg string) (int, bool) {
	if len(arg) == 0 || len(arg) > 9 || strings.Trim(arg, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(arg)
	return n, err == nil
}

func (s *session) isDeleted(n int) bool { return s.deleted != nil && s.deleted[n-1] }

// total is the count and the octets of the messages that are not marked.
func (s *session) total() (count int, octets int64) {
	if late, ok := s.drop.(LateLister); ok && s.ndeleted == 0 {
		return late.Count(), late.Total()
	}
	for n := 1; n <= s.drop.Count(); n++ {
		if !s.isDeleted(n) {
			count++
			octets += s.drop.Size(n)
		}
	}
	return count, octets
}

func (s *session) stat(arg string) error {
	if arg != "" {
		s.fail("STAT takes no argument")
		return nil
	}
	count, octets := s.total()
	s.ok(pair(count, strconv.FormatInt(octets, 10)))
	return nil
}

func (s *session) list(arg string) error {
	return s.listing(arg, func(n int) string { return strconv.FormatInt(s.drop.Size(n), 10) })
}

func (s *session) uidl(arg string) error {
	return s.listing(arg, func(n int) string { return s.drop.UIDL(n) })
}

// listing says one message's value, or every unmarked message's.
func (s *session) listing(arg string, value func(n int) string) error {
	if arg != "" {
		if n, ok := s.number(arg); ok {
			s.ok(pair(n, value(n)))
		}
		return nil
	}
	if !s.listed() {
		return nil
	}
	count, octets := s.total()
	s.ok(fmt.Sprintf("%d messages (%d octets)", count, octets))
	for n := 1; n <= s.drop.Count(); n++ {
		if !s.isDeleted(n) {
			s.reply(pair(n, value(n)))
		}
	}
	s.reply(".")
	return nil
}

func (s *session) retr(arg string) error {
	n, ok := s.number(arg)
	if !ok {
		return nil
	}
	return s.send(n, true, strconv.FormatInt(s.drop.Size(n), 10)+" octets", func(dst io.Writer, src io.Reader) error {
		_, err := io.Copy(dst, src)
		if err == nil {
			metricMessages.Inc()
		}
		return err
	})
}

func (s *session) top(arg string) error {
	first, second, _ := strings.Cut(arg, " ")
	lines, ok := parseNumber(second)
	if !ok {
		s.fail("TOP takes a message number and a number of lines")
		return nil
	}
	n, ok := s.number(first)
	if !ok {
		return nil
	}
	return s.send(n, false, "top of message follows", func(dst io.Writer, src io.Reader) error {
		return copyTop(dst, src, lines)
	})
}

// send streams message n, the whole of it or its top. Once it has begun, a
// failure ends the session: a message cut short must not look complete.
func (s *session) send(n int, whole bool, text string, copyTo func(io.Writer, io.Reader) error) error {
	body, err := s.drop.Open(s.srv.ctx, n, whole)
	if err != nil {
		s.srv.Log.Error("pop3d: opening a message", "err", err, "login", s.login, "uidl", s.drop.UIDL(n))
		if errors.Is(err, ErrDamaged) {
			s.fail("[SYS/PERM] the message is damaged on the server")
		} else {
			s.fail("[SYS/TEMP] the message cannot be read just now")
		}
		return nil
	}
	defer body.Close()
	s.ok(text)
	dots := dotWriter{w: s.out()}
	err = copyTo(&dots, body)
	metricOctets.Add(float64(dots.octets))
	if err == nil {
		err = dots.end()
	}
	if err != nil {
		return fmt.Errorf("pop3d: sending message %s: %w", s.drop.UIDL(n), err)
	}
	return nil
}

func (s *session) dele(arg string) error {
	n, ok := s.number(arg)
	if !ok {
		return nil
	}
	if s.deleted == nil {
		s.deleted = make([]bool, s.drop.Count())
	}
	s.deleted[n-1] = true
	s.ndeleted++
	s.ok("marked")
	return nil
}

func (s *session) rset(arg string) error {
	if arg != "" {
		s.fail("RSET takes no argument")
		return nil
	}
	s.deleted, s.ndeleted = nil, 0
	s.ok("marks removed")
	return nil
}

func (s *session) noop(arg string) error {
	if arg != "" {
		s.fail("NOOP takes no argument")
		return nil
	}
	s.ok("nothing done")
	return nil
}
