// SPDX-License-Identifier: GPL-3.0-or-later

package imapd

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// folder is a line of LIST: a mailbox, or a name that has only others below it.
type folder struct {
	Status
	exists          bool
	children        bool
	subscribedBelow bool
}

// folders adds to the mailboxes the names between them that are none, such as that
// of a mailbox that was deleted and had others below it (RFC 3501 section 6.3.4).
func folders(boxes []Status) []*folder {
	byName := make(map[string]*folder, len(boxes))
	list := make([]*folder, 0, len(boxes))
	for _, box := range boxes {
		f := &folder{Status: box, exists: true}
		byName[box.Name] = f
		list = append(list, f)
	}
	for _, box := range boxes {
		for name := box.Name; ; {
			end := strings.LastIndex(name, Separator)
			if end <= 0 {
				break
			}
			name = name[:end]
			parent := byName[name]
			if parent == nil {
				parent = &folder{Status: Status{Name: name}}
				byName[name] = parent
				list = append(list, parent)
			}
			parent.children = true
			parent.subscribedBelow = parent.subscribedBelow || box.Subscribed
		}
	}
	slices.SortStableFunc(list, func(a, b *folder) int {
		if a.Name == Inbox || b.Name == Inbox {
			return boolInt(b.Name == Inbox) - boolInt(a.Name == Inbox)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// List implements imapserver.Session: LIST (RFC 5258, RFC 5819, RFC 6154) and LSUB.
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, o *imap.ListOptions) error {
	if len(patterns) == 0 { // what is between levels (RFC 3501 section 6.3.8)
		noSelect := []imap.MailboxAttr{imap.MailboxAttrNoSelect}
		return w.WriteList(&imap.ListData{Attrs: noSelect, Delim: rune(Separator[0])})
	}
	if o.ReturnStatus != nil && (o.ReturnStatus.NumDeleted || o.ReturnStatus.DeletedStorage) {
		return bad("Unknown STATUS data item")
	}
	boxes, err := s.account.Mailboxes()
	if err != nil {
		return s.answer("LIST", err)
	}
	match, err := matcher(ref, patterns)
	if err != nil {
		return err
	}
	for _, f := range folders(boxes) {
		if !match(f.Name) {
			continue
		}
		data := f.data(o)
		if data == nil {
			continue
		}
		if o.ReturnStatus != nil && f.exists {
			st := f.Status
			if o.ReturnStatus.NumRecent {
				if st, err = s.account.Status(f.Name, true); err != nil {
					continue // removed meanwhile
				}
			}
			data.Status = s.statusData(f.Name, &st)
		}
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

// data is the line of a folder; nil where it is not selected.
func (f *folder) data(o *imap.ListOptions) *imap.ListData {
	data := &imap.ListData{Delim: rune(Separator[0]), Mailbox: f.Name}
	below := o.SelectRecursiveMatch && f.subscribedBelow
	if o.SelectSubscribed && !f.Subscribed {
		if !below {
			return nil
		}
	}
	if o.SelectSpecialUse && f.Use == "" {
		return nil
	}
	if !f.exists {
		data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent, imap.MailboxAttrNoSelect)
	}
	if (o.SelectSubscribed || o.ReturnSubscribed) && f.Subscribed {
		data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
	}
	if f.children {
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
	} else {
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
	}
	if f.Use != "" {
		data.Attrs = append(data.Attrs, imap.MailboxAttr(f.Use))
	}
	if below {
		data.ChildInfo = &imap.ListDataChildInfo{Subscribed: true}
	}
	return data
}

const (
	maxPatterns = 16   // of one LIST
	maxPattern  = 1000 // octets, as of a name
)

// matcher compares names with patterns of LIST.
func matcher(ref string, patterns []string) (func(name string) bool, error) {
	if len(patterns) > maxPatterns {
		return nil, no(imap.ResponseCodeLimit, "Too many patterns")
	}
	full := make([]string, len(patterns))
	for i, p := range patterns {
		full[i] = ref + p
		if len(full[i]) > maxPattern {
			return nil, no(imap.ResponseCodeLimit, "Too long a pattern")
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(full, func(p string) bool {
			return matches(p, name) || name == Inbox && matches(strings.ToUpper(p), name)
		})
	}, nil
}

// matches compares a name with a pattern, in which * is any octets and % those of
// one level. It takes the product of their lengths at the most.
func matches(pattern, name string) bool {
	// ok[i]: the pattern so far is name[:i].
	ok := make([]bool, len(name)+1)
	ok[0] = true
	for p := range len(pattern) {
		ch := pattern[p]
		last := false // ok[i-1] before this octet of the pattern
		for i := range ok {
			now := ok[i]
			switch {
			case ch == '*':
				ok[i] = now || i > 0 && ok[i-1]
			case ch == '%':
				ok[i] = now || i > 0 && ok[i-1] && name[i-1] != Separator[0]
			default:
				ok[i] = last && name[i-1] == ch
			}
			last = now
		}
	}
	return ok[len(name)]
}
