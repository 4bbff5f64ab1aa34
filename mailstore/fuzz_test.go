// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzRecords: whatever lies under a key, reading it ends in a record or an
// error, and a record that was read is written as one that reads the same.
func FuzzRecords(f *testing.F) {
	f.Add((&message{body: 7, kind: bodyShared, octets: 100, bare: 3, crc: 9, date: -1, flags: 31,
		keywords: []string{"$Junk"}, prefix: []byte("A: b\r\n")}).encode())
	f.Add((&counters{next: 5, count: 3, unseen: 1, recent: 2, epoch: 1, octets: 9}).encode())
	f.Add((&mailboxRecord{id: 1, validity: 2, subscribed: true, use: `\Junk`}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMessage(b); err == nil {
			again, err := decodeMessage(m.encode())
			if err != nil || !bytes.Equal(again.encode(), m.encode()) {
				t.Errorf("message %+v reads %+v, %v", m, again, err)
			}
		}
		if c, err := decodeCounters(b); err == nil {
			if again, err := decodeCounters(c.encode()); err != nil || again != c {
				t.Errorf("counters %+v read %+v, %v", c, again, err)
			}
		}
		if m, err := decodeMailbox(b); err == nil {
			if again, err := decodeMailbox(m.encode()); err != nil || again != m {
				t.Errorf("mailbox %+v reads %+v, %v", m, again, err)
			}
		}
		_, _, _ = decodeAccount(b)
	})
}

// collector is an Importer that only takes imports.
type collector struct {
	Importer
	texts []string
}

func (c *collector) Import(_ context.Context, _ Recipient, body io.Reader, size int64) error {
	b, err := io.ReadAll(body)
	if err == nil && int64(len(b)) != size {
		err = io.ErrUnexpectedEOF
	}
	c.texts = append(c.texts, string(b))
	return err
}

// FuzzMbox: any file is imported or refused, and what was imported is the same
// after an export and another import.
func FuzzMbox(f *testing.F) {
	f.Add([]byte("From x Thu Jan  1 00:00:00 2026\nSubject: a\n\n>From b\n\nFrom y\n"))
	f.Add([]byte("From \n>>From \r\n\r\n\n\nFrom"))
	f.Add([]byte("From \n\r\r"))
	s, err := Open("/store", Options{FS: vfs.NewMem(), MinFree: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx := context.Background()
		var first, second collector
		if err := ImportMbox(ctx, &first, "a@x", Inbox, bytes.NewReader(b), func() {}); err != nil {
			return
		}
		if err := s.CreateAccount("a@x"); err != nil && !errors.Is(err, ErrExists) {
			t.Fatal(err)
		}
		defer s.DeleteAccount("a@x")
		for _, text := range first.texts {
			if err := s.Import(ctx, Recipient{Login: "a@x"}, strings.NewReader(text), int64(len(text))); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := errors.Join(
			s.ExportMbox(ctx, "a@x", Inbox, &out, func() {}),
			ImportMbox(ctx, &second, "a@x", Inbox, &out, func() {})); err != nil {
			t.Fatal(err)
		}
		if a, b := strings.Join(first.texts, "|"), strings.Join(second.texts, "|"); a != b {
			t.Errorf("%q became %q", a, b)
		}
	})
}
