// SPDX-License-Identifier: GPL-3.0-or-later

package terminal

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/chmail/chmail/agent/server"
	"github.com/chmail/chmail/chatrelay/frame"
)

const redrawEvery = time.Second // for "is typing" to go away

func newLines(in io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(in)
	s.Buffer(nil, frame.MaxText)
	return s
}

// screen is the conversation above a line to type in. It is a model of bubbletea.
type screen struct {
	t      *talk
	colour bool
	width  int
	height int
	input  []rune
	cursor int // in input
	scroll int // lines above the newest that are at the bottom
	shown  string
	err    error
}

// The messages of bubbletea.
type (
	roomEvent struct {
		server.Event
		ok bool
	}
	ringEvent struct {
		server.Event
		ok bool
	}
	pastEvent struct{ do func() }
	redraw    struct{}
)

func (t *talk) onScreen(ctx context.Context) error {
	s := &screen{t: t, colour: os.Getenv("NO_COLOR") == "", width: 80, height: 24}
	_, err := tea.NewProgram(s, tea.WithContext(ctx), tea.WithAltScreen(),
		tea.WithInput(t.In), tea.WithOutput(t.Out)).Run()
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = s.err
	}
	return err
}

func (s *screen) Init() tea.Cmd { return tea.Batch(s.waitRoom, s.waitRing, s.waitPast, tick()) }

func (s *screen) waitRoom() tea.Msg {
	e, ok := <-s.t.line.Events()
	return roomEvent{e, ok}
}

func (s *screen) waitRing() tea.Msg {
	select {
	case e, ok := <-s.t.rings():
		return ringEvent{e, ok}
	case <-s.t.done: // what comes next is for the next conversation
		return nil
	}
}

func (s *screen) waitPast() tea.Msg {
	select {
	case f := <-s.t.past.news:
		return pastEvent{f}
	case <-s.t.done:
		return nil
	}
}

func tick() tea.Cmd { return tea.Tick(redrawEvery, func(time.Time) tea.Msg { return redraw{} }) }

func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = msg.Width, msg.Height
	case redraw:
		return s, tick()
	case roomEvent:
		if !msg.ok {
			return s, tea.Quit
		}
		if s.err = s.t.room(msg.Event); s.err != nil {
			return s, tea.Quit
		}
		return s, s.waitRoom
	case pastEvent:
		msg.do()
		return s, s.waitPast
	case ringEvent:
		if msg.ok {
			had := s.t.ring != nil
			if s.t.rang(msg.Event); !had && s.t.ring != nil && !s.t.ring.Muted {
				return s, tea.Batch(s.waitRing, bell)
			}
			return s, s.waitRing
		}
	case tea.KeyMsg:
		return s, s.key(msg)
	}
	return s, nil
}

// bell rings the terminal's bell.
func bell() tea.Msg {
	os.Stderr.WriteString("\a")
	return nil
}

func (s *screen) key(k tea.KeyMsg) tea.Cmd {
	switch k.Type {
	case tea.KeyCtrlC, tea.KeyCtrlD:
		return tea.Quit
	case tea.KeyPgUp:
		s.scroll += s.body() / 2
	case tea.KeyPgDown:
		s.scroll = max(0, s.scroll-s.body()/2)
	case tea.KeyLeft:
		s.cursor = max(0, s.cursor-1)
	case tea.KeyRight:
		s.cursor = min(len(s.input), s.cursor+1)
	case tea.KeyHome, tea.KeyCtrlA:
		s.cursor = 0
	case tea.KeyEnd, tea.KeyCtrlE:
		s.cursor = len(s.input)
	case tea.KeyCtrlU:
		s.input, s.cursor = s.input[s.cursor:], 0
	case tea.KeyBackspace:
		if s.cursor > 0 {
			s.input = append(s.input[:s.cursor-1], s.input[s.cursor:]...)
			s.cursor--
		}
	case tea.KeyDelete:
		if s.cursor < len(s.input) {
			s.input = append(s.input[:s.cursor], s.input[s.cursor+1:]...)
		}
	case tea.KeyRunes, tea.KeySpace:
		s.insert(k.Runes)
	case tea.KeyEnter:
		text := string(s.input)
		s.input, s.cursor, s.scroll = nil, 0, 0
		var quit bool
		if quit, s.shown = s.t.enter(text); quit {
			return tea.Quit
		}
	}
	return nil
}

func (s *screen) insert(typed []rune) {
	if len(string(s.input))+len(string(typed)) > frame.MaxText {
		return
	}
	s.input = append(s.input[:s.cursor], append([]rune(strings.ReplaceAll(string(typed), "\r", "\n")),
		s.input[s.cursor:]...)...)
	s.cursor += len(typed)
	if len(s.input) > 0 && s.input[0] != '/' {
		s.t.typing()
	}
}

// body is the height of the conversation: without the title, two lines about it, and
// the line to type in.
func (s *screen) body() int { return max(1, s.height-4) }

func (s *screen) View() string {
	var wrapped []string
	for _, line := range s.t.conv.lines() {
		wrapped = append(wrapped, strings.Split(ansi.Wrap(line, s.width, ""), "\n")...)
	}
	s.scroll = max(0, min(s.scroll, len(wrapped)-s.body()))
	end := len(wrapped) - s.scroll
	part := wrapped[max(0, end-s.body()):end]

	rows := []string{s.paint("1", s.fit(s.t.conv.title())), s.paint("2", s.fit(s.t.head()))}
	rows = append(rows, part...)
	for len(rows) < 2+s.body() {
		rows = append(rows, "")
	}
	news := s.t.ringing()
	for _, other := range []string{s.shown, s.t.conv.writing(), s.t.Say.Say("program.help")} {
		if news == "" {
			news = other
		}
	}
	return strings.Join(append(rows, s.paint("2", s.fit(news)), s.line()), "\n")
}

// line is the line to type in; where it is too long, the part around the cursor.
func (s *screen) line() string {
	shown := []rune(strings.ReplaceAll(string(s.input), "\n", "⏎"))
	begin := 0
	for begin < s.cursor && ansi.StringWidth(string(shown[begin:s.cursor])) > s.width-4 {
		begin++
	}
	under := " "
	if s.cursor < len(shown) {
		under = string(shown[s.cursor])
	}
	rest := ""
	if s.cursor < len(shown) {
		rest = string(shown[s.cursor+1:])
	}
	// The cursor is shown by the inverse, which is no colour.
	return ansi.Truncate("> "+string(shown[begin:s.cursor])+"\x1b[7m"+under+"\x1b[27m"+rest, s.width, "")
}

func (s *screen) fit(text string) string {
	return ansi.Truncate(strings.ReplaceAll(text, "\n", " "), s.width, "…")
}

func (s *screen) paint(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
