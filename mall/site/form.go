// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

// form is a form as it was posted, or as it is to be shown: what was typed stays in
// it, with what is wrong beside each field.
type form struct {
	Values url.Values
	Errors map[string]string // by the field's name
}

// blank is a form that has not been filled in; pairs are names and values.
func blank(pairs ...string) *form {
	f := &form{Values: url.Values{}, Errors: map[string]string{}}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Values.Set(pairs[i], pairs[i+1])
	}
	return f
}

// readForm reads a posted form; otherwise it has answered and reports false.
func (s *Server) readForm(w http.ResponseWriter, r *http.Request) (*form, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		s.notice(w, r, http.StatusRequestEntityTooLarge, "large")
		return nil, false
	case err != nil:
		s.notice(w, r, http.StatusBadRequest, "garbled")
		return nil, false
	}
	return &form{Values: r.PostForm, Errors: map[string]string{}}, true
}

// Get is a field's text without the white space around it.
func (f *form) Get(name string) string { return strings.TrimSpace(f.Values.Get(name)) }

// On says whether a box is ticked.
func (f *form) On(name string) bool { return f.Values.Get(name) != "" }

// Fail says what is wrong with a field, unless that was said.
func (f *form) Fail(name, text string) {
	if f.Errors[name] == "" {
		f.Errors[name] = text
	}
}

// OK says whether nothing is wrong.
func (f *form) OK() bool { return len(f.Errors) == 0 }

// field is one field of a form, for the template "field".
type field struct {
	Name, Label, Value, Error string
	Type                      string // of an input; "area": a text of several lines; "tick": a box
	Complete                  string // autocomplete
	Hint                      template.HTML
	Optional                  bool
	Rows, Max                 int
	Mode                      string // inputmode
	Focus                     bool
	Choices                   []any // value, label, value, label …: a choice
}

// newField makes a field of a form. options are pairs: "type", "complete", "hint",
// "optional", "rows", "max", "mode", "focus", "choices".
func newField(f *form, name string, label template.HTML, options ...any) (field, error) {
	made := field{Name: name, Label: plain(label), Type: "text", Value: f.Values.Get(name), Error: f.Errors[name]}
	for i := 0; i+1 < len(options); i += 2 {
		switch v := options[i+1]; options[i] {
		case "type":
			made.Type = v.(string)
		case "complete":
			made.Complete = v.(string)
		case "hint":
			made.Hint = v.(template.HTML)
		case "optional":
			made.Optional = v.(bool)
		case "rows":
			made.Rows = v.(int)
		case "max":
			made.Max = v.(int)
		case "mode":
			made.Mode = v.(string)
		case "focus":
			made.Focus = v.(bool)
		case "choices":
			made.Choices = v.([]any)
		default:
			return field{}, fmt.Errorf("a field has no option %v", options[i])
		}
	}
	return made, nil
}

// plain is a message without the marks around its values.
func plain(text template.HTML) string {
	return htmlText.Replace(string(text))
}

var htmlText = strings.NewReplacer("<bdi>", "", "</bdi>", "", "&amp;", "&", "&lt;", "<", "&gt;", ">",
	"&#34;", `"`, "&#39;", "'")

// pair is a value and how it is called, of a field's choices.
type pair struct{ Value, Label string }

// pairs makes choices from a list of value, label, value, label.
func pairs(list []any) (all []pair) {
	text := func(v any) string {
		if html, ok := v.(template.HTML); ok {
			return plain(html)
		}
		return fmt.Sprint(v)
	}
	for i := 0; i+1 < len(list); i += 2 {
		all = append(all, pair{text(list[i]), text(list[i+1])})
	}
	return all
}
