// SPDX-License-Identifier: GPL-3.0-or-later

// Package frame is the wire of CHmail: the frames that a client and the relay
// exchange, the same on WebTransport, QUIC and WebSocket.
//
// One frame is one JSON object whose "t" names its type. On QUIC and
// WebTransport its length precedes it as a QUIC varint (RFC 9000 section 16);
// on WebSocket it is one text message. docs/protocol.md describes each.
package frame

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/chmail/chmail/chatrelay/chat"
)

// Limits of the wire. A frame that breaks one is answered with an error frame
// and the connection is closed.
const (
	MaxFrame  = 64 << 10         // octets of one frame
	MaxText   = 16 << 10         // octets of one message's text
	MaxID     = 64               // octets of a client-made message id
	HelloWait = 10 * time.Second // until hello arrives
	PingEvery = 3 * time.Second  // a client sends ping; it is its heartbeat
	IdleWait  = 10 * time.Second // without any frame: the connection is gone
)

// The types of frames from a client.
const (
	THello   = "hello"   // first frame of every connection
	TSay     = "say"     // a message: ID, Text
	TTyping  = "typing"  // the person is typing
	TSeen    = "seen"    // everything up to Offset was seen
	TAttempt = "attempt" // ring the callee (again)
	TCancel  = "cancel"  // stop ringing
	TTell    = "tell"    // On: send me a mail when the callee is back
	TEdit    = "edit"    // ID: the message at Offset says Text now
	TDelete  = "delete"  // ID: the message at Offset is gone
	TAnswer  = "answer"  // device: take the ring Attempt
	TDecline = "decline" // device: refuse the ring Attempt
	TAway    = "away"    // device: On says whether the person is away from it
	TPing    = "ping"    // heartbeat, answered with pong
	TLeave   = "leave"   // the person leaves the conversation
)

// The types of frames from the relay. TSay, TTyping and TSeen of a client
// reach the others as TMsg, TTyping and TSeen with From set.
const (
	TWelcome  = "welcome"  // answer to hello
	TReset    = "reset"    // the epoch is another one: forget, everything follows
	TMsg      = "msg"      // a message: Msg
	TAck      = "ack"      // one's own message ID has been committed at Offset
	TPeople   = "people"   // who is in the room now: Here
	TState    = "state"    // the attempt's state: Attempt
	TStatus   = "status"   // the callee's availability: Status
	TRing     = "ring"     // device: somebody rings: Ring
	TRingEnd  = "ring-end" // device: the ring Attempt is over: Code says why
	TRoom     = "room"     // device: a conversation changed: Room, and Summary as the desk lists it
	TSettings = "settings" // device: one's settings, blocks or mutes changed: read them again
	TTicket   = "ticket"   // for coming back without asking a page: Ticket, Peers
	TMoved    = "moved"    // another relay has the room: Ticket, Endpoints; the connection closes
	TPong     = "pong"
	TError    = "error" // Code and Text; Fatal: the connection closes

	// Of both, about the way from computer to computer: docs/direct.md describes it.
	TDirect = "direct"

	// Of both: On says whether a transcript goes to the person by mail; a
	// client says Lang and Zone of its reader too.
	TTranscript = "transcript"
)

// Types are those of each side.
var Types = map[string][]string{
	"client": {THello, TSay, TTyping, TSeen, TAttempt, TCancel, TTell, TEdit, TDelete, TAnswer, TDecline, TAway, TPing,
		TLeave, TTranscript, TDirect},
	"relay": {TWelcome, TReset, TMsg, TAck, TPeople, TState, TStatus, TRing, TRingEnd, TRoom, TSettings, TTicket, TMoved,
		TPong, TError, TTyping, TSeen, TTranscript, TDirect},
}

// The codes of error frames.
const (
	ErrBadFrame  = "bad-frame" // not a JSON object of a known type
	ErrTooLarge  = "too-large" // beyond MaxFrame, which closes the connection, or MaxText
	ErrEmpty     = "empty"     // nothing in the text can be seen
	ErrTooLate   = "too-late"  // a message is too old to be changed
	ErrTooFast   = "too-fast"  // refused for now: ask again after Wait
	ErrTicket    = "ticket"    // the ticket is wrong or too old: get another
	ErrRoom      = "room"      // the frame is for another room, or it is gone
	ErrBehind    = "behind"    // the connection did not read fast enough: resume
	ErrStore     = "store"     // the message could not be committed: try again
	ErrShutdown  = "shutdown"  // the relay goes away: connect again
	ErrForbidden = "forbidden" // not allowed on this connection, or not with this message
)

// Why a ring ended, in the Code of a ring-end frame.
const (
	EndAnswered   = "answered"  // on this device
	EndElsewhere  = "elsewhere" // on another device
	EndDeclined   = "declined"
	EndCancelled  = "cancelled" // by the caller
	EndUnanswered = "unanswered"
)

