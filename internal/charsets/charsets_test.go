// SPDX-License-Identifier: GPL-3.0-or-later

package charsets

import "testing"

// TestWords: names are read whatever their charset is called.
func TestWords(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"=?windows-1252?Q?=93a=94?=":         "\u201ca\u201d",
		"=?cp949?B?yKux5rW/?=":               "홍길동",
		"=?ks_c_5601-1987?B?yKux5rW/?=":      "홍길동",
		"=?x-windows-949?B?yKux5rW/?=":       "홍길동",
		"=?koi8r?B?7cnOwQ==?=":               "Мина",
		"=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=": "山田",
		"=?gb2312?B?wfU=?=":                  "刘",
		"=?ibm850?Q?=81?=":                   "ü",
		"=?utf8?Q?=C3=BC?=":                  "ü",
	} {
		if got, err := Words.DecodeHeader(word); err != nil || got != want {
			t.Errorf("%s is %q, %v", word, got, err)
		}
	}
	for _, word := range []string{"=?nonsense?Q?a?=", "=?iso-2022-cn?Q?a?="} {
		if got, err := Words.DecodeHeader(word); err == nil {
			t.Errorf("%s is %q", word, got)
		}
	}
}

// TestExact: a charset holds what it says and no more.
func TestExact(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"iso-8859-1", "latin1", "us-ascii", "ANSI_X3.4-1968"} {
		if out, err := Exact(name).NewEncoder().String("\u201c"); err == nil {
			t.Errorf("%s holds a quotation mark: %q", name, out)
		}
	}
	if in, err := ForReading("latin1").NewDecoder().String("\x93"); err != nil || in != "\u201c" {
		t.Errorf("a quotation mark of what is called latin1 is read as %q, %v", in, err)
	}
	if Exact("iso-2022-kr") != nil || Exact("nonsense") != nil {
		t.Error("an unknown charset is known")
	}
}
