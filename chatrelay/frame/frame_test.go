// SPDX-License-Identifier: GPL-3.0-or-later

package frame

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
)

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"t":"ping","n":1}`, `{"t":"say","id":"a","text":"x"}`, `{}`, `[]`, `{"t":1}`, `{"t":"hello","seen_by":{"1":2}}`, "\xff",
		`{"t":"say","id":"a","text":"b","id":"c"}`, `{"t":"say","text":"\u0041"}`, `{"t":"seen","offset":01}`, `{"t":"seen","offset":12}`, `{"t":"ping","n":1,}`,
		`{"t":"ping","n":-1}`, `{"T":"ping"}`, `{"t":"say","text":"가"}`, "{\"t\":\"say\",\"text\":\"\t\"}", `{"t":"a"}}`, `{"t":"a"`, `{"t":"a"} `, `{"n":1234567890123456789,"t":"a"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		want := new(Frame)
		if unread := json.Unmarshal(b, want); (unread == nil && utf8.Valid(b) && want.T != "") != (err == nil) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s is %+v (%v), want %+v (%v)", b, got, err, want, unread)
		}
		if err != nil {
			return
		}
		one := Encode(got)
		again, err := Decode(one)
		if err != nil || !bytes.Equal(Encode(again), one) {
			t.Fatalf("%s came back as another: %v", one, err)
		}
	})
}

// FuzzMessage: the frames written by hand are those of encoding/json.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"", "hello", "a\"b\\c", "<b>&", "가나다", "\u2028", "\xff", "\x00\x1f\x7f", "\U0001f600\u200d"} {
		f.Add(s, s, int64(3), int64(1795598928123456))
	}
	f.Add("id", "year 10000", int64(0), int64(1)<<60)
	f.Fuzz(func(t *testing.T, id, text string, n, micros int64) {
		at := time.UnixMicro(micros).UTC()
		if at.Year() < 0 || at.Year() > 9999 {
			Ack(id, n, at) // does not panic
			return
		}
		m := &chat.Message{Offset: n, ID: id, From: -n, Kind: chat.KindText, Text: text, At: at}
		if got, want := Message(m), Encode(&Frame{T: TMsg, Msg: m}); !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		if got, want := Ack(id, n, at), Encode(&Frame{T: TAck, ID: id, Offset: n, At: &at}); !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
		m.Via, m.Ref, m.Edited = chat.ViaMail, n, at
		if got, want := Message(m), Encode(&Frame{T: TMsg, Msg: m}); !bytes.Equal(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	m := &chat.Message{Offset: 77, ID: "0123456789abcdef", From: 12, Kind: chat.KindText, Text: string(bytes.Repeat([]byte("conversation "), 10)), At: time.Now().UTC()}
	b.ReportAllocs()
	for b.Loop() {
		Message(m)
	}
}

func BenchmarkDecode(b *testing.B) {
	say := Encode(&Frame{T: TSay, ID: "0123456789abcdef", Text: string(bytes.Repeat([]byte("conversation "), 10))})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(say); err != nil {
			b.Fatal(err)
		}
	}
}
