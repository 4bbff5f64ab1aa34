// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/utf7"
)

// maildirFlags are Maildir's letters for system flags, in their order.
var maildirFlags = []struct {
	letter byte
	flag   string
}{{'D', `\Draft`}, {'F', `\Flagged`}, {'R', `\Answered`}, {'S', `\Seen`}, {'T', `\Deleted`}}

// eachMessage calls do for every message of an account.
func (s *Store) eachMessage(login string, do func(st Status, uid uint32, m *message, r *Reader) error) error {
	boxes, err := s.Mailboxes(login)
	if err != nil {
		return err
	}
	for _, st := range boxes {
		box, err := s.Mailbox(login, st.Name)
		if err != nil {
			return err
		}
		var failed error
		err = box.list(0, math.MaxUint32, func(uid uint32, m *message) bool {
			failed = do(st, uid, m, s.reader(box.id, uid, m))
			return failed == nil
		})
		if err = errors.Join(err, failed, box.Close()); err != nil {
			return fmt.Errorf("%s in %s: %w", st.Name, login, err)
		}
	}
	return nil
}

// ExportMaildir writes an account's mailboxes below dir as Maildir++: INBOX is
// dir itself, the others are its folders .NAME.
func (s *Store) ExportMaildir(ctx context.Context, login, dir string, progress func()) error {
	if err := makeMaildir(dir); err != nil {
		return err
	}
	return s.eachMessage(login, func(st Status, uid uint32, m *message, r *Reader) error {
		defer r.Close()
		to := dir
		if st.Name != Inbox {
			name, err := utf7.Encoding.NewEncoder().String(st.Name)
			if err != nil {
				return err
			}
			to = filepath.Join(dir, "."+strings.ReplaceAll(name, "/", "&AC8-"))
			if err := makeMaildir(to); err != nil {
				return err
			}
		}
		info := ":2,"
		for _, f := range maildirFlags {
			if m.flags&systemFlags[strings.ToLower(f.flag)] != 0 {
				info += string(f.letter)
			}
		}
		path := filepath.Join(to, "cur", fmt.Sprintf("%d.V%dU%d.chmail%s", m.date, st.Validity, uid, info))
		if err := writeMessage(path, r); err != nil {
			return err
		}
		date := time.Unix(m.date, 0)
		if err := os.Chtimes(path, date, date); err != nil {
			return err
		}
		progress()
		return ctx.Err()
	})
}

func makeMaildir(dir string) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func writeMessage(path string, r *Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = r.WriteTo(f)
	return errors.Join(err, f.Close())
}

// Importer takes messages into accounts; a *Store is one.
type Importer interface {
	CreateAccount(login string, folders ...Folder) error
	// Import puts size octets of body into one mailbox.
	Import(ctx context.Context, to Recipient, body io.Reader, size int64) error
}

var _ Importer = (*Store)(nil)

// Import stages the body and puts it into one mailbox.
func (s *Store) Import(ctx context.Context, to Recipient, body io.Reader, size int64) error {
	staged, err := s.Stage(io.LimitReader(body, size))
	if err != nil {
		return err
	}
	defer staged.Abort()
	if staged.Octets() != size {
		return fmt.Errorf("importing: %w", io.ErrUnexpectedEOF)
	}
	return staged.Put(ctx, []Recipient{to})
}

// ImportMaildir puts the messages of a Maildir and its Maildir++ folders into
// an account.
func ImportMaildir(ctx context.Context, to Importer, login, dir string, progress func()) error {
	dirs := map[string]string{dir: Inbox}
	folders, err := filepath.Glob(filepath.Join(dir, ".*", "cur"))
	if err != nil {
		return err
	}
	for _, cur := range folders {
		folder := filepath.Dir(cur)
		name, err := utf7.Encoding.NewDecoder().String(filepath.Base(folder)[1:])
		if err != nil {
			name = filepath.Base(folder)[1:]
		}
		dirs[folder] = name
	}
	for folder, mailbox := range dirs {
		for _, sub := range []string{"cur", "new"} {
			entries, err := os.ReadDir(filepath.Join(folder, sub))
			if err != nil {
				return err
			}
			sortByTime(entries)
			for _, e := range entries {
				if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
					continue
				}
				if err := importFile(ctx, to, Recipient{Login: login, Mailbox: mailbox},
					filepath.Join(folder, sub, e.Name())); err != nil {
					return fmt.Errorf("%s: %w", e.Name(), err)
				}
				progress()
			}
		}
	}
	return nil
}

// sortByTime sorts by the seconds that a Maildir name begins with.
func sortByTime(entries []os.DirEntry) {
	seconds := func(e os.DirEntry) int64 {
		first, _, _ := strings.Cut(e.Name(), ".")
		n, _ := strconv.ParseInt(first, 10, 64)
		return n
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int { return int(seconds(a) - seconds(b)) })
}

func importFile(ctx context.Context, to Importer, r Recipient, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r.Date = info.ModTime()
	if _, letters, ok := strings.Cut(filepath.Base(path), ":2,"); ok {
		for _, f := range maildirFlags {
			if strings.IndexByte(letters, f.letter) >= 0 {
				r.Flags = append(r.Flags, f.flag)
			}
		}
	}
	return to.Import(ctx, r, f, info.Size())
}

// ExportMbox writes one mailbox of an account in the mboxrd format, with LF
// line ends as programs expect them there.
func (s *Store) ExportMbox(ctx context.Context, login, mailbox string, w io.Writer, progress func()) error {
	out := bufio.NewWriter(w)
	err := s.eachMessage(login, func(st Status, _ uint32, m *message, r *Reader) error {
		defer r.Close()
		if st.Name != canonical(mailbox) {
			return nil
		}
		fmt.Fprintf(out, "From MAILER-DAEMON %s\n", time.Unix(m.date, 0).UTC().Format(time.ANSIC))
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 {
				line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
				if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
					out.WriteByte('>')
				}
				out.Write(line)
				out.WriteByte('\n')
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		out.WriteByte('\n')
		progress()
		return ctx.Err()
	})
	return errors.Join(err, out.Flush())
}

// ImportMbox puts the messages of an mbox file (mboxrd) into a mailbox, with
// CRLF line ends.
func ImportMbox(ctx context.Context, to Importer, login, mailbox string, in io.Reader, progress func()) error {
	lines := bufio.NewReader(in)
	var message bytes.Buffer
	var date time.Time
	started := false
	put := func() error {
		if !started {
			return nil
		}
		text := message.Bytes()
		if bytes.HasSuffix(text, []byte("\n\r\n")) || len(text) == 2 { // the empty line between messages
			text = text[:len(text)-2]
		}
		err := to.Import(ctx, Recipient{Login: login, Mailbox: mailbox, Date: date},
			bytes.NewReader(text), int64(len(text)))
		message.Reset()
		if err == nil {
			progress()
		}
		return err
	}
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && errors.Is(err, io.EOF) {
			return put()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if bytes.HasPrefix(line, []byte("From ")) {
			if err := put(); err != nil {
				return err
			}
			started, date = true, time.Time{}
			if _, when, ok := strings.Cut(string(line[5:]), " "); ok {
				date, _ = time.Parse(time.ANSIC, strings.TrimSpace(when))
			}
			continue
		}
		if !started {
			return errors.New("this is no mbox file: it does not begin with a line `From …`")
		}
		if bytes.HasPrefix(line, []byte(">")) && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			line = line[1:]
		}
		message.Write(line)
		message.WriteString("\r\n")
	}
}
