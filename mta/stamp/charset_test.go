// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"strings"
	"testing"
)

// TestCharsetNames: the link is in the text whatever the charset is called, and
// in no charset in which ASCII is something else.
func TestCharsetNames(t *testing.T) {
	t.Parallel()
	const good = "us-ascii ascii ANSI_X3.4-1968 ansi_x3.4-1986 ISO646-US iso-ir-6 us cp20127" +
		" utf-8 utf8 UTF_8 utf8mb4 cp65001 unicode-1-1-utf-8" +
		" iso-8859-1 iso8859-1 iso_8859-1 8859-1 latin1 l1 ISO_8859-15 latin-9 iso-8859-8-i csISOLatin1 iso8859-15" +
		" windows-1252 cp1252 cp-1252 x-cp1252 win-1251 windows1250 CP1251 ms1252 windows-874 cp874 tis-620 tis620" +
		" koi8-r koi8r KOI8_U cp866 ibm866 cp850 cp437 macintosh x-mac-cyrillic" +
		" euc-kr euckr ks_c_5601-1987 KSC5601 ks_c_5601 cp949 ms949 uhc windows-949 x-windows-949" +
		" shift_jis shift-jis x-sjis sjis MS_Kanji cp932 windows-31j ms932 euc-jp eucjp x-euc-jp eucJP-ms" +
		" iso-2022-jp csISO2022JP iso-2022-jp-ms iso-2022-jp-3 cp50220" +
		" gb2312 gb_2312-80 x-gbk gbk cp936 euc-cn GB18030 big5 big5-hkscs cn-big5 x-x-big5 cp950 csBig5"
	for _, name := range strings.Fields(good) {
		for _, charset := range []string{name, `"` + name + `"`, name + " (what the program calls it)"} {
			msg := "From: a@b.example\r\nContent-Type: text/plain; charset=" + charset + "\r\n\r\nHello\r\n"
			out, plan := stampIt(t, msg, sample)
			if plan.Reason() != "" || !strings.Contains(out, "Hello\r\n\r\n____") ||
				!strings.Contains(out, "\r\n"+link) {
				t.Errorf("%s: %s", charset, plan.Reason())
			}
		}
	}
	for _, name := range []string{"utf-7", "utf-16", "utf-16le", "utf-32", "hz-gb-2312", "iso-2022-kr", "iso-2022-cn",
		"ibm037", "cp1047", "unknown-8bit", "nonsense"} {
		_, plan := stampIt(t, "Content-Type: text/plain; charset="+name+"\r\n\r\nHello\r\n", sample)
		if plan.Reason() != ReasonNoText {
			t.Errorf("%s: %q", name, plan.Reason())
		}
	}
}

// TestFiles: a text with the name of a file, or to be saved, is nobody's letter.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{
		"Content-Type: text/plain; name=report.csv", "Content-Type: text/html; charset=utf-8; name=\"a.html\"",
		"Content-Type: text/plain; name*=utf-8''b%C3%BC.txt",
		"Content-Disposition: attachment", "Content-Disposition: Attachment (as a file)",
		"Content-Disposition: inline; filename=a.txt", "Content-Disposition: inline; filename*=utf-8''a.txt",
		"Content-Disposition: inline; filename*0=a; filename*1=.txt",
		"Content-Disposition: inline; filename=my file.txt",
		"Content-Disposition: form-data; name=x", "Content-Disposition: something-new",
	} {
		for _, msg := range []string{
			fields + "\n\na,b\n",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + fields + "\n\na,b\n--b--\n",
		} {
			_, plan := stampIt(t, crlf("From: a@b.example\n"+msg), sample)
			if plan.Reason() != ReasonNoText {
				t.Errorf("%s: %q", msg, plan.Reason())
			}
		}
		msg := "Content-Type: multipart/mixed; boundary=b\n\n--b\n" + fields + "\n\na,b\n--b\n\nHi\n--b--\n"
		if out, _ := stampIt(t, crlf(msg), sample); !strings.Contains(out, crlf("\na,b\n--b\n\nHi\n\n___")) {
			t.Errorf("the letter beside a file:\n%s", out)
		}
	}
	for _, fields := range []string{"Content-Disposition: inline", "Content-Disposition: inline (x)",
		"Content-Type: text/plain; format=flowed"} {
		if _, plan := stampIt(t, crlf(fields+"\n\nHi\n"), sample); plan.Reason() != "" {
			t.Errorf("%s: %q", fields, plan.Reason())
		}
	}
}
