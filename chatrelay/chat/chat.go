// SPDX-License-Identifier: GPL-3.0-or-later

// Package chat has the nouns of a conversation and the errors about them:
// room, person, invite, message, attempt, settings.
//
// A room is the conversation of one mail thread between a sender and its
// recipients. Offsets rise by one within a room; a room has an epoch, and a
// client that knows (epoch, offset) gets exactly what it missed.
package chat

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	// ErrUnknown: no such room, invite or participant.
	ErrUnknown = errors.New("room: unknown")
	// ErrExpired: the invite's time is over.
	ErrExpired = errors.New("room: the link has expired")
	// ErrRevoked: the invite was taken back by its sender.
	ErrRevoked = errors.New("room: the link was taken back")
	// ErrProve: the sender lets nobody in who has not proven who they are.
	ErrProve = errors.New("room: the link must be proven")
	// ErrHidden: the person is in Bcc, and has not said that the others may learn of them.
	ErrHidden = errors.New("room: the others do not know of the person")
	// ErrRemoved: the person was put out of the room.
	ErrRemoved = errors.New("room: the person was put out")
	// ErrClaimed: another browser claimed the invite first.
	ErrClaimed = errors.New("room: the link is in use in another browser")
	// ErrCode: the confirmation code is wrong, spent or too old.
	ErrCode = errors.New("room: the code is wrong or too old")
	// ErrFull: the room has reached a limit of this package.
	ErrFull = errors.New("room: full")
	// ErrUnwanted: the sender wants no links in their mails.
	ErrUnwanted = errors.New("room: the sender wants no links")
	// ErrForbidden: not one's own message, none that can be changed, or deleted.
	ErrForbidden = errors.New("room: this message cannot be changed")
	// ErrLate: the message is older than EditFor.
	ErrLate = errors.New("room: too late to change the message")
	// ErrMoved: another relay host serves the room.
	ErrMoved = errors.New("room: another relay serves the room")
	// ErrTaken: a colleague looks after the room already.
	ErrTaken = errors.New("room: a colleague looks after it")
	// ErrQuery: there is nothing to search for, or too much.
	ErrQuery = errors.New("room: not something to search for")
)

// Person is somebody named in a mail.
type Person struct {
	Login string `json:"login,omitempty"` // login ID on this server; empty for a stranger
	Addr  string `json:"addr"`            // mail address, lower case
	Name  string `json:"name,omitempty"`  // display name
	// Hidden: in Bcc. The others do not learn of the person before they come in.
	Hidden bool `json:"-"`
	// ByLink, in what others are told of the person: they only pressed a link, and have
	// not proven who they are.
	ByLink bool `json:"-"`
}

// DisplayName is how the person is named to others.
func (p Person) DisplayName() string {
	switch {
	case p.Name != "":
		return p.Name
	case p.Addr != "":
		return p.Addr
	}
	return "Somebody"
}

// Mail is what a submitted message says about its conversation.
type Mail struct {
	MessageID  string   // without angle brackets
	References []string // In-Reply-To and References, newest last, without angle brackets
	Sender     Person   // Login set: who authenticated; the rest is what From says
	Alias      bool     // Sender.Addr is known to be another address of the login
	Recipients []Person // the envelope's recipients, one invite each
	Subject    string   // decoded
	Date       time.Time
	// Unsent: nobody sends it. A page asks for the conversation as if the sender had
	// written to the recipients, and MessageID names what it is about.
	Unsent bool
}

// Opened is the room of a mail and the links into it.
type Opened struct {
	Room    string            // room ID
	Sender  Person            // as far as the mail's From field is believed
	Invites map[string]string // recipient address as given → token (22 characters of base64url)

	// Of the sender's settings.
	Lang      string // empty: not known
	StampText string // words on the link; empty: the usual ones
}

// Participant is a person within a room.
type Participant struct {
	ID int64 `json:"id"` // unique within the store
	Person
	Guest   bool `json:"guest,omitempty"`   // came in through somebody else's link
	Removed bool `json:"removed,omitempty"` // was put out of the room
	// Proven, of somebody who is here or comes in: they have proven to be who the
	// participant is. Whoever only pressed a link has not.
	Proven bool `json:"proven,omitempty"`
}

