// SPDX-License-Identifier: GPL-3.0-or-later

// Command bundle makes what browsers load from web/ui: for each page a script a
// language, which has the page's own words in it and no others, the service worker
// likewise, and style sheets. web/assets gets those of the chats, mall/site/assets
// those of the mall. `make build` runs it from the top of the repository.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"

	"github.com/chmail/chmail/internal/words"
)

const source = "web/ui"

// target is a folder of what one web server serves.
type target struct {
	folder string
	styles []string // each style/NAME.css
	pages  []string // scripts of documents, each page/NAME.ts; "sw" is the service worker
}

var targets = []target{
	// The chat page loads talk, the conversation, when it has shown its card, and gate, which asks whose the
	// link is, when it has to.
	{"web/assets", []string{"card", "app"}, []string{"chat", "talk", "gate", "desk", "landing", "offline", "register", "sw"}},
	{"mall/site/assets", []string{"mall"}, []string{"mall"}},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bundle: ")
	for _, t := range targets {
		if err := t.make(); err != nil {
			log.Fatal(err)
		}
	}
}

func (t target) make() error {
	files := make(map[string][]byte)
	for _, name := range t.pages {
		format := api.FormatESModule
		if name == "sw" { // not every browser takes a module as a service worker
			format = api.FormatIIFE
		}
		script, err := build(filepath.Join(source, "page", name+".ts"), format)
		if err != nil {
			return err
		}
		for _, lang := range words.Languages {
			files[name+"."+lang+".js"] = withWords(lang, script)
		}
	}
	for _, name := range t.styles {
		style, err := build(filepath.Join(source, "style", name+".css"), api.FormatDefault)
		if err != nil {
			return err
		}
		files[name+".css"] = style
	}
	if err := os.MkdirAll(t.folder, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(t.folder, "*.*s"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(t.folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// build returns one entry with all that it imports, minified.
func build(entry string, format api.Format) ([]byte, error) {
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{entry}, Bundle: true, Format: format, Target: api.ES2022, Charset: api.CharsetUTF8,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, Outdir: ".",
		LogLevel: api.LogLevelWarning,
	})
	if len(result.Errors) > 0 {
		return nil, errors.New("building " + entry + ": " + result.Errors[0].Text)
	}
	return result.OutputFiles[0].Contents, nil
}

// A template in a script that makes the key of a message (it begins with the
// name of a group), and the values in it.
var (
	template = regexp.MustCompile("`(\\w+\\.(?:[\\w.]|\\$\\{[^{}`]*\\})+)`")
	inserted = regexp.MustCompile(`\$\{[^{}]*\}`)
)

// withWords puts before a script the words of a language that it can say. It
// knows them by their keys, which stand in the script whole or as templates.
func withWords(lang string, script []byte) []byte {
	var made []*regexp.Regexp
	for _, found := range template.FindAllSubmatch(script, -1) {
		if parts := inserted.Split(string(found[1]), -1); len(parts) > 1 {
			for i, part := range parts {
				parts[i] = regexp.QuoteMeta(part)
			}
			made = append(made, regexp.MustCompile("^"+strings.Join(parts, ".*")+"$"))
		}
	}
	said := make(map[string]any)
	all := words.In(lang)
	for _, key := range all.Keys() {
		whole := func(quote string) bool { return bytes.Contains(script, []byte(quote+key+quote)) }
		matches := func(p *regexp.Regexp) bool { return p.MatchString(key) }
		if slices.ContainsFunc([]string{`"`, "'", "`"}, whole) || slices.ContainsFunc(made, matches) {
			said[key] = all.Message(key)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(said); err != nil { // strings, and maps of them
		panic(err)
	}
	return append(fmt.Appendf(nil, "const LANG=%q,WORDS=%s;\n", lang, bytes.TrimSpace(b.Bytes())), script...)
}
