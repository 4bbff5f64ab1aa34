// SPDX-License-Identifier: GPL-3.0-or-later

// Package room keeps the conversations: rooms, participants, invites,
// messages and attempts, in SQLite or PostgreSQL.
//
// A room is the conversation of one mail thread between a sender and its
// recipients. Offsets rise by one within a room; a room has an epoch, and a
// client that knows (epoch, offset) gets exactly what it missed. A link
// carries 128 random bits; only their SHA-256 is stored. A message is
// acknowledged after its commit, and concurrent writers share commits.
package room

import (
	"errors"
	"time"

	"github.com/chmail/chmail/upload"
)

var (
	// ErrUnknown: no such room, invite or participant.
	ErrUnknown = errors.New("room: unknown")
	// ErrExpired: the invite's time is over.
	ErrExpired = errors.New("room: the link has expired")
	// ErrRevoked: the invite was taken back by its sender.
	ErrRevoked = errors.New("room: the link was taken back")
	// ErrClaimed: another browser claimed the invite first.
	ErrClaimed = errors.New("room: the link is in use in another browser")
	// ErrCode: the confirmation code is wrong, spent or too old.
	ErrCode = errors.New("room: the code is wrong or too old")
	// ErrFull: the room has reached a limit of this package.
	ErrFull = errors.New("room: full")
	// ErrForbidden: not one's own message, none that can be changed, or deleted.
	ErrForbidden = errors.New("room: this message cannot be changed")
	// ErrLate: the message is older than EditFor.
	ErrLate = errors.New("room: too late to change the message")
)

// Person is somebody named in a mail.
type Person struct {
	Login string `json:"login,omitempty"` // login ID on this server; empty for a stranger
	Addr  string `json:"addr"`            // mail address, lower case
	Name  string `json:"name,omitempty"`  // display name
	// Hidden: in Bcc. The others do not learn of the person before they come in.
	Hidden bool `json:"-"`
}

// Mail is what a submitted message says about its conversation.
type Mail struct {
	MessageID  string   // without angle brackets
	References []string // In-Reply-To and References, newest last, without angle brackets
	Sender     Person   // Login set: who authenticated
	Recipients []Person // the envelope's recipients, one invite each
	Subject    string   // decoded
	Date       time.Time
}

// Opened is the room of a mail and the links into it.
type Opened struct {
	Room    string            // room ID
	Invites map[string]string // recipient address as given → token (22 characters of base64url)
}

// Participant is a person within a room.
type Participant struct {
	ID int64 `json:"id"` // unique within the store
	Person
	Guest bool `json:"guest,omitempty"` // came in through somebody else's link
}

// Invite is one recipient's link.
type Invite struct {
	Room      string
	Recipient Participant // whose link it is
	Callee    Participant // who is rung: the sender of the mail
	Subject   string      // of the mail that carried the link
	Date      time.Time   // of that mail
	Expires   time.Time
	Claimed   bool // a browser has claimed it
}

// Info is a room without its messages.
type Info struct {
	ID           string        `json:"id"`
	Epoch        string        `json:"epoch"`
	Next         int64         `json:"next"` // offset the next message gets; the first is 1
	Subject      string        `json:"subject"`
	Created      time.Time     `json:"created"`
	Owner        int64         `json:"owner"` // participant ID of the first mail's sender
	Participants []Participant `json:"participants"`
}

// Message is one line of a conversation.
type Message struct {
	Offset int64     `json:"offset"`
	ID     string    `json:"id"`   // made by the client; sending it again is harmless
	From   int64     `json:"from"` // participant ID; of a note: whom it is about
	Kind   string    `json:"kind"` // KindText and the others below
	Text   string    `json:"text"`
	At     time.Time `json:"at"`

	Ref     int64     `json:"ref,omitempty"`     // of KindEdit and KindDelete: offset of the message that changed
	Edited  time.Time `json:"edited,omitzero"`   // when the text was changed last
	Deleted bool      `json:"deleted,omitempty"` // text and file are gone
	Via     string    `json:"via,omitempty"`     // ViaMail, or empty: said in the chat
	File    *File     `json:"file,omitempty"`    // of KindFile
}

// File is a file within a room.
type File struct {
	upload.File
	Folder string `json:"-"` // of the relay that keeps it
}

// The kinds of Message.
const (
	KindText = "text" // a person's words
	KindMail = "mail" // a mail of the thread was sent; Text is its subject
	KindNote = "note" // the server's own: an attempt's outcome; Text is a key of the message files, see docs/protocol.md
	KindFile = "file" // a file or a picture; Text is its caption, mostly empty

	// A change has an offset of its own, so that who was away learns of it
	// exactly once, and is no line of the conversation. What is read of the
	// changed message is always its newest state; older ones are not kept.
	KindEdit   = "edit"   // the message at Ref says Text now; with Deleted, it has been deleted since
	KindDelete = "delete" // the message at Ref is gone
)

// ViaMail is the Via of an answer by mail.
const ViaMail = "mail"

// Summary is a conversation as the desk lists it.
type Summary struct {
	Info
	Last   *Message `json:"last,omitempty"`
	Unread int64    `json:"unread"`          // messages after the login's seen mark, one's own not counted
	Me     int64    `json:"me"`              // the login's participant ID
	Muted  bool     `json:"muted,omitempty"` // its rings have no sound
}

// Attempt is one try to reach somebody, from Chat now to its outcome.
type Attempt struct {
	ID      string    `json:"id"`
	Room    string    `json:"room"`
	Caller  int64     `json:"caller"` // participant IDs
	Callee  int64     `json:"callee"`
	State   string    `json:"state"` // see package attempt
	Rings   int       `json:"rings"` // made so far
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Tell    bool      `json:"tell"`            // the caller wants a mail when the callee is back
	Why     string    `json:"why,omitempty"`   // why it did not ring
	Words   string    `json:"words,omitempty"` // with a decline
	Taker   int64     `json:"taker,omitempty"` // participant who answered, of a group
	Mailed  time.Time `json:"mailed,omitzero"` // the alarm mail went out
	Pushed  time.Time `json:"pushed,omitzero"` // a notification was taken
	Silent  bool      `json:"-"`               // when it is stored first: it does not wait for the callee's sign-on
}
