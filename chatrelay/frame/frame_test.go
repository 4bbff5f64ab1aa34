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
	for _, s := range []string{`{"t":"ping","n":1}`, `{"t":"say","id":"a","text":"x"}`,
		`{}`, `[]`, `{"t":1}`, `{"t":"hello","seen_by":{"1":2}}`, "\xff",
		`{"t":"say","id":"a","text":"b","id":"c"}`, `{"t":"say","text":"\u0041"}`, `{"t":"seen","offset":01}`,
		`{"t":"seen","offset":12}`, `{"t":"ping","n":1,}`,
		`{"t":"ping","n":-1}`, `{"T":"ping"}`, `{"t":"say","text":"가"}`, "{\"t\":\"say\",\"text\":\"\t\"}",
		`{"t":"a"}}`, `{"t":"a"`, `{"t":"a"} `, `{"n":1234567890123456789,"t":"a"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Decode(b)
		want := new(Frame)
		if unread := json.Unmarshal(b, want); (unread == nil && utf8.Valid(b) && want.T != "") != (err == nil) ||
			err == nil && !reflect.DeepEqual(got, want) {
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

func BenchmarkMessage(b *testing.B) {
	m := &chat.Message{Offset: 77, ID: "0123456789abcdef", From: 12, Kind: chat.KindText,
		Text: string(bytes.Repeat([]byte("conversation "), 10)), At: time.Now().UTC()}
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
