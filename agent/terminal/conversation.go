// SPDX-License-Identifier: GPL-3.0-or-later

package terminal

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/words"
)

const typingLasts = 5 * time.Second

// conversation is what is known of a room. Its methods may be called at the same time:
// the connection asks for hello while the screen shows what is there.
type conversation struct {
	say   words.Tongue
	files string // address of the room's files, before their ID

	mu       sync.Mutex
	epoch    string
	after    int64 // offset of the last message
	me       int64
	subject  string
	people   map[int64]chat.Participant
	here     []int64
	messages []chat.Message // by offset; changes are applied to what they change
	past     []chat.Message // said past the server, in their order, until the relay brings them
	pending  []pending      // said and not acknowledged
	typing   map[int64]time.Time
	attempt  *frame.Attempt
	status   *frame.Status
	open     bool
}

// pending is a message of one's own on its way. Sent again with its ID it is harmless.
type pending struct {
	id, text string
	refused  bool
	held     bool // the program has it: it is handed over
}

func newConversation(say words.Tongue, files string) *conversation {
	return &conversation{say: say, files: files, people: map[int64]chat.Participant{}, typing: map[int64]time.Time{}}
}

// hello is the first frame of every connection: what is missing follows.
func (c *conversation) hello(ticket string) *frame.Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &frame.Frame{T: frame.THello, Ticket: ticket, Epoch: c.epoch, After: c.after, Direct: true}
}

// take takes a frame.
func (c *conversation) take(f *frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.T {
	case frame.TReset:
		c.epoch, c.after, c.messages = f.Epoch, 0, nil
	case frame.TWelcome:
		c.epoch, c.me, c.subject, c.open = f.Epoch, f.Me, f.Subject, true
		c.attempt, c.status = f.Attempt, f.Status
		c.meet(f)
	case frame.TPeople:
		c.meet(f)
	case frame.TMsg:
		if f.Msg != nil {
			c.message(*f.Msg)
		}
	case frame.TAck:
		c.ack(f)
	case frame.TTyping:
		c.typing[f.From] = time.Now()
	case frame.TState:
		c.attempt = f.Attempt
	case frame.TStatus:
		c.status = f.Status
	case frame.TError:
		for i := range c.pending {
			if c.pending[i].id == f.ID {
				c.pending[i].refused = true
			}
		}
	}
}

// again are the frames of what was said and not acknowledged.
func (c *conversation) again() (list []*frame.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pending {
		if !p.refused && !p.held {
			list = append(list, &frame.Frame{T: frame.TSay, ID: p.id, Text: p.text})
		}
	}
	return list
}

func (c *conversation) myself() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.me
}

// early takes what was said past the server; false: it is known.
func (c *conversation) early(m chat.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	same := func(o chat.Message) bool { return o.From == m.From && o.ID == m.ID }
	if slices.ContainsFunc(c.past, same) || slices.ContainsFunc(c.messages, same) {
		return false
	}
	c.past = append(c.past, m)
	delete(c.typing, m.From)
	for i := range c.pending {
		if m.From == c.me && c.pending[i].id == m.ID {
			c.pending[i].held = true
		}
	}
	return true
}

// kept makes what was said past the server a part of the conversation here: the relay will not bring it.
func (c *conversation) kept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.past {
		m.Offset = c.after
		c.messages = append(c.messages, m)
	}
	c.past = nil
	c.pending = slices.DeleteFunc(c.pending, func(p pending) bool { return p.held })
}

// came takes out what the relay brings.
func (c *conversation) came(from int64, id string) {
	c.past = slices.DeleteFunc(c.past, func(m chat.Message) bool { return m.From == from && m.ID == id })
}

func (c *conversation) meet(f *frame.Frame) {
	for _, p := range f.People {
		c.people[p.ID] = p
	}
	c.here = f.Here
}

func (c *conversation) message(m chat.Message) {
	if m.Offset <= c.after {
		return // it came before the connection was lost
	}
	c.after = m.Offset
	c.came(m.From, m.ID)
	delete(c.typing, m.From)
	c.pending = slices.DeleteFunc(c.pending, func(p pending) bool { return p.id == m.ID && m.From == c.me })
	if m.Kind != chat.KindEdit && m.Kind != chat.KindDelete {
		c.messages = append(c.messages, m)
		return
	}
	for i := range c.messages {
		if o := &c.messages[i]; o.Offset == m.Ref {
			if o.Text, o.Edited = m.Text, m.At; m.Kind == chat.KindDelete || m.Deleted {
				o.Text, o.File, o.Deleted = "", nil, true
			}
		}
	}
}

// ack makes a message of one's own one of the conversation.
func (c *conversation) ack(f *frame.Frame) {
	i := slices.IndexFunc(c.pending, func(p pending) bool { return p.id == f.ID })
	c.came(c.me, f.ID)
	if i < 0 {
		return
	}
	m := chat.Message{Offset: f.Offset, ID: f.ID, From: c.me, Kind: chat.KindText, Text: c.pending[i].text, At: time.Now()}
	if f.At != nil {
		m.At = *f.At
	}
	c.pending = slices.Delete(c.pending, i, i+1)
	if f.Offset <= c.after {
		return
	}
	// What others said meanwhile, at a lower offset, has come before: the relay keeps the order.
	c.after, c.messages = f.Offset, append(c.messages, m)
}

