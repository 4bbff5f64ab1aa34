// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/durable"
)

// A mail is two files: ID.mail, the mail, and ID.json, which says to whom it goes. The
// mail is in the queue while ID.json is there. It is written last and removed first.
const (
	mailExt = ".mail"
	metaExt = ".json"
)

type spool struct{ dir string }

func (s spool) path(id, ext string) string { return filepath.Join(s.dir, id+ext) }

// write writes the content of a mail, synced, and returns its size.
func (s spool) write(id string, content io.Reader) (size int64, err error) {
	f, err := os.OpenFile(s.path(id, mailExt), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("queueing a mail: %w", err)
	}
	size, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return 0, fmt.Errorf("queueing a mail: %w", err)
	}
	return size, nil
}

// put writes what is known of a mail.
func (s spool) put(m *Mail) error {
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	return durable.WriteFile(s.path(m.ID, metaExt), text, 0o600)
}

// remove takes a mail out of the queue.
func (s spool) remove(id string) error {
	if err := os.Remove(s.path(id, metaExt)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return err
	}
	return s.removeContent(id)
}

func (s spool) removeContent(id string) error {
	if err := os.Remove(s.path(id, mailExt)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// read reads all mails. It removes what a process that ended left unfinished, unless
// the files are only looked at.
func (s spool) read(each func(*Mail), bad func(name string, err error)) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("opening the queue: %w", err)
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("opening the queue: %w", err)
	}
	there := make(map[string]bool)
	for _, f := range files {
		there[f.Name()] = true
	}
	for name := range there {
		if id, ok := strings.CutSuffix(name, ".meta"); ok && there[id+".header"] && there[id+".body"] {
			if there[id+metaExt] && there[id+mailExt] { // it was taken over, and a crash left the rest
				if err := s.removeOld(id); err != nil {
					bad(name, err)
				}
				continue
			}
			m, err := s.takeOver(id)
			if err != nil {
				bad(name, err)
				continue
			}
			each(m)
			continue
		}
		if id, ok := strings.CutSuffix(name, mailExt); ok && !there[id+metaExt] {
			_ = s.removeContent(id) // it was never acknowledged, or it is done
			continue
		}
		if strings.HasPrefix(name, ".") { // what durable.WriteFile had not finished
			_ = os.Remove(filepath.Join(s.dir, name))
			continue
		}
		id, ok := strings.CutSuffix(name, metaExt)
		if !ok {
			continue
		}
		var m Mail
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if err == nil && (m.ID != id || !there[id+mailExt]) {
			err = errors.New("its two files do not belong together")
		}
		if err != nil {
			bad(name, err)
			continue
		}
		each(&m)
	}
	return nil
}

// takeOver makes a mail that maddy's target.queue left in the folder one of this queue.
func (s spool) takeOver(id string) (*Mail, error) {
	text, err := os.ReadFile(s.path(id, ".meta"))
	if err != nil {
		return nil, err
	}
	var old struct {
		MsgMeta struct {
			OriginalRcpts map[string]string
			SMTPOpts      struct{ UTF8, RequireTLS bool }
		}
		From         string
		To           []string
		FirstAttempt time.Time
		TriesCount   map[string]int
	}
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, err
	}
	header, err := os.Open(s.path(id, ".header"))
	if err != nil {
		return nil, err
	}
	defer header.Close()
	body, err := os.Open(s.path(id, ".body"))
	if err != nil {
		return nil, err
	}
	defer body.Close()
	m := &Mail{ID: id, From: old.From, Arrived: old.FirstAttempt, UTF8: old.MsgMeta.SMTPOpts.UTF8,
		RequireTLS: old.MsgMeta.SMTPOpts.RequireTLS}
	for _, to := range old.To {
		m.Recipients = append(m.Recipients, Recipient{To: to, Original: old.MsgMeta.OriginalRcpts[to],
			Tries: old.TriesCount[to], Next: time.Now()})
	}
	if m.Size, err = s.write(id, io.MultiReader(header, body)); err != nil {
		return nil, err
	}
	if err := s.put(m); err != nil {
		return nil, err
	}
	return m, s.removeOld(id)
}

// removeOld removes the files of maddy's target.queue.
func (s spool) removeOld(id string) error {
	for _, ext := range []string{".meta", ".header", ".body"} {
		if err := os.Remove(s.path(id, ext)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
