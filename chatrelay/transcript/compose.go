// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"bytes"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/words"
)

// Transcript is a conversation as one of its people gets it by mail. Names,
// subject and texts have been cleaned (package clean); Compose escapes them.
type Transcript struct {
	Subject string
	People  []string // names, the reader's among them
	Lines   []Line   // oldest first; of more than fits the newest are written
	Earlier int      // lines before Lines that the conversation has
	Link    string   // into the conversation; may be empty
	Lang    string   // "ko"; anything else is English
	Zone    *time.Location
	Unread  int    // messages that the reader has not read: it is a mail of these; 0: a transcript
	Stop    string // address at which the reader ends such mails; may be empty
}

// Line is one message or note.
type Line struct {
	At      time.Time
	Name    string // who wrote it; empty for a note
	Text    string // of a note: what happened, in the reader's language
	Quote   string // what it answers, and who said that; may be empty
	Edited  bool
	Deleted bool // Text and Files are not written
	Files   []File
}

// File is a file of a message, as a link.
type File struct {
	Name string
	URL  string
	Size int64 // octets
}

// weekdays are the days in Korean, of which Go knows none.
var weekdays = [...]string{"일", "월", "화", "수", "목", "금", "토"}

// dateOf writes a date in a language, and dayOf with its weekday.
func dateOf(lang string, t time.Time) string {
	if lang != "ko" {
		return t.Format("2 January 2006")
	}
	return fmt.Sprintf("%d년 %d월 %d일", t.Year(), t.Month(), t.Day())
}

func dayOf(lang string, t time.Time) string {
	if lang != "ko" {
		return t.Format("Monday, 2 January 2006")
	}
	return dateOf(lang, t) + " " + weekdays[t.Weekday()] + "요일"
}

// clockOf writes a time of the day, of twelve hours as the pages do.
func clockOf(lang string, t time.Time) string {
	if lang != "ko" {
		return t.Format("3:04 PM")
	}
	half := "오전"
	if t.Hour() >= 12 {
		half = "오후"
	}
	return fmt.Sprintf("%s %d:%02d", half, (t.Hour()+11)%12+1, t.Minute())
}

// zone is the reader's, or UTC.
func (t Transcript) zone() *time.Location {
	if t.Zone == nil {
		return time.UTC
	}
	return t.Zone
}

// page is a transcript in words, for the template and the text alike.
type page struct {
	Lang, Marker, Heading, With, Zone, Earlier, Link, Open, Edited, Deleted, Stop, StopLabel string
	Days                                                                                     []day
}

type day struct {
	Name  string
	Lines []entry
}

type entry struct {
	Line
	Clock string
	Files []attached
}

type attached struct {
	Name, URL, Size string
}

// Compose returns the mail's subject and its bodies. Both bodies begin with
// the marker line.
func (t Transcript) Compose() (subject, text, html string, err error) {
	w := words.In(t.Lang)
	p := t.page(w)
	var b bytes.Buffer
	if err := htmlBody.Execute(&b, p); err != nil {
		return "", "", "", fmt.Errorf("composing a transcript: %w", err)
	}
	return t.title(w), p.text(), b.String(), nil
}

// title is the mail's subject.
func (t Transcript) title(w words.Tongue) string {
	if t.Unread == 0 {
		return w.Say("transcript.subject", "subject", t.Subject)
	}
	var names []string
	for _, l := range t.Lines {
		if l.Name != "" && !slices.Contains(names, l.Name) {
			names = append(names, l.Name)
		}
	}
	return w.Say("unread.subject", "names", strings.Join(names, ", "), "subject", t.Subject)
}

func (t Transcript) page(w words.Tongue) page {
	zone := t.zone()
	lines, earlier := t.Lines, t.Earlier
	size, first := 0, len(lines)
	for first > 0 && len(lines)-first < maxLines && size+cost(lines[first-1]) <= maxWritten {
		first--
		size += cost(lines[first])
	}
	lines, earlier = lines[first:], earlier+first
	p := page{
		Lang: w.Lang, Marker: markers[w.Lang], Heading: w.Say("transcript.heading", "subject", t.Subject),
		Zone: w.Say("transcript.zone", "zone", zone),
		Open: w.Say("transcript.open"), Edited: w.Say("transcript.edited"), Deleted: w.Say("transcript.deleted"),
	}
	if t.Unread > 0 {
		p.Heading = w.Say("unread.heading", "n", t.Unread, "subject", t.Subject)
		p.Stop, p.StopLabel = t.Stop, w.Say("unread.stop")
	}
	if web(t.Link) {
		p.Link = t.Link
	}
	if len(t.People) > 0 {
		p.With = w.Say("transcript.with", "names", strings.Join(t.People, ", "))
	}
	if earlier > 0 {
		p.Earlier = w.Say("transcript.earlier", "n", earlier)
	}
	for _, l := range lines {
		l.At = l.At.In(zone)
		if name := dayOf(w.Lang, l.At); len(p.Days) == 0 || p.Days[len(p.Days)-1].Name != name {
			p.Days = append(p.Days, day{Name: name})
		}
		e := entry{Line: l, Clock: clockOf(w.Lang, l.At)}
		if !l.Deleted {
			for _, f := range l.Files {
				a := attached{Name: f.Name, Size: words.Octets(f.Size)}
				if web(f.URL) {
					a.URL = f.URL
				}
				e.Files = append(e.Files, a)
			}
		}
		d := &p.Days[len(p.Days)-1]
		d.Lines = append(d.Lines, e)
	}
	return p
}