// Access is what a browser has that came in through a link.
type Access struct {
	Participant           // whom it stands for
	Key         string    // names the link and the browser to the store
	Since       int64     // offset of the first message that it may read; 0: of all
	Expires     time.Time // when the link does
	Idle        bool      // the store counts it as gone
}

// Guards reports whether the browser may not read a message of that offset.
func (a Access) Guards(offset int64) bool { return offset < a.Since }

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

// Participant finds one by its ID; the zero Participant if there is none.
func (i Info) Participant(id int64) Participant {
	for _, p := range i.Participants {
		if p.ID == id {
			return p
		}
	}
	return Participant{}
}

// ServerMail is a mail that the server writes itself: an alarm, a code, a
// transcript.
type ServerMail struct {
	To                  Person
	Subject, Text, HTML string
	ReplyTo             string // address; may be empty
	Stop                string // https address that ends such mails by a POST (RFC 8058); may be empty
}

// Letter is a mail that a login writes in a page of this server.
type Letter struct {
	Login     string
	IP        netip.Addr // of the client; zero: the server writes in the login's name
	From, To  Person
	Subject   string
	Text      string
	HTML      string      // the same as a document; empty: plain text alone
	MessageID string      // without angle brackets
	Header    [][2]string // further fields, name and value; not those above

	ReturnPath string // where bounces go; empty: From.Addr
	// Once says that the mail system takes the MessageID once: handing it over again
	// is harmless.
	Once bool
}

// RefusedError: the mail system does not take a mail. Text is its answer, Status its
// enhanced code (RFC 3463) such as 5.1.1; it may be empty.
type RefusedError struct{ Text, Status string }

func (e *RefusedError) Error() string { return "room: the mail was refused: " + e.Text }

// Message is one line of a conversation.
type Message struct {
	Offset int64     `json:"offset"`
	ID     string    `json:"id"`   // made by the client; sending it again is harmless
	From   int64     `json:"from"` // participant ID; of a note: whom it is about
	Kind   string    `json:"kind"` // KindText and the others below
	Text   string    `json:"text"`
	At     time.Time `json:"at"`

	// Ref is the offset of the message that changed, of KindEdit and KindDelete, or that
	// the person answers, of KindText.
	Ref     int64     `json:"ref,omitempty"`
	Edited  time.Time `json:"edited,omitzero"`   // when the text was changed last
	Deleted bool      `json:"deleted,omitempty"` // text and file are gone
	Via     string    `json:"via,omitempty"`     // ViaMail, ViaLink, or empty: said in the chat
	File    *File     `json:"file,omitempty"`    // of KindFile
}

// File is a stored file of a room, as it stands beside its message.
type File struct {
	ID     string `json:"id"`               // 64 hexadecimal digits
	Name   string `json:"name"`             // safe to show and to save under
	Type   string `json:"type"`             // media type
	Size   int64  `json:"size"`             // octets of the file
	Octets int64  `json:"-"`                // octets it takes of its room: the file and its thumbnail
	Width  int    `json:"width,omitempty"`  // pixels of a picture; 0 of anything else
	Height int    `json:"height,omitempty"` // pixels
	Thumb  bool   `json:"thumb,omitempty"`  // there is a thumbnail; a small picture needs none
	Folder string `json:"-"`                // of the relay that keeps it
}

// Picture says whether the page shows the file as a picture.
func (f File) Picture() bool { return f.Width > 0 }

// The kinds of Message.
const (
	KindText = "text" // a person's words
	KindMail = "mail" // a mail of the thread was sent; Text is its subject
	// KindNote is a message of the server itself: the outcome of an attempt. Text is
	// a key of the message files; see docs/protocol.md.
	KindNote = "note"
	KindFile = "file" // a file or a picture; Text is its caption, mostly empty

	// A change has an offset of its own, so that who was away learns of it
	// exactly once, and is no line of the conversation. What is read of the
	// changed message is always its newest state; older ones are not kept.
	KindEdit   = "edit"   // the message at Ref says Text now; with Deleted, it has been deleted since
	KindDelete = "delete" // the message at Ref is gone
)

// NoteFrom begins the note of a room that a mail opened out of an older
// conversation, among other people. The older mail's date follows on a line of its
// own (RFC 3339), then its subject if the new mail has it too.
const NoteFrom = "from"

