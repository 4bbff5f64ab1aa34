// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// systemFlags are those that a client may set.
var systemFlags = []string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}

// Select implements imapserver.Session: SELECT and EXAMINE.
func (s *session) Select(name string, o *imap.SelectOptions) (*imap.SelectData, error) {
	box, err := s.account.Open(name)
	if err != nil {
		return nil, s.answer("SELECT", err)
	}
	v := newView(box, name, !o.ReadOnly)
	data := &imap.SelectData{}
	keywords := make(map[string]bool)
	var uids []uint32
	st, err := box.Watch(v, v.write, func(m Message) {
		uids = append(uids, m.UID)
		if data.FirstUnseenSeqNum == 0 && !slices.Contains(m.Flags, `\Seen`) {
			data.FirstUnseenSeqNum = uint32(len(uids))
		}
		for _, f := range m.Flags {
			if !strings.HasPrefix(f, `\`) {
				keywords[f] = true
			}
		}
	})
	if err != nil {
		_ = box.Close()
		return nil, s.answer("SELECT", err)
	}
	data.NumRecent = v.begin(uids, st)
	data.NumMessages = uint32(len(uids))
	data.UIDNext, data.UIDValidity = imap.UID(st.Next), st.Validity
	data.Flags = imapFlags(systemFlags)
	for k := range keywords {
		data.Flags = append(data.Flags, imap.Flag(k))
	}
	slices.Sort(data.Flags[len(systemFlags):])
	if v.write {
		data.PermanentFlags = append(slices.Clone(data.Flags), imap.FlagWildcard)
	}
	s.view = v
	return data, nil
}

// Unselect implements imapserver.Session.
func (s *session) Unselect() error {
	if s.view == nil {
		return nil
	}
	v := s.view
	s.view, s.parts = nil, cache{}
	return v.box.Close()
}

// Poll implements imapserver.Session: it tells what waits before a command's end.
func (s *session) Poll(w *imapserver.UpdateWriter, expunge bool) error {
	if s.view == nil {
		return nil
	}
	return s.view.sync(w, expunge)
}

// Idle implements imapserver.Session. The library runs it in a goroutine of its
// own until the client ends it.
func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	defer func() { s.idled <- struct{}{} }()
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	var news chan struct{}
	v := s.view
	if v != nil {
		news = v.news
	}
	for {
		select {
		case <-news:
			if err := v.sync(w, true); err != nil {
				return err
			}
		case <-renew.C:
			s.renew()
		case <-stop:
			return nil
		}
	}
}

// awaitIdle waits for the end of Idle. The library does not, when the client ends
// it otherwise than by DONE.
func (s *session) awaitIdle() {
	if s.c.idles {
		s.c.idles = false
		<-s.idled
	}
}

// errReadOnly: the mailbox was only examined.
var errReadOnly = no(imap.ResponseCodeNoPerm, "The mailbox is open for reading only")

// Expunge implements imapserver.Session: EXPUNGE, UID EXPUNGE, and CLOSE, which
// removes nothing of a mailbox that was only examined (RFC 3501 section 6.4.2).
func (s *session) Expunge(w *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	v := s.view
	if !v.write && uids == nil {
		return nil
	}
	if !v.write {
		return errReadOnly
	}
	places := v.all()
	if uids != nil {
		var err error
		if places, err = v.resolve(*uids); err != nil {
			return err
		}
	}
	if len(places) > 0 {
		var marked []uint32
		err := s.each(places, func(_ place, m Message) bool {
			if slices.Contains(m.Flags, `\Deleted`) {
				marked = append(marked, m.UID)
			}
			return true
		})
		if err == nil && len(marked) > 0 {
			err = v.box.Remove(marked)
		}
		if err != nil {
			return s.answer("EXPUNGE", err)
		}
	}
	return v.tellGone(w.WriteExpunge)
}

// each calls do for the messages at these places, in order, until it returns false.
// Those that are gone are left out.
func (s *session) each(places []place, do func(place, Message) bool) error {
	for len(places) > 0 {
		// Messages whose UIDs lie close together are read in one go.
		n := 1
		for n < len(places) && places[n].uid-places[n-1].uid <= 8 {
			n++
		}
		run := places[:n]
		enough := false
		i := 0
		err := s.view.box.Messages(run[0].uid, run[n-1].uid, func(m Message) bool {
			for i < n && run[i].uid < m.UID {
				i++
			}
			if i < n && run[i].uid == m.UID {
				enough = !do(run[i], m)
			}
			return !enough
		})
		if err != nil || enough {
			return err
		}
		places = places[n:]
	}
	return nil
}

// Store implements imapserver.Session.
func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, f *imap.StoreFlags, _ *imap.StoreOptions) error {
	v := s.view
	if !v.write {
		return errReadOnly
	}
	places, err := v.resolve(set)
	if err != nil {
		return err
	}
	how := SetFlags
	switch f.Op {
	case imap.StoreFlagsAdd:
		how = AddFlags
	case imap.StoreFlagsDel:
		how = RemoveFlags
	}
	flags := make([]string, len(f.Flags))
	for i, flag := range f.Flags {
		flags[i] = string(flag)
	}
	changed, err := v.box.Change(uidsAt(places), how, flags, v)
	if err != nil {
		return s.answer("STORE", err)
	}
	if f.Silent {
		return nil
	}
	_, byUID := set.(imap.UIDSet)
	items := &fetchItems{FetchOptions: &imap.FetchOptions{UID: byUID}}
	for _, p := range places {
		if len(changed) == 0 || changed[0].UID != p.uid {
			continue // removed by another session
		}
		r := fetchAnswer{seq: p.seq, m: changed[0]}
		r.begin(items, v.flags(r.m), true)
		changed = changed[1:]
		if err := s.c.respond(append(r.b, ")\r\n"...)); err != nil {
			return err
		}
	}
	return nil
}

// Copy implements imapserver.Session.
func (s *session) Copy(set imap.NumSet, dest string) (*imap.CopyData, error) {
	return s.transfer(set, dest, false)
}

// Move implements imapserver.SessionMove.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, dest string) error {
	if !s.view.write {
		return errReadOnly
	}
	copied, err := s.transfer(set, dest, true)
	if err != nil {
		return err
	}
	if copied != nil {
		if err := w.WriteCopyData(copied); err != nil {
			return err
		}
	}
	return s.view.tellGone(w.WriteExpunge)
}

func (s *session) transfer(set imap.NumSet, dest string, move bool) (*imap.CopyData, error) {
	places, err := s.view.resolve(set)
	if err != nil {
		return nil, err
	}
	copied, err := s.view.box.Transfer(uidsAt(places), dest, move)
	if errors.Is(err, ErrNoMailbox) {
		return nil, no(imap.ResponseCodeTryCreate, "There is no such mailbox")
	}
	if err != nil {
		return nil, s.answer("COPY", err)
	}
	if len(copied.To) == 0 {
		return nil, nil
	}
	data := &imap.CopyData{UIDValidity: copied.Validity}
	for i, uid := range copied.From {
		data.SourceUIDs.AddNum(imap.UID(uid))
		data.DestUIDs.AddNum(imap.UID(copied.To[i]))
	}
	return data, nil
}
