// SPDX-License-Identifier: GPL-3.0-or-later

package frame

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
)

// The frames that every message brings are written and read here, in a
// fraction of the time that encoding/json takes for all frames. What is not as
// usual is left to it.

// Message returns the frame of a message, encoded.
func Message(m *chat.Message) []byte {
	if m.Ref != 0 || !m.Edited.IsZero() || m.Deleted || m.Via != "" || m.File != nil {
		return Encode(&Frame{T: TMsg, Msg: m})
	}
	b := make([]byte, 0, len(m.ID)+len(m.Kind)+len(m.Text)+len(m.Text)/16+144)
	b = strconv.AppendInt(append(b, `{"t":"msg","msg":{"offset":`...), m.Offset, 10)
	b = appendString(append(b, `,"id":`...), m.ID)
	b = strconv.AppendInt(append(b, `,"from":`...), m.From, 10)
	b = appendString(append(b, `,"kind":`...), m.Kind)
	b = appendString(append(b, `,"text":`...), m.Text)
	b = appendTime(append(b, `,"at":`...), m.At)
	return append(b, "}}"...)
}

// Ack returns the frame, encoded, which says that the message id has been
// committed at an offset; 0: none.
func Ack(id string, offset int64, at time.Time) []byte {
	b := make([]byte, 0, len(id)+96)
	b = append(b, `{"t":"ack"`...)
	if id != "" {
		b = appendString(append(b, `,"id":`...), id)
	}
	if offset != 0 {
		b = strconv.AppendInt(append(b, `,"offset":`...), offset, 10)
	}
	b = appendTime(append(b, `,"at":`...), at)
	return append(b, '}')
}

// appendString writes s in JSON as encoding/json does.
func appendString(b []byte, s string) []byte {
	if !plain(s) {
		quoted, _ := json.Marshal(s) // never fails
		return append(b, quoted...)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plain says whether a text in JSON is the text itself.
func plain(s string) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c == '"', c == '\\', c == '<', c == '>', c == '&', c == 0xe2: // of U+2028 and U+2029
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return ascii || utf8.ValidString(s)
}

func appendTime(b []byte, t time.Time) []byte {
	text, err := t.AppendText(append(b, '"'))
	if err != nil { // a year that RFC 3339 does not have
		text, _ = time.Time{}.AppendText(append(b, '"'))
	}
	return append(text, '"')
}

// quick reads a frame of texts without escapes and of numbers, without white
// space, which is how programs write the small ones. It reports false if the
// frame is not of this kind. b is valid UTF-8.
func quick(b []byte, f *Frame) bool {
	if len(b) < 2 || b[0] != '{' {
		return false
	}
	for b = b[1:]; ; b = b[1:] {
		key, rest, ok := cutString(b)
		if !ok || len(rest) == 0 || rest[0] != ':' {
			return false
		}
		b = rest[1:]
		var to *string
		var n *int64
		switch string(key) {
		case "t":
			to = &f.T
		case "id":
			to = &f.ID
		case "text":
			to = &f.Text
		case "room":
			to = &f.Room
		case "n":
			n = &f.N
		case "offset":
			n = &f.Offset
		default:
			return false
		}
		if to != nil {
			if key, b, ok = cutString(b); !ok {
				return false
			}
			*to = string(key)
		} else if *n, b, ok = cutNumber(b); !ok {
			return false
		}
		switch {
		case len(b) == 1 && b[0] == '}':
			return true
		case len(b) == 0 || b[0] != ',':
			return false
		}
	}
}

// cutString takes a string without escapes off the beginning.
func cutString(b []byte) (text, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i, c := range b[1:] {
		switch {
		case c == '"':
			return b[1 : i+1], b[i+2:], true
		case c < ' ' || c == '\\':
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// cutNumber takes a number of up to 18 digits off the beginning.
func cutNumber(b []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if i == 18 || i == 1 && b[0] == '0' {
			return 0, nil, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	return n, b[i:], i > 0
}