// NoteAbout begins the note of a room that a page asked for; what it is about follows
// on a line of its own.
const NoteAbout = "about"

// NoteKept is the note of somebody on whose computer alone stays what was said past the server.
const NoteKept = "kept"

// NoteRated begins the note of somebody who has said how a conversation went;
// RatedGood or RatedBad follows on a line of its own.
const (
	NoteRated = "rated"
	RatedGood = "good"
	RatedBad  = "bad"
)

// ViaMail is the Via of an answer by mail, ViaLink that of what was said by whoever
// pressed a link and had not proven to be its owner.
const (
	ViaMail = "mail"
	ViaLink = "link"
)

// Summary is a conversation as the desk lists it.
//
// Of many participants it has MaxListed, and the text of Last is cut.
type Summary struct {
	Info
	People  int       `json:"people"` // how many participants there are
	Touched time.Time `json:"touched"`
	Talked  bool      `json:"talked"` // somebody said something in it or tried to reach somebody: not only mails
	Last    *Message  `json:"last,omitempty"`
	// Unread are the messages after the login's seen mark, one's own not counted. A
	// room that a colleague looks after has none.
	Unread int64    `json:"unread"`
	Me     int64    `json:"me"`               // the login's participant ID, or its group's
	Muted  bool     `json:"muted,omitempty"`  // its rings have no sound
	Missed *Missed  `json:"missed,omitempty"` // the newest call that the login missed and has not dismissed
	Teams  []Team   `json:"teams,omitempty"`  // groups of the login that are in it
	Labels []string `json:"labels,omitempty"` // the login's and its groups'
	Notes  int64    `json:"notes,omitempty"`  // how many notes colleagues wrote
}

// Missed are the calls in a room that a login missed.
type Missed struct {
	Count   int       `json:"count"`
	Attempt string    `json:"attempt"` // the newest
	From    int64     `json:"from"`    // its caller
	At      time.Time `json:"at"`
}

// Team is a group in a room.
type Team struct {
	Group    string `json:"group"` // its address
	Name     string `json:"name,omitempty"`
	Assignee string `json:"assignee,omitempty"` // login of the member whose room it is; empty: nobody's yet
}

// TeamNote is what somebody noted about a room for colleagues. It is no message:
// nobody else ever gets it.
type TeamNote struct {
	Group  string    `json:"group"` // of whom it is: a group's address, or the login that wrote it
	Pos    int64     `json:"pos"`   // rises by one in a room and group
	ID     string    `json:"id"`    // made by the client; adding it again is harmless
	Login  string    `json:"login"` // who wrote it
	Text   string    `json:"text"`
	Behind int64     `json:"behind"` // offset of the room's newest message when it was written
	At     time.Time `json:"at"`
}

// Label is a label and how many rooms have it.
type Label struct {
	Label string `json:"label"`
	Rooms int64  `json:"rooms"`
}

// Figures say how often a login and its groups were asked for.
type Figures struct {
	Total Figure   `json:"total"`
	Days  []Figure `json:"days"` // each day of the range, named like 2026-11-20
	// Of are those who were asked for, groups among them, and members who answered
	// for a group.
	Of []Figure `json:"of"`
}

// Figure counts attempts.
type Figure struct {
	Name     string  `json:"name,omitempty"`
	Asked    int64   `json:"asked"`
	Answered int64   `json:"answered"`         // at once or later
	Missed   int64   `json:"missed"`           // all others
	Median   float64 `json:"median,omitempty"` // seconds until half of those answered were
}

// The lists of the desk.
const (
	ListChats      = "chats"      // conversations, but for those that a colleague looks after
	ListMine       = "mine"       // without a group, or one's own of a group's
	ListUnassigned = "unassigned" // of a group, and nobody's yet
	ListAll        = "all"        // conversations, those of colleagues too
	ListMails      = "mails"      // mails without a conversation
	ListMissed     = "missed"     // with missed calls
)

// RoomQuery asks for a list of rooms.
type RoomQuery struct {
	List   string    // ListChats and the others
	Label  string    // instead of List: rooms with that label
	Limit  int       // 0: as many as one call gives
	Before time.Time // rooms that were touched before; zero: from the newest on
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
	// Unproven: whoever rang had not proven who they are.
	Unproven bool `json:"unproven,omitempty"`
}