// cost is about how many octets a line takes.
func cost(l Line) int {
	n := 200 + len(l.Name) + len(l.Text) + len(l.Quote)
	for _, f := range l.Files {
		n += 50 + len(f.Name) + len(f.URL)
	}
	return n
}

// text is the plain body. What a person wrote is indented, so that it cannot
// be taken for another's line.
func (p page) text() string {
	var b strings.Builder
	put := func(parts ...string) {
		for _, s := range parts {
			b.WriteString(s)
		}
		b.WriteByte('\n')
	}
	put(p.Marker)
	put()
	put(p.Heading)
	for _, s := range []string{p.With, p.Zone, p.Earlier, p.Link} {
		if s != "" {
			put(s)
		}
	}
	for _, d := range p.Days {
		put()
		put("—— ", d.Name, " ——")
		for _, e := range d.Lines {
			put()
			switch {
			case e.Name == "":
				put(e.Clock, "  ", e.Text)
				continue
			case e.Edited && !e.Deleted:
				put(e.Clock, "  ", e.Name, " (", p.Edited, ")")
			default:
				put(e.Clock, "  ", e.Name)
			}
			if e.Deleted {
				put("    ", p.Deleted)
				continue
			}
			if e.Quote != "" {
				put("    > ", e.Quote)
			}
			if e.Text != "" {
				put("    ", strings.ReplaceAll(e.Text, "\n", "\n    "))
			}
			for _, f := range e.Files {
				put(strings.TrimRight(fmt.Sprintf("    [%s, %s] %s", f.Name, f.Size, f.URL), " "))
			}
		}
	}
	if p.Stop != "" {
		put()
		put(p.StopLabel, ": ", p.Stop)
	}
	return b.String()
}

// htmlBody has its styles in it, because mail programs leave others out.
var htmlBody = template.Must(template.New("transcript").Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"></head>
<body style="font-family:system-ui,sans-serif;line-height:1.5;max-width:40em">
<p style="font-size:small;opacity:.7">{{.Marker}}</p>
<h1 style="font-size:1.25em" dir="auto">{{.Heading}}</h1>
<p style="font-size:small">{{with .With}}<bdi>{{.}}</bdi><br>{{end}}{{.Zone}}{{with .Earlier}}<br>{{.}}{{end}}</p>
{{- with .Link}}
<p><a href="{{.}}">{{$.Open}}</a></p>
{{- end}}
{{- range .Days}}
<h2 style="font-size:1em">{{.Name}}</h2>
{{- range .Lines}}
{{- if not .Name}}
<p style="font-size:small;opacity:.7"><bdi>{{.Text}}</bdi> · {{.Clock}}</p>
{{- else}}
<p style="margin-bottom:0"><b><bdi>{{.Name}}</bdi></b>
<span style="font-size:small;opacity:.7">{{.Clock}}{{if and .Edited (not .Deleted)}} · {{$.Edited}}{{end}}</span></p>
{{- if .Deleted}}
<p style="margin:0;opacity:.7"><i>{{$.Deleted}}</i></p>
{{- else}}
{{- with .Quote}}
<blockquote style="margin:0 0 0 .5em;padding-left:.5em;border-left:2px solid;opacity:.7" dir="auto">{{.}}</blockquote>
{{- end}}
{{- with .Text}}
<p style="margin:0;white-space:pre-wrap;overflow-wrap:anywhere" dir="auto">{{.}}</p>
{{- end}}
{{- range .Files}}
<p style="margin:0">{{if .URL}}<a href="{{.URL}}"><bdi>{{.Name}}</bdi></a>
{{- else}}<bdi>{{.Name}}</bdi>{{end}} ({{.Size}})</p>
{{- end}}
{{- end}}
{{- end}}
{{- end}}
{{- end}}
{{- with .Stop}}
<p style="font-size:small;opacity:.7"><a href="{{.}}">{{$.StopLabel}}</a></p>
{{- end}}
</body></html>
`))
