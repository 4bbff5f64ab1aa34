// SPDX-License-Identifier: GPL-3.0-or-later

package clean

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxText = 16 << 10

const (
	family = "👨\u200D👩\u200D👧"
	wales  = "\U0001F3F4\U000E0067\U000E0062\U000E0077\U000E006C\U000E0073\U000E007F"
)

func TestName(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"plain":                    {"Mina Kim", "Mina Kim"},
		"Korean":                   {"김미나", "김미나"},
		"Korean from macOS":        {norm.NFD.String("김미나"), "김미나"},
		"white space":              {" \t Mina \r\n  Kim\u00A0\u3000 ", "Mina Kim"},
		"a header of its own":      {"Mina\r\nBcc: x@y", "Mina Bcc: x@y"},
		"line separator":           {"Mina\u2028Kim\u0085x", "Mina Kim x"},
		"right-to-left override":   {"exe.\u202Egpj", "exe.gpj"},
		"isolates and marks":       {"\u2067Mina\u2069\u200E\u200F\u061C", "Mina"},
		"zero width":               {"Mi\u200Bn\u2060a\uFEFF\u00AD\u200D\u200C", "Mina"},
		"Hangul fillers only":      {"\u3164\u115F\u1160\uFFA0", ""},
		"braille blank":            {"\u2800", ""},
		"tags":                     {"Mina\U000E0041\U000E0042", "Mina"},
		"controls":                 {"M\x00i\x1bn\x7fa\u009b", "Mina"},
		"invalid UTF-8":            {"Mi\xffna\xed\xa0\x80", "Mi\uFFFDna\uFFFD\uFFFD\uFFFD"},
		"markup is not its matter": {"<b>Mina</b>", "<b>Mina</b>"},
		"Arabic and Hebrew":        {"مينا שלום", "مينا שלום"},
		"a tower of marks": {"Z" + strings.Repeat("\u0335", 100) + "o",
			"Z" + strings.Repeat("\u0335", 8) + "o"},
		"marks only":                 {"\u0301\u0302", ""},
		"heart":                      {"Mina \u2764\uFE0F", "Mina \u2764\uFE0F"},
		"family":                     {family + " Kim", family + " Kim"},
		"Wales":                      {wales, wales},
		"Persian":                    {"می\u200Cخواهم", "می\u200Cخواهم"},
		"Katsuragi":                  {"葛\U000E0100城", "葛\U000E0100城"},
		"a name that looks the same": {"Mi\u200Cna Ми\u200Dна 김\u200D미나 a\U000E0100\uFE01", "Mina Мина 김미나 a"},
		"noncharacters":              {"M\uFFFEi\U0001FFFFna\uFDD0", "Mina"},
		"empty":                      {"", ""},
		"long":                       {strings.Repeat("가", 200), strings.Repeat("가", 79) + "…"},
		"long in octets":             {strings.Repeat("😀", 80), strings.Repeat("😀", 63) + "…"},
		"cut before a letter ends":   {strings.Repeat("x", 79) + "q\u0323", strings.Repeat("x", 79) + "…"},
		"cut before a flag ends":     {strings.Repeat("x", 79) + "🇰🇷", strings.Repeat("x", 79) + "…"},
		"cut after a space":          {strings.Repeat("x", 79) + " yy", strings.Repeat("x", 79) + "…"},
		"late":                       {strings.Repeat("\u200B", 1000) + "Mina", "Mina"},
		"ten megabytes":              {strings.Repeat("x", 10<<20), strings.Repeat("x", 79) + "…"},
		"white space only":           {" \n\t ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Name(c.in); got != c.want {
				t.Errorf("got %+q, want %+q", got, c.want)
			}
		})
	}
	if got := Subject(strings.Repeat("가", 300)); got != strings.Repeat("가", 250) {
		t.Errorf("a long subject has %d runes", utf8.RuneCountInString(got))
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"plain":                {"hello", "hello"},
		"line breaks":          {"a\r\nb\rc\n\nd\u2028e\u2029f\vg", "a\nb\nc\n\nd\ne\nf\ng"},
		"tabs and indentation": {"\n  if x {\n\ty()\n  }  \n\n", "  if x {\n\ty()\n  }"},
		"family":               {family, family},
		"rainbow flag":         {"🏳\uFE0F\u200D🌈", "🏳\uFE0F\u200D🌈"},
		"skin tone":            {"👩🏽\u200D💻", "👩🏽\u200D💻"},
		"woman running":        {"🏃\u200D♀\uFE0F\u200D➡\uFE0F", "🏃\u200D♀\uFE0F\u200D➡\uFE0F"},
		"Wales":                {wales, wales},
		"hidden tags":          {"hi\U000E0067\U000E0062", "hi"},
		"Persian":              {"می\u200Cخواهم", "می\u200Cخواهم"},
		"Devanagari":           {"क्\u200Dष", "क्\u200Dष"},
		"joiners for nothing":  {"a \u200D\u200D\u200C b\u200D", "a  b"},
		"joiners in a row":     {"क्\u200D\u200Dष", "क्\u200Dष"},
		"joiners in Latin":     {"a\u200Db\u200Cc", "abc"},
		"a form of a kanji":    {"葛\U000E0100\U000E0101飾 \U000E0100a\U000E0100", "葛\U000E0100飾 a"},
		"forms of signs":       {"∩\uFE00 ᠨ\u180B 1\uFE0F\u20E3", "∩\uFE00 ᠨ\u180B 1\uFE0F\u20E3"},
		"zero width":           {"a\u200Bb\uFEFFc\u2060", "abc"},
		"override":             {"a\u202Egpj.exe\u202C", "agpj.exe"},
		"isolate and mark":     {"\u2067שלום\u2069 \u200Eabc", "\u2067שלום\u2069 \u200Eabc"},
		"controls":             {"a\x00\x1b[31mb\x7f", "a[31mb"},
		"invalid UTF-8":        {"a\xc0\xafb", "a\uFFFD\uFFFDb"},
		"nothing":              {" \u200B\n\u2067 \u200F", ""},
		"Hangul in parts":      {norm.NFD.String("안녕하세요"), "안녕하세요"},
		"zalgo":                {"H" + strings.Repeat("\u030D", 5000) + "i", "H" + strings.Repeat("\u030D", 8) + "i"},
		"markup":               {"<script>alert(1)</script>", "<script>alert(1)</script>"},
		"as long as may be":    {strings.Repeat("x", maxText), strings.Repeat("x", maxText)},
		"long only before": {strings.Repeat(" ", 10) + "x" + strings.Repeat("\u200B", maxText),
			strings.Repeat(" ", 10) + "x"},
		"private use and unborn": {"\uE000\U0001FAFF", "\uE000\U0001FAFF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Message(c.in, maxText)
			if err != nil || got != c.want {
				t.Errorf("got %+q, %v, want %+q", got, err, c.want)
			}
		})
	}
	for _, n := range []int{maxText + 1, 10 << 20} {
		if got, err := Message(strings.Repeat("x", n), maxText); !errors.Is(err, ErrTooLong) || got != "" {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"Mina", family, wales, "a\u202Eb", "\xed\xa0\x80", "Z\u0335\u0335", "a\r\nb",
		"\u1100\u1161\u200D\u11A8", "क्\u200Dष"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := Name(s)
		if !utf8.ValidString(name) || utf8.RuneCountInString(name) > MaxName || len(name) > MaxNameOctets {
			t.Errorf("a name of %d octets: %+q", len(name), name)
		}
		runes := []rune(name)
		for i, r := range runes {
			alone := r == zwj && (i == 0 || i == len(runes)-1 || !joins(runes[i-1]) || !joins(runes[i+1]))
			if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) || bidi(r) || alone {
				t.Errorf("%U in a name: %+q", r, name)
			}
		}
		if again := Name(name); again != name {
			t.Errorf("cleaned again %+q becomes %+q", name, again)
		}
		text, err := Message(s, maxText)
		if err != nil {
			return
		}
		if !utf8.ValidString(text) || len(text) > maxText {
			t.Errorf("a message of %d octets: %+q", len(text), text)
		}
		if strings.ContainsAny(text, "\r\x00\u202A\u202D\u202E\u200B\uFEFF") {
			t.Errorf("not clean: %+q", text)
		}
		if again, err := Message(text, maxText); err != nil || again != text {
			t.Errorf("cleaned again %+q becomes %+q, %v", text, again, err)
		}
	})
}
