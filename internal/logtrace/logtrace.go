// SPDX-License-Identifier: GPL-3.0-or-later

// Package logtrace finds in a server's log what belongs to one mail, one conversation,
// one link or one address.
//
// It reads the log several times: first for the lines that name what is asked for, then
// for those that share an ID with them, until nothing new is found. A mail has a msg_id,
// which its copies extend (4f1b-1), and a message_id; a link has a name; a conversation
// has a room and attempts.
package logtrace

import (
	"bufio"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
)

const (
	maxPasses = 4
	maxLine   = 64 << 10
	maxIDs    = 1000
)

// Line is a line of the log.
type Line struct {
	Text   string // as the log has it
	fields map[string]any
}

// shared are the fields by which lines belong together.
var shared = []string{"msg_id", "message_id", "link", "attempt", "report"}

// Find returns the newest lines, up to a number, that belong to one of several names, the
// newest first. open opens the log anew, oldest line first.
func Find(open func() (io.ReadCloser, error), limit int, names ...string) ([]Line, error) {
	wanted := make(map[string]bool)
	rooms := make(map[string]bool) // a room leads to all its lines, but a mail of it not to all others
	for _, n := range names {
		wanted[base(strings.ToLower(n))] = true
	}
	first := wanted
	ids := wanted
	var found []Line
	for range maxPasses {
		found = nil
		more := make(map[string]bool)
		err := each(open, func(l Line) {
			if !l.names(ids, rooms) && !l.mentions(first) {
				return
			}
			if found = append(found, l); len(found) > 2*limit {
				found = append(found[:0], found[len(found)-limit:]...)
			}
			for _, key := range shared {
				if v := l.id(key); v != "" && !ids[v] {
					more[v] = true
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for _, l := range found { // whoever asks for a link or an attempt wants its conversation
			if room := l.id("room"); room != "" && l.opens(first) && !rooms[room] {
				rooms[room] = true
				more[room] = true
			}
		}
		if len(more) == 0 || len(ids) > maxIDs {
			break
		}
		next := make(map[string]bool)
		for _, of := range []map[string]bool{ids, more} {
			for id := range of {
				next[id] = true
			}
		}
		ids = next
	}
	found = found[max(0, len(found)-limit):]
	slices.Reverse(found)
	return found, nil
}

// each reads the log.
func each(open func() (io.ReadCloser, error), do func(Line)) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	b := bufio.NewReaderSize(r, maxLine)
	for {
		text, long, err := b.ReadLine()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		for rest := long; rest && err == nil; {
			_, rest, err = b.ReadLine()
		}
		tab := strings.IndexByte(string(text), '\t')
		l := Line{Text: string(text)}
		if tab < 0 || json.Unmarshal(text[tab+1:], &l.fields) != nil || len(l.fields) == 0 {
			continue
		}
		do(l)
	}
}

// id is the value of a field, as IDs are compared.
func (l *Line) id(key string) string {
	v, _ := l.fields[key].(string)
	if v == "" {
		return ""
	}
	return base(strings.ToLower(v))
}

// copied is what the IDs of copies have behind that of their mail: -1, .2, -1.2, and the
// time of a try that maddy's queue adds.
var copied = regexp.MustCompile(`^([0-9a-f]{8}|once-[0-9a-f]+)([-.][0-9a-f]{1,8})+$`)

// base is the ID of the mail of which this one is a copy.
func base(id string) string {
	if m := copied.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return id
}

// names says whether a line has one of the IDs.
func (l *Line) names(ids, rooms map[string]bool) bool {
	for _, key := range shared {
		if v := l.id(key); v != "" && ids[v] {
			return true
		}
	}
	return rooms[l.id("room")]
}

// mentions says whether a field of a line is what was asked for, such as an address.
func (l *Line) mentions(first map[string]bool) bool {
	for key := range l.fields {
		if v := l.id(key); v != "" && (first[v] || first[strings.Trim(v, "<>")] || first[host(v)]) {
			return true
		}
	}
	return false
}

// host is an address without its port.
func host(v string) string {
	if i := strings.LastIndexByte(v, ':'); i > 0 {
		return strings.Trim(v[:i], "[]")
	}
	return v
}

// opens says whether what was asked for is a link, an attempt or a room of this line.
func (l *Line) opens(first map[string]bool) bool {
	return first[l.id("link")] || first[l.id("attempt")] || first[l.id("room")]
}