// What a direct frame of the relay is about, in its Code.
const (
	DirectServe = "serve" // program: listen at Port, and let in whoever has a ticket that Key signed
	DirectReach = "reach" // program: On says whether it can be reached, and Text why not
	DirectOffer = "offer" // room: try the Endpoints, with the Ticket
	DirectOn    = "on"    // room: what is said goes there from now on
	DirectOver  = "over"  // both: the part Epoch is over
)

// Frame is any frame; which fields are set depends on T. The tags client and
// relay say in which frames of each a field is; where it may be missing, a
// question mark follows. They make the types of the browser's code.
//
//go:generate go run ./gen
type Frame struct {
	T         string             `json:"t"`
	Ticket    string             `json:"ticket,omitempty" client:"hello?" relay:"welcome?,ticket,moved?,direct?"`
	Room      string             `json:"room,omitempty" client:"hello?,say?,direct?" relay:"welcome?,room?,direct?"`
	Epoch     string             `json:"epoch,omitempty" client:"hello?,say?,direct?" relay:"welcome?,reset?,direct?,msg?"`
	After     int64              `json:"after,omitempty" client:"hello?"` // offset of the last message the client has
	ID        string             `json:"id,omitempty" client:"say,edit,delete" relay:"ack,error?"`
	Text      string             `json:"text,omitempty" client:"say,edit,decline?" relay:"error?,msg?,direct?"`
	Ref       int64              `json:"ref,omitempty" client:"say?"` // offset of the message that it answers
	Offset    int64              `json:"offset,omitempty" client:"seen,edit,delete" relay:"ack?,seen"`
	At        *time.Time         `json:"at,omitempty" client:"say?" relay:"welcome,ack"` // the relay's clock
	From      int64              `json:"from,omitempty" client:"say?" relay:"typing,seen"`
	On        bool               `json:"on,omitempty" client:"tell,away,transcript,direct?" relay:"transcript?,direct?"`
	N         int64              `json:"n,omitempty" client:"ping" relay:"pong?"`
	Code      string             `json:"code,omitempty" client:"direct?" relay:"error,ring-end,direct"`
	Wait      int                `json:"wait,omitempty" relay:"error?"` // of too-fast: try again after so many seconds
	Fatal     bool               `json:"fatal,omitempty" relay:"error?"`
	Me        int64              `json:"me,omitempty" relay:"welcome?"` // own participant ID
	Subject   string             `json:"subject,omitempty" relay:"welcome?"`
	People    []chat.Participant `json:"people,omitempty" relay:"welcome?,people?"` // everyone of the room
	Here      []int64            `json:"here,omitempty" relay:"welcome?,people?"`   // those connected now
	SeenBy    map[int64]int64    `json:"seen_by,omitempty" relay:"welcome?"`
	Msg       *chat.Message      `json:"msg,omitempty" relay:"msg"`
	Attempt   *Attempt           `json:"attempt,omitempty" relay:"welcome?,state?"`
	AttemptID string             `json:"attempt_id,omitempty" client:"answer,decline" relay:"ring-end"`
	Ring      *Ring              `json:"ring,omitempty" relay:"ring"`
	Status    *Status            `json:"status,omitempty" relay:"welcome?,status"`
	Carrier   string             `json:"carrier,omitempty" relay:"welcome?"`                       // "webtransport" and so on
	Port      int                `json:"port,omitempty" client:"direct?" relay:"welcome?,direct?"` // UDP; 0: none
	// Peers are the WebSocket endpoints of the other relays.
	Peers     []string   `json:"peers,omitempty" relay:"welcome?,ticket?"`
	Endpoints []Endpoint `json:"endpoints,omitempty" relay:"moved,direct?"`

	// Of the direct way. Direct: the client can take it. Key: with which the client marks what it says, or the public
	// one of the server. Mac: that mark. Via: as in a message. Hashes, Addrs: of a program's certificates and computer.
	// Mapped: address and port of its router. Proofs: of other addresses of it. Keep: what is said stays at the program.
	Direct bool     `json:"direct,omitempty" client:"hello?"`
	Key    string   `json:"key,omitempty" relay:"direct?"`
	Mac    string   `json:"mac,omitempty" client:"say?" relay:"msg?"`
	Via    string   `json:"via,omitempty" client:"say?" relay:"direct?"`
	Hashes []string `json:"hashes,omitempty" client:"direct?"`
	Addrs  []string `json:"addrs,omitempty" client:"direct?" relay:"direct?"`
	Mapped string   `json:"mapped,omitempty" client:"direct?"`
	Proofs []string `json:"proofs,omitempty" client:"direct?"`
	Keep   bool     `json:"keep,omitempty" client:"direct?" relay:"direct?"`

	// Summary is missing when the room is none of the login's any more.
	Summary *chat.Summary `json:"summary,omitempty" relay:"room?"`

	Lang       string `json:"lang,omitempty" client:"transcript"`    // "ko", "en"
	Zone       string `json:"zone,omitempty" client:"transcript"`    // IANA name of the reader's zone
	Transcript bool   `json:"transcript,omitempty" relay:"welcome?"` // one gets transcripts by mail
	MaxFile    int64  `json:"max_file,omitempty" relay:"welcome?"`   // octets of a file; 0: no files
	EditFor    int    `json:"edit_for,omitempty" relay:"welcome?"`   // seconds for which a message may be changed
	Name       string `json:"name,omitempty" relay:"ring-end?"`      // elsewhere: who of the group took it
}

