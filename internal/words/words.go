// SPDX-License-Identifier: GPL-3.0-or-later

// Package words is the one catalogue of what CHmail says to people: on pages,
// in the mails it writes, in transcripts, and beside the link that is stamped
// into a mail. A sentence is there once, in each language, in a file of its
// subject: en.json and ko.json, mall.en.json and mall.ko.json. It depends on
// nothing, so that every package may speak.
//
// A message is text with {names} in it, or, where a number decides how it
// reads, an object of such texts by plural category (Unicode CLDR): "one" and
// "other", chosen by the value n.
package words

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"golang.org/x/text/language"
)

//go:embed *.json
var files embed.FS

// Languages are the tags of those that CHmail speaks; the first is for
// everybody else.
var Languages = []string{"en", "ko"}

var (
	matcher = language.NewMatcher([]language.Tag{language.English, language.Korean})
	tongues = make(map[string]Tongue, len(Languages))
	value   = regexp.MustCompile(`\{(\w+)\}(님?)`) // with the title that Korean gives to names
	// A name that has a title already, perhaps with something in brackets behind it.
	titled = regexp.MustCompile(`[님씨](\([^()]*\))?$`)
)

func init() {
	for _, lang := range Languages {
		t, err := read(lang)
		if err != nil { // the files are part of the program
			panic(err)
		}
		tongues[lang] = t
	}
}

func read(lang string) (Tongue, error) {
	t := Tongue{Lang: lang}
	names, err := fs.Glob(files, "*"+lang+".json")
	if err != nil {
		return t, err
	}
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(b, &t.messages) // into the map that is there
		}
		if err != nil {
			return t, fmt.Errorf("words: reading %s: %w", name, err)
		}
	}
	return t, nil
}

// Tongue is one language's catalogue.
type Tongue struct {
	Lang     string // "en" or "ko"
	messages map[string]message
}

// message is a text by its plural category; one without plurals has "other" alone.
type message map[string]string

func (m *message) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*m = message{"other": one}
		return nil
	}
	var all map[string]string
	if err := json.Unmarshal(b, &all); err != nil {
		return err
	}
	*m = all
	return nil
}

// In returns the catalogue of the language nearest to a list of preferences as
// Accept-Language (RFC 9110 section 12.5.4) and Content-Language have it, or to
// one BCP 47 tag.
func In(preferences string) Tongue {
	if t, ok := tongues[preferences]; ok { // as most callers say it
		return t
	}
	_, index := language.MatchStrings(matcher, preferences)
	return tongues[Languages[index]]
}

// Say returns a message with its values in place, given as pairs of a name and
// anything that fmt prints. A key that is not there is returned itself: a test
// finds those in the source.
func (t Tongue) Say(key string, values ...any) string {
	m, ok := t.messages[key]
	if !ok {
		return key
	}
	by := make(map[string]string, len(values)/2)
	for i := 0; i+1 < len(values); i += 2 {
		by[fmt.Sprint(values[i])] = fmt.Sprint(values[i+1])
	}
	text := m["other"]
	if one, ok := m["one"]; ok && by["n"] == "1" {
		text = one
	}
	return value.ReplaceAllStringFunc(text, func(found string) string {
		name, title, _ := strings.Cut(found[1:], "}")
		if titled.MatchString(by[name]) {
			return by[name]
		}
		return by[name] + title
	})
}

// Message is a message as the files have it: a string, or a map of strings by
// plural category.
func (t Tongue) Message(key string) any {
	m := t.messages[key]
	if len(m) == 1 {
		return m["other"]
	}
	return map[string]string(m)
}

// Keys are those of all messages, in no order.
func (t Tongue) Keys() []string {
	keys := make([]string, 0, len(t.messages))
	for key := range t.messages {
		keys = append(keys, key)
	}
	return keys
}