func (c *conversation) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = false
}

func (c *conversation) add(p pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = append(c.pending, p)
}

// unsent is how many messages the server has not acknowledged.
func (c *conversation) unsent() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pending {
		if !p.refused && !p.held {
			n++
		}
	}
	return n
}

// seen is the offset of the last message, if that is another one's.
func (c *conversation) seen() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.after
}

func (c *conversation) name(id int64) string {
	if id == c.me {
		return c.say.Say("line.you")
	}
	p, ok := c.people[id]
	if !ok {
		return "?"
	}
	return Visible(p.DisplayName())
}

// lines are the conversation as text, one string a message.
func (c *conversation) lines() (lines []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.messages {
		lines = append(lines, c.line(m))
	}
	for _, m := range c.past {
		lines = append(lines, c.line(m))
	}
	for _, p := range c.pending {
		if p.held {
			continue
		}
		key := "program.sending"
		if p.refused {
			key = "program.unsent"
		}
		lines = append(lines, fmt.Sprintf("      %s: %s (%s)", c.name(c.me), Visible(p.text), c.say.Say(key)))
	}
	return lines
}

func (c *conversation) line(m chat.Message) string {
	at := m.At.Local().Format("15:04")
	if y, month, d := m.At.Local().Date(); time.Since(m.At) > 12*time.Hour {
		if ny, nm, nd := time.Now().Date(); y != ny || month != nm || d != nd {
			at = m.At.Local().Format("2006-01-02 15:04")
		}
	}
	who := c.name(m.From)
	if m.Via == chat.ViaMail {
		who += " (" + c.say.Say("line.byMail") + ")"
	}
	said := Visible(m.Text)
	switch {
	case m.Deleted:
		said = c.say.Say("line.deleted")
	case m.Kind == chat.KindNote:
		return at + " – " + c.note(m)
	case m.Kind == chat.KindMail:
		return at + " – " + c.say.Say("note.mail", "name", who, "subject", said)
	case m.Kind == chat.KindFile && m.File != nil:
		name := Visible(m.File.Name)
		if name == "" {
			name = c.say.Say("file.unnamed")
		}
		said = strings.TrimSpace(fmt.Sprintf("[%s, %s] %s %s", name, words.Octets(m.File.Size), c.files+m.File.ID,
			said))
	case !m.Edited.IsZero():
		said += " (" + c.say.Say("line.edited") + ")"
	}
	return at + " " + who + ": " + said
}

// note says a message of the server itself.
func (c *conversation) note(m chat.Message) string {
	key, rest, _ := strings.Cut(m.Text, "\n")
	if key == chat.NoteFrom {
		date, subject, _ := strings.Cut(rest, "\n")
		if at, err := time.Parse(time.RFC3339, date); err == nil {
			date = at.Local().Format("2006-01-02")
		}
		if subject != "" {
			return c.say.Say("note.fromSubject", "subject", Visible(subject), "date", date)
		}
		return c.say.Say("note.from", "date", date)
	}
	key = "note." + key
	if m.From == c.me {
		key += ".you"
	}
	text := c.say.Say(key, "name", c.name(m.From))
	if rest != "" {
		text += ": " + Visible(rest)
	}
	return text
}

// head says how things stand, in one line.
func (c *conversation) head() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		key := "status.connecting"
		if c.epoch != "" {
			key = "status.reconnecting"
		}
		return c.say.Say(key)
	}
	others := c.others(c.here)
	switch a := c.attempt; {
	case len(others) > 0:
		return c.say.Say("status.connected", "names", strings.Join(others, ", "))
	case a != nil && a.State == "ringing":
		return c.say.Say("status.ringing", "name", c.name(a.Callee))
	case a != nil && a.State == "busy":
		return c.say.Say("status.busy", "name", c.name(a.Callee))
	case a != nil && a.State == "declined":
		return c.say.Say("status.declined", "name", c.name(a.Callee))
	case a != nil && a.State == "unanswered":
		return c.say.Say("status.unanswered", "name", c.name(a.Callee))
	case a != nil && a.State == "alarmed":
		return c.say.Say("status.alerted", "name", c.name(a.Callee))
	case c.status != nil && c.status.State == frame.Available:
		return c.say.Say("status.available")
	}
	return c.say.Say("program.nobody")
}

// writing says who is typing; empty: nobody.
func (c *conversation) writing() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []int64
	for id, at := range c.typing {
		if time.Since(at) < typingLasts {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	if names := c.others(ids); len(names) > 0 {
		return c.say.Say("program.typing", "names", strings.Join(names, ", "))
	}
	return ""
}

func (c *conversation) others(ids []int64) (names []string) {
	for _, id := range ids {
		if id != c.me {
			names = append(names, c.name(id))
		}
	}
	return names
}

func (c *conversation) title() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Visible(c.subject)
}

// Visible keeps what others wrote from moving the cursor or changing the terminal.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return -1
		}
		return r
	}, s)
}
