// SPDX-License-Identifier: GPL-3.0-or-later

package mailstore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The first octet of a key says what it is; the package comment lists them.
const (
	keyAccount  = 'a'
	keyMailbox  = 'b'
	keyCounters = 'c'
	keyMessage  = 'm'
	keyChunk    = 'd'
	keyFile     = 'f'
	keyShares   = 'r'
	keyTrash    = 't'
	keyOnce     = 'o'
	keyStore    = 's'
)

// Names below keyStore.
var (
	storeIDs      = []byte{keyStore, 'i'} // ids below this one may have been given out
	storeValidity = []byte{keyStore, 'v'} // the last UIDVALIDITY given out
	storeEpoch    = []byte{keyStore, 'e'} // how many starts followed a crash
	storeClean    = []byte{keyStore, 'c'} // there after a clean end
)

// errRecord: a record is not what this version writes.
var errRecord = fmt.Errorf("%w: not a record of this version", ErrDamaged)

func accountKey(login string) []byte { return append([]byte{keyAccount}, login...) }

func idKey(kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 16), kind), id)
}

func mailboxKey(account uint64, name string) []byte {
	return append(idKey(keyMailbox, account), name...)
}

func messageKey(mailbox uint64, uid uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(keyMessage, mailbox), uid)
}

func chunkKey(body uint64, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(keyChunk, body), chunk)
}

// uidOf reads the UID out of a message's key.
func uidOf(key []byte) uint32 { return binary.BigEndian.Uint32(key[9:]) }

// idOf reads the id behind the first octet of a key.
func idOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:]) }

// after is the first key behind all that begin with prefix.
func after(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// A message's flags. The system flags are bits, keywords are words.
const (
	flagSeen = 1 << iota
	flagAnswered
	flagFlagged
	flagDeleted
	flagDraft
)

// How a body is kept.
const (
	bodyFile   = 1 << iota // a file, not chunks
	bodyShared             // by several messages; counted below keyShares
)

// message is what the index knows of one message.
type message struct {
	body     uint64 // id
	kind     byte   // bodyFile, bodyShared
	octets   int64  // of the body as stored, without prefix
	bare     int64  // LFs in it without CR, which POP3 sends as CRLF
	crc      uint32 // CRC-32C of the body
	date     int64  // INTERNALDATE, Unix seconds
	saved    int64  // when it came into its mailbox, Unix seconds
	flags    uint16
	keywords []string
	prefix   []byte // header fields before the body, this recipient's own
}

// size is the octets of the whole message as stored.
func (m *message) size() int64 { return m.octets + int64(len(m.prefix)) }

// wireSize is the octets with CRLF line ends.
func (m *message) wireSize() int64 { return m.size() + m.bare }

func (m *message) shared() bool { return m.kind&bodyShared != 0 }
func (m *message) file() bool   { return m.kind&bodyFile != 0 }

func (m *message) encode() []byte {
	b := make([]byte, 0, 64+len(m.prefix))
	b = append(b, m.kind)
	b = binary.AppendUvarint(b, m.body)
	b = binary.AppendUvarint(b, uint64(m.octets))
	b = binary.AppendUvarint(b, uint64(m.bare))
	b = binary.BigEndian.AppendUint32(b, m.crc)
	b = binary.AppendVarint(b, m.date)
	b = binary.AppendVarint(b, m.saved)
	b = binary.AppendUvarint(b, uint64(m.flags))
	b = appendBytes(b, strings.Join(m.keywords, " "))
	return appendBytes(b, m.prefix)
}

func decodeMessage(b []byte) (*message, error) {
	r := record{b: b}
	m := &message{kind: r.byte()}
	m.body = r.uvarint()
	m.octets = int64(r.uvarint())
	m.bare = int64(r.uvarint())
	m.crc = r.uint32()
	m.date, m.saved = r.varint(), r.varint()
	m.flags = uint16(r.uvarint())
	m.keywords = strings.Fields(string(r.bytes()))
	m.prefix = slices.Clone(r.bytes())
	return m, r.end()
}

// counters is what changes with each message of a mailbox.
type counters struct {
	next   uint32 // UIDNEXT
	count  uint32 // messages
	unseen uint32
	recent uint32 // messages from this UID on are \Recent
	epoch  uint64 // of the store, when this was written
	octets int64  // with CRLF line ends
}

func (c *counters) encode() []byte {
	b := make([]byte, 0, 32)
	b = binary.AppendUvarint(b, uint64(c.next))
	b = binary.AppendUvarint(b, uint64(c.count))
	b = binary.AppendUvarint(b, uint64(c.unseen))
	b = binary.AppendUvarint(b, uint64(c.recent))
	b = binary.AppendUvarint(b, c.epoch)
	return binary.AppendUvarint(b, uint64(c.octets))
}

func decodeCounters(b []byte) (counters, error) {
	r := record{b: b}
	c := counters{
		next: uint32(r.uvarint()), count: uint32(r.uvarint()), unseen: uint32(r.uvarint()),
		recent: uint32(r.uvarint()), epoch: r.uvarint(), octets: int64(r.uvarint()),
	}
	return c, r.end()
}

// mailboxRecord is what seldom changes of a mailbox.
type mailboxRecord struct {
	id         uint64
	validity   uint32 // UIDVALIDITY
	subscribed bool
	use        string // RFC 6154 attribute, like \Junk, or empty
}

func (m *mailboxRecord) encode() []byte {
	b := binary.AppendUvarint(nil, m.id)
	b = binary.AppendUvarint(b, uint64(m.validity))
	sub := byte(0)
	if m.subscribed {
		sub = 1
	}
	return appendBytes(append(b, sub), m.use)
}

func decodeMailbox(b []byte) (mailboxRecord, error) {
	r := record{b: b}
	m := mailboxRecord{id: r.uvarint(), validity: uint32(r.uvarint()),
		subscribed: r.byte() == 1, use: string(r.bytes())}
	return m, r.end()
}

func encodeAccount(id uint64, made time.Time) []byte {
	return binary.AppendVarint(binary.AppendUvarint(nil, id), made.Unix())
}

func decodeAccount(b []byte) (id uint64, made time.Time, err error) {
	r := record{b: b}
	id = r.uvarint()
	made = time.Unix(r.varint(), 0)
	return id, made, r.end()
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// record reads a value from its front; after the first fault it reads zeros.
type record struct {
	b   []byte
	bad bool
}

func (r *record) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *record) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *record) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *record) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *record) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *record) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

// end says whether all was read and nothing is left.
func (r *record) end() error {
	if r.bad || len(r.b) > 0 {
		return errRecord
	}
	return nil
}