// Endpoint is a way to a relay.
type Endpoint struct {
	Carrier string   `json:"carrier"`
	URL     string   `json:"url"`
	Port    int      `json:"port,omitempty"`   // granted UDP port
	Hashes  []string `json:"hashes,omitempty"` // SHA-256 of its certificates in base64
}

// Attempt is the state of an attempt as both sides see it.
type Attempt struct {
	ID      string    `json:"id"`
	State   string    `json:"state" one:"ringing busy answered declined cancelled unanswered alarmed"` // of package attempt
	Caller  int64     `json:"caller"`
	Callee  int64     `json:"callee"`
	Ring    int       `json:"ring"`              // which ring this is, from 1; 0 when the callee is off
	Of      int       `json:"of"`                // how many there will be
	On      bool      `json:"on"`                // the callee's computer is on
	Devices []string  `json:"devices,omitempty"` // rung now: "desk", "agent"
	Started time.Time `json:"started"`
	// Why says why it does not ring: Off, DND, Quiet, Closed or Busy; with cancelled, gone: the caller
	// was, and has not cancelled. It is empty when it rings, or has rung and nobody answered.
	Why    string     `json:"why,omitempty" one:"off dnd quiet closed busy gone"`
	Busy   bool       `json:"busy,omitempty"`   // the callee is in another chat, and is rung there
	By     int64      `json:"by,omitempty"`     // answered: participant who did, of a group
	Mailed *time.Time `json:"mailed,omitempty"` // when the alarm mail went out
	Pushed *time.Time `json:"pushed,omitempty"` // when the alarm reached a push service or a webhook
	Words  string     `json:"words,omitempty"`  // with a decline
	Tell   bool       `json:"tell,omitempty"`   // the caller gets a mail when the callee is back
}

// Ring is what a rung device shows.
type Ring struct {
	Attempt string      `json:"attempt"`
	Room    string      `json:"room"`
	From    chat.Person `json:"from"`
	Proven  bool        `json:"proven"` // From has proven to be who they are: they did not only press a link
	Subject string      `json:"subject"`
	Ring    int         `json:"ring"`
	Of      int         `json:"of"`
	Waiting bool        `json:"waiting,omitempty"` // rang while the person was off; nobody waits on the line
	Muted   bool        `json:"muted,omitempty"`   // the room is muted: no sound
	Busy    bool        `json:"busy,omitempty"`    // one is in another chat
	Group   string      `json:"group,omitempty"`   // group address that is rung
	At      time.Time   `json:"at"`
}

// Availability of a person.
const (
	Available = "available" // a device is connected
	Away      = "away"      // a device is connected, the person is away from it
	Off       = "off"       // no device is connected
	DND       = "dnd"       // do not disturb: nothing rings
	Quiet     = "quiet"     // quiet hours: nothing rings
	Closed    = "closed"    // a group outside its opening hours: nothing rings
)

// Status is a person's availability.
type Status struct {
	State string     `json:"state" one:"available away dnd quiet closed off"`
	Since *time.Time `json:"since,omitempty"` // last seen, when off
	Until *time.Time `json:"until,omitempty"` // end of away, dnd, quiet or closed, where it is known
	Back  int        `json:"back,omitempty"`  // usually back within so many minutes, when not available
	Busy  bool       `json:"busy,omitempty"`  // in a chat
}

// Encode returns the frame as it travels, without its length.
func Encode(f *Frame) []byte {
	b, err := json.Marshal(f)
	if err != nil { // no field of Frame can fail to marshal
		panic(fmt.Sprintf("encoding a %q frame: %v", f.T, err))
	}
	return b
}

// Message returns the frame of a message, encoded.
func Message(m *chat.Message) []byte { return Encode(&Frame{T: TMsg, Msg: m}) }

// Ack returns the frame, encoded, which says that the message id has been
// committed at an offset; 0: none.
func Ack(id string, offset int64, at time.Time) []byte {
	return Encode(&Frame{T: TAck, ID: id, Offset: offset, At: &at})
}

// Decode reads one frame from a client. It errs on anything that is not a
// JSON object in valid UTF-8 with a type; unknown fields are ignored, so that
// a newer client can use an older relay.
func Decode(b []byte) (*Frame, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("decoding a frame: not UTF-8")
	}
	f := new(Frame)
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("decoding a frame: %w", err)
	}
	if f.T == "" {
		return nil, fmt.Errorf("decoding a frame: no type")
	}
	return f, nil
}