// Listed returns the participants that one of them, me, may know of.
func Listed(people []Participant, me int64) []Participant {
	return slices.DeleteFunc(slices.Clone(people), func(p Participant) bool { return p.Hidden && p.ID != me })
}

// Names are what a block of the participant may be called: their participant
// ID after "#", and their address and login.
func (p Participant) Names() []string {
	names := []string{"#" + strconv.FormatInt(p.ID, 10)}
	for _, n := range []string{p.Addr, p.Login} {
		if n != "" && !p.Guest {
			names = append(names, strings.ToLower(strings.TrimSpace(n)))
		}
	}
	return names
}

// Masked shows enough of a mail address for its owner to know it:
// "c…@mall.example".
func Masked(addr string) string {
	_, first := utf8.DecodeRuneInString(addr)
	if at := strings.LastIndexByte(addr, '@'); at >= first && at > 0 {
		return addr[:first] + "…" + addr[at:]
	}
	return "…"
}

// Session is one sign-in of a login, at the desk or with the CHmail program.
type Session struct {
	Login  string    `json:"l"`
	ID     string    `json:"i"`           // 128 random bits
	Began  time.Time `json:"b"`           // before the password was checked
	Device string    `json:"d,omitempty"` // name of the computer whose program signed in; empty: a desk
}

// Program is a computer whose program signed in with a token.
type Program struct {
	ID   string    `json:"id"` // of its session
	Name string    `json:"name"`
	Made time.Time `json:"made"`
	Seen time.Time `json:"seen"` // about when it was last here
	Addr string    `json:"addr"` // from which
}

// Subscription is a browser that takes notifications (Web Push).
type Subscription struct {
	Endpoint, P256dh, Auth string
	Name                   string    // of the browser, as "Chrome, Android"; may be empty
	Lang                   string    // in which it shows what comes
	Added                  time.Time // when the login first put it; set by the store
	Shown                  time.Time // when it last showed something; zero: never
}

// Block is somebody whom a login has blocked.
type Block struct {
	Who  string    `json:"who"` // mail address; "#" and an ID: a participant without one
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// Membership is a participant and their room.
type Membership struct {
	Room string
	Participant
}

// Erased is what erasing a person took away.
type Erased struct {
	Rooms    int   `json:"rooms"`
	Messages int64 `json:"messages"`
	Files    int64 `json:"files"`
}

// Hit is a message that a search found.
type Hit struct {
	Room    string    `json:"room"`
	Subject string    `json:"subject"` // of the room
	Offset  int64     `json:"offset"`
	From    int64     `json:"from"`
	Name    string    `json:"name"` // of the sender, or their address
	At      time.Time `json:"at"`
	Kind    string    `json:"kind"`
	Snippet string    `json:"snippet"` // the text around the first word
	File    *File     `json:"file,omitempty"`
}

// TranscriptPreference is whether a participant wants transcripts by mail, and in
// which words.
type TranscriptPreference struct {
	Participant int64
	On          bool
	Usual       bool   // they have not said so in this room: it is what they want of all
	Lang, Zone  string // "ko", "Asia/Seoul"; empty: not known
	Sent        int64  // offset up to which they have been sent
}

// Unread is a participant who has left and has not read what was said since.
type Unread struct {
	Room        string
	Participant int64
}

// Relay is a relay host that shares the rooms with others.
type Relay struct {
	Name   string // of the relay host
	Origin string // of its pages
	Socket string // its WebSocket endpoint
	Drains bool   // it takes no further rooms
	Alive  bool   // it has sent a heartbeat of late
}

// Limits and times.
const (
	MaxText      = 16 << 10 // octets of a message's Text
	MaxTeamNote  = 4 << 10  // octets of a TeamNote's Text
	MaxMessageID = 128      // octets of the ID that a client makes for its message, and of an attempt's
	MaxMembers   = 100      // of one group
	MaxListed    = 50       // participants in a Summary

	MaxFigureDays = 100              // of Figures
	EditFor       = 15 * time.Minute // a person may change what they said; deleting it they may at any time
	Silence       = time.Hour        // without a message it ends a part of a conversation
	RelayTTL      = 4 * time.Second  // a relay host counts as alive after a heartbeat; then others may take its rooms
	ErasedName    = "erased"         // stands for the name and the address of a person who was erased
)
