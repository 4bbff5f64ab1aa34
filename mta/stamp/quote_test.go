// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

const (
	oldLink   = base + "/c/AAAAAAAAAAAAAAAAAAAAAA"
	otherLink = "https://chat.other.example/c/BBBBBBBBBBBBBBBBBBBBBB"
)

// oldText and oldPage are what an earlier stamp looks like, in text and in HTML.
func oldText(t testing.TB, lang string) string {
	out, _ := stampIt(t, "\r\n", Stamp{Login: "jo@mall.example", SenderName: "Jo", URL: oldLink, Lang: lang})
	_, body := split(t, out)
	if lang != "" {
		out, _ = stampIt(t, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
			Stamp{Login: "jo@mall.example", SenderName: "Jo", URL: oldLink, Lang: lang})
		_, body = split(t, out)
	}
	return strings.ReplaceAll(body, "\r\n", "\n")
}

func oldPage(t testing.TB, lang string) string {
	out, _ := stampIt(t, "Content-Type: text/html\r\n\r\n<p>Offer</p>",
		Stamp{Login: "jo@mall.example", SenderName: "Jo", URL: oldLink, Lang: lang})
	_, body := split(t, out)
	return strings.TrimPrefix(body, "<p>Offer</p>")
}

func quoteLines(text, mark string) string {
	return mark + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+mark) + "\n"
}

// newBlock is the stamp of a test in text.
var newBlock = regexp.MustCompile(`(?:^|\n)_{32}\nChat now with Jürgen[^\n]*\nThe link opens[^\n]*:\n` +
	regexp.QuoteMeta(link) + `\n`)

// TestQuotedText: an older stamp goes out of what is quoted, however it is quoted; the
// new one stands above; everything else stays.
func TestQuotedText(t *testing.T) {
	t.Parallel()
	for _, lang := range []string{"en", "ko"} {
		stamp := oldText(t, lang)
		for name, c := range map[string]struct{ in, want string }{
			"one depth": {"Yes.\n\nOn 11/26/26 08:06, Jo wrote:\n" + quoteLines("Offer\n"+stamp, "> "),
				"Yes.\n\n@\nOn 11/26/26 08:06, Jo wrote:\n> Offer\n"},
			"two depths": {"Yes.\n\n> No?\n" + quoteLines("Offer\n"+stamp, "> > ") + "> end\n",
				"Yes.\n\n@\n> No?\n> > Offer\n> end\n"},
			"marks without spaces": {"Yes.\n\n" + quoteLines("Offer\n"+stamp, ">>"), "Yes.\n\n@\n>>Offer\n"},
			"two stamps": {"Yes.\n\n" + quoteLines("Offer\n"+stamp, "> ") + quoteLines("Older\n"+stamp, "> > "),
				"Yes.\n\n@\n> Offer\n> > Older\n"},
			"Outlook": {"Yes.\n\nFrom: Jo <jo@mall.example>\nSent: Thursday, 26 November 2026 08:06\nTo: Kim\n" +
				"Subject: Offer\n\nOffer\n" + stamp, "Yes.\n\n@\nFrom: Jo <jo@mall.example>\n" +
				"Sent: Thursday, 26 November 2026 08:06\nTo: Kim\nSubject: Offer\n\nOffer\n"},
			"Outlook with its rule": {"Yes.\n________________________________\nVon: Jo <jo@mall.example>\n" +
				"Gesendet: Donnerstag, 26. November 2026 08:06\nAn: Kim\nBetreff: Offer\n\nOffer " + oldLink + " end\n",
				"Yes.\n\n@\n________________________________\nVon: Jo <jo@mall.example>\n" +
					"Gesendet: Donnerstag, 26. November 2026 08:06\nAn: Kim\nBetreff: Offer\n\nOffer  end\n"},
			"original message": {"Yes.\n\n-----Original Message-----\nOffer\n" + stamp,
				"Yes.\n\n@\n-----Original Message-----\nOffer\n"},
			"a forward without words": {"-----Original Message-----\nOffer\n" + stamp,
				"@\n-----Original Message-----\nOffer\n"},
			"not marked at all": {"Yes.\nOffer\n" + stamp, "Yes.\nOffer\n\n@"},
			"as text out of HTML": {"Yes.\n\n> Offer\n> Chat now with Jo <" + oldLink + ">\n> end\n",
				"Yes.\n\n@\n> Offer\n> end\n"},
			"alone":            {"Yes.\n\n> Offer\n> " + oldLink + "\n> end\n", "Yes.\n\n@\n> Offer\n> end\n"},
			"within a line":    {"Yes.\n\n> See <" + oldLink + ">, please\n", "Yes.\n\n@\n> See , please\n"},
			"in other letters": {"Yes.\n\n> HTTPS://Chat.Mall.Example/c/AAAAAAAAAAAAAAAAAAAAAA\n", "Yes.\n\n@\n"},
			"the writer's own": {"My link is " + oldLink + "\n\n> Offer\n",
				"My link is " + oldLink + "\n\n@\n> Offer\n"},
			"of another server": {"Yes.\n\n" + quoteLines("____________\nChat:\n"+otherLink, "> "),
				"Yes.\n\n@\n> ____________\n> Chat:\n> " + otherLink + "\n"},
			"a longer token": {"Yes.\n\n> " + oldLink + "A\n", "Yes.\n\n@\n> " + oldLink + "A\n"},
			"answers between": {"> One?\nYes.\n> Two?\n" + quoteLines(stamp, "> ") + "No.\n",
				"> One?\nYes.\n> Two?\nNo.\n\n@"},
			"a broken line": {"Yes.\n\n> " + strings.Repeat("word ", 14) + "\nend\n> more\n",
				"Yes.\n\n@\n> " + strings.Repeat("word ", 14) + "\nend\n> more\n"},
			"a signature":         {"Yes.\n-- \nJürgen\n", "Yes.\n\n@\n-- \nJürgen\n"},
			"one below the quote": {"Yes.\n\n> Offer\n\n-- \nJürgen\n", "Yes.\n\n@\n> Offer\n\n-- \nJürgen\n"},
			"one above the quote": {"Yes.\n\n-- \nJürgen\n\n> Offer\n" + quoteLines(stamp, "> "),
				"Yes.\n\n@\n-- \nJürgen\n\n> Offer\n"},
			"below what is quoted": {"> Offer\n" + quoteLines(stamp, "> ") + "\nYes.\n", "> Offer\n\nYes.\n\n@"},
		} {
			for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
				for pad := range 3 {
					in := strings.Repeat("x", pad) + c.in
					want := strings.Repeat("x", pad) + c.want
					if pad > 0 && strings.HasPrefix(c.in, ">") || strings.HasPrefix(c.in, "-----") && pad > 0 {
						continue
					}
					out, plan := stampIt(t, "MIME-Version: 1.0\r\n"+leafOf("plain", enc, "utf-8", "", crlf(in)), sample)
					all, err := parts(out)
					if err != nil || len(all) != 1 || plan.Reason() != "" {
						t.Fatalf("%s: %v %s", name, err, plan.Reason())
					}
					got := strings.ReplaceAll(all[0].text, "\r\n", "\n")
					if n := len(newBlock.FindAllString(got, -1)); n != 1 {
						t.Errorf("%s, %s, %s: %d new stamps in %q", name, lang, enc, n, got)
					}
					got = newBlock.ReplaceAllString(got, "\n@")
					squeeze := func(s string) string { // base64 may be filled up with empty lines and spaces
						s = regexp.MustCompile(`\n\n+`).ReplaceAllString(s, "\n")
						return regexp.MustCompile(`  +`).ReplaceAllString(strings.Trim(s, "\n"), " ")
					}
					if squeeze(got) != squeeze(want) {
						t.Errorf("%s, %s, %s, %d:\n%q\nwant\n%q", name, lang, enc, pad, got, want)
					}
					if enc != "base64" && strings.Contains(got, "\n\n\n") {
						t.Errorf("%s, %s: empty lines pile up in %q", name, enc, got)
					}
				}
			}
		}
	}
}

// stripped are attributes that mail programs take away.
var stripped = regexp.MustCompile(` (?:role|aria-label|lang)="[^"]*"`)

// TestQuotedPage: the same in HTML.
func TestQuotedPage(t *testing.T) {
	t.Parallel()
	page := oldPage(t, "en")
	korean := oldPage(t, "ko")
	gmail := func(inner string) string {
		return `<div dir="ltr">Yes.</div><br><div class="gmail_quote gmail_quote_container">` +
			`<div dir="ltr" class="gmail_attr">On Thu, Nov 26, 2026 at 8:06 AM Jo &lt;jo@x.example&gt; wrote:` +
			`<br></div>` +
			`<blockquote class="gmail_quote" style="margin:0 0 0 .8ex">` + inner + `</blockquote></div>`
	}
	outlook := func(inner string) string {
		return `<div class=WordSection1><p class=MsoNormal>Yes.<o:p></o:p></p><div>` +
			`<div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm'>` +
			`<p class=MsoNormal><b>From:</b> Jo<br><b>Sent:</b> today<br>` +
			`<b>To:</b> Kim<br><b>Subject:</b> Offer<o:p></o:p></p></div></div>` + inner + `</div>`
	}
	mangled := `<div style='margin-top:18.0pt;border:none;border-top:solid #C9D4D0 1.0pt;padding:12.0pt 0cm 0cm 0cm'>` +
		`<p class=MsoNormal><a href="` + oldLink + `"><b><span style='color:white'>Chat now with Jo</span></b></a>` +
		`<o:p></o:p></p><p class=MsoNormal><span style='font-size:9.0pt'>` +
		`<a href="` + oldLink + `">The link opens a page` +
		`</a> <a href="` + oldLink + `">` + oldLink + `</a></span>&nbsp;<o:p></o:p></p></div>`
	moz := func(inner string) string {
		return `<p>Yes.</p><div class="moz-cite-prefix">On 11/26/26 08:06, Jo wrote:<br></div>` +
			`<blockquote type="cite" cite="mid:x@y">` + inner + `</blockquote>` +
			`<pre class="moz-signature">-- <br>Jürgen</pre>`
	}
	for name, c := range map[string]struct {
		in    string
		above string // what stands below the new stamp
	}{
		"Gmail":          {gmail("Offer" + page), "On Thu"},
		"Gmail, Korean":  {gmail("Offer" + korean), "On Thu"},
		"Gmail, twice":   {gmail("Offer" + page + gmail("Older"+korean)), "On Thu"},
		"Gmail, no role": {gmail("Offer" + stripped.ReplaceAllString(page, "")), "On Thu"},
		"link alone": {gmail(`Offer <a href="` + oldLink + `" target="_blank">Chat now with Jo</a> end`),
			"On Thu"},
		"link as text": {gmail("Offer<br>" + oldLink + "<br>end"), "On Thu"},
		"packed link": {gmail(`<a href="https://www.google.com/url?q=https%3A%2F%2Fchat.mall.example%2Fc%2F` +
			`AAAAAAAAAAAAAAAAAAAAAA&amp;sa=D">Chat</a>`), "On Thu"},
		"Outlook":        {outlook("<p>Offer</p>" + mangled), "From:"},
		"Outlook, whole": {outlook("<p>Offer</p>" + page), "From:"},
		"Outlook on the web": {`<div>Yes.</div><div id="appendonsend"></div><hr>` +
			`<div id="divRplyFwdMsg"><b>From:</b> Jo</div><div>Offer</div>` + page, "From:"},
		"Thunderbird": {moz("<p>Offer</p>" + page), "On 11/26/26"},
		"Apple": {`<html><body>Yes.<br><div><br><blockquote type="cite">` +
			`<div>On 26 Nov 2026, at 08:06, Jo wrote:</div><br><div>Offer` + page +
			`</div></blockquote></div></body></html>`, "On 26 Nov"},
		"Apple, older": {`<div>Yes.</div><div>On 26 Nov 2026, at 08:06, Jo &lt;j@x.example&gt; wrote:</div>` +
			`<blockquote>Offer` + page + `</blockquote>`, "On 26 Nov"},
		"Naver": {`<p>Yes.</p><p>-----Original Message-----<br><b>From:</b> Jo<br></p><div>Offer` + page + `</div>`,
			"-----Original"},
		"not marked":          {`<p>Yes.</p><p>Offer</p>` + page, ""},
		"a signature":         {`<p>Yes.</p><div class="gmail_signature">Jürgen</div>`, "Jürgen"},
		"a signature in text": {`<div>Yes.<br>-- <br>Jürgen<br></div>`, "--"},
		"answers between": {`<blockquote type="cite">One?</blockquote><p>Yes.</p>` +
			`<blockquote type="cite">Two?</blockquote><p>No.</p>`, ""},
		"in a newsletter's table": {gmail(`<table><tr><td>Offer</td></tr><tr><td colspan="1">` + page +
			`</td></tr></table>`), "On Thu"},
	} {
		for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
			for pad := range 3 {
				in := strings.Repeat(" ", pad) + c.in
				out, plan := stampIt(t, "MIME-Version: 1.0\r\n"+leafOf("html", enc, "utf-8", "", in), sample)
				all, err := parts(out)
				if err != nil || len(all) != 1 || plan.Reason() != "" {
					t.Fatalf("%s: %v %s", name, err, plan.Reason())
				}
				got := all[0].text
				if strings.Contains(got, "AAAAAAAAAAAAAAAAAAAAAA") || strings.Contains(got, "with Jo<") ||
					strings.Count(got, `href="`+link) != 1 {
					t.Fatalf("%s, %s, %d:\n%s", name, enc, pad, got)
				}
				if n := strings.Count(got, "<div role"); n != 1 {
					t.Errorf("%s, %s: %d blocks:\n%s", name, enc, n, got)
				}
				if i := strings.Index(got, "Jürgen"); c.above == "Jürgen" {
					i = strings.LastIndex(got, "Jürgen")
					if strings.Index(got, link) > i {
						t.Errorf("%s: below the signature:\n%s", name, got)
					}
				} else if at := strings.Index(got, link); c.above != "" && at > strings.Index(got, c.above) ||
					c.above == "" && at < strings.LastIndex(got, "</p>") || at < strings.Index(got, "Yes.") {
					t.Errorf("%s, %s: %d, %d:\n%s", name, enc, i, at, got)
				}
				// All that was shown is shown, but for the old stamp.
				shown, a := look(t, got)
				if a == nil {
					t.Fatalf("%s: no link is shown:\n%s", name, got)
				}
				text := strings.Join(strings.Fields(strings.Join(shown, " ")), " ")
				for _, word := range []string{"Yes.", "Offer", "Two?"} {
					if strings.Contains(c.in, word) && !strings.Contains(text, word) {
						t.Errorf("%s: %q is gone:\n%s", name, word, got)
					}
				}
			}
		}
	}
	// What is not an old stamp of this server stays as it is.
	for name, in := range map[string]string{
		"the writer's link":  `<p>My chat is <a href="` + oldLink + `">here</a>.</p>`,
		"another server's":   gmail(`<div>Offer<a href="` + otherLink + `">Chat now with Jo</a></div>`),
		"another page":       gmail(`<a href="` + base + `/about">Chat</a>`),
		"a half open link":   gmail(`<div>Offer <a href="` + oldLink + `">Chat</div>`),
		"a shorter token":    gmail(`<a href="` + base + `/c/short">Chat</a>`),
		"with other content": `<p><a href="` + oldLink + `">Chat</a><img src="cid:1"></p>`,
	} {
		out, plan := stampIt(t, "Content-Type: text/html\r\n\r\n"+in, Stamp{})
		if _, body := split(t, out); plan.Cuts() || body != in {
			t.Errorf("%s: %s", name, body)
		}
	}
}

// TestNewsletter: in a page that is one centered table the stamp is within it.
func TestNewsletter(t *testing.T) {
	t.Parallel()
	const inner = `<table width="600" align="center"><tr><td>Head</td><td>Logo</td></tr>` +
		`<tr><td colspan="2">News</td></tr>`
	for name, c := range map[string]struct {
		page   string
		within bool
		width  string // of the table
	}{
		"one table": {`<body>` + inner + `</table></body>`, true, "600"},
		"in another": {`<table width="100%"><tr><td align="center">` + inner + `</table></td></tr></table>`,
			true, "600"},
		"in center": {`<center><table width="600"><tr><td>News</td></tr></table></center>`, true, "600"},
		"by margins": {`<div style="margin: 0 auto"><table width="600"><tr><td>News<tr><td>More</table></div>`,
			true, "600"},
		"hidden before": {`<div style="display:none">Preview</div>` + inner + `</table>`, true, "600"},
		"two in one": {`<table width="100%" align="center"><tr><td>` + inner + `</table>` + inner +
			`</table></td></tr></table>`,
			true, "100%"},
		"a foot below":   {inner + `</table><p>Unsubscribe</p>`, false, ""},
		"words above":    {`<p>Hi</p>` + inner + `</table>`, false, ""},
		"not centered":   {`<table><tr><td>10</td><td>20</td></tr></table>`, false, ""},
		"a body of text": {`<center>Hi</center>` + inner + `</table>`, false, ""},
	} {
		out, _ := stampIt(t, "Content-Type: text/html\r\n\r\n"+c.page, sample)
		_, body := split(t, out)
		_, a := look(t, body)
		if a == nil {
			t.Fatalf("%s: no link:\n%s", name, body)
		}
		var cell, table *html.Node
		for n := a.Parent; n != nil && table == nil; n = n.Parent {
			switch n.Data {
			case "td":
				cell = n
			case "table":
				table = n
			}
		}
		if (cell != nil) != c.within {
			t.Errorf("%s: within a table: %v\n%s", name, cell != nil, body)
		}
		if c.within && !strings.Contains(fmt.Sprint(table.Attr), "width "+c.width+"}") {
			t.Errorf("%s: within %v\n%s", name, table.Attr, body)
		}
	}
}

// TestLanguage: the mail's language, else the sender's, else that of the words.
func TestLanguage(t *testing.T) {
	t.Parallel()
	const kind = "Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=utf-8\r\n"
	for name, c := range map[string]struct{ in, sender, want string }{
		"nothing":          {kind + "\r\nHello", "", "en"},
		"Korean words":     {kind + "\r\n안녕하세요. Offer를 보냅니다.", "", "ko"},
		"a Korean name":    {kind + "\r\nHello 민준, here is the offer that you asked for.", "", "en"},
		"Korean is quoted": {kind + "\r\nHello\r\n\r\n> 안녕하세요. 견적을 보내 주세요.", "", "en"},
		"the sender's":     {kind + "\r\nHello", "ko", "ko"},
		"the mail's":       {kind + "Content-Language: en-GB\r\n\r\n안녕하세요", "ko", "en"},
		"not one of ours":  {kind + "Content-Language: de\r\n\r\nHallo", "ko", "ko"},
		"EUC-KR": {"Content-Transfer-Encoding: 8bit\r\nContent-Type: text/plain; charset=euc-kr\r\n\r\n" +
			encode("8bit", "euc-kr", "안녕하세요"), "", "ko"},
		"a Korean page":     {"Content-Type: text/html; charset=utf-8\r\n\r\n<p>안녕하세요</p>", "", "ko"},
		"it has no letters": {"Content-Type: text/plain; charset=us-ascii\r\n\r\nHi", "ko", "en"},
	} {
		s := sample
		s.Lang, s.SenderName = c.sender, "Jo"
		out, _ := stampIt(t, c.in, s)
		all, err := parts(out)
		if err != nil {
			t.Fatal(err)
		}
		text := html.UnescapeString(all[0].text)
		if english := strings.Contains(text, "Chat now with Jo"); english != (c.want == "en") ||
			!english && !strings.Contains(text, "Jo님과 지금 대화하기") {
			t.Errorf("%s: %s", name, text)
		}
		if strings.Contains(c.in, "html") && !strings.Contains(text, `lang="`+c.want+`"`) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestWording: words of the sender's own stand on the link, and go again when quoted.
func TestWording(t *testing.T) {
	t.Parallel()
	s := sample
	s.SenderName, s.Text = "Jo", "Ask {name} at the <Mall>"
	for kind, want := range map[string]string{"plain": "Ask Jo at the <Mall>\n",
		"html": "Ask Jo at the &lt;Mall&gt;</span>"} {
		out, _ := stampIt(t, "Content-Type: text/"+kind+"\r\n\r\nHi\r\n", s)
		if !strings.Contains(strings.ReplaceAll(out, "\r\n", "\n"), want) || strings.Contains(out, "Chat now with") {
			t.Errorf("%s: %s", kind, out)
		}
		_, body := split(t, out)
		quoted := quoteLines(strings.ReplaceAll(body, "\r\n", "\n"), "> ")
		if kind == "html" {
			quoted = `<blockquote type="cite">` + body + `</blockquote>`
		}
		out, _ = stampIt(t, "Content-Type: text/"+kind+"\r\n\r\n"+crlf(quoted), Stamp{})
		if strings.Contains(out, "Mall") || strings.Contains(out, base) {
			t.Errorf("%s: %s", kind, out)
		}
	}
}

// TestSecondText: texts behind the first lose older stamps too, and get no new one;
// files and sealed mail stay as they are.
func TestSecondText(t *testing.T) {
	t.Parallel()
	quoted := crlf(quoteLines("Offer\n"+oldText(t, ""), "> "))
	text := "Content-Type: text/plain\r\n\r\n"
	out, _ := stampIt(t, "MIME-Version: 1.0\r\n"+multi("mixed", "mm", text+"Yes.\r\n", picture, text+quoted,
		"Content-Type: text/plain\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\n"+quoted), sample)
	all, err := parts(out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all[0].text, link) || strings.TrimSpace(all[2].text) != "> Offer" ||
		all[3].text != quoted {
		t.Errorf("%+v", all)
	}
	_, plan := stampIt(t, "Content-Type: multipart/signed; boundary=b; protocol=x\r\n\r\n--b\r\n\r\n"+quoted+
		"\r\n--b--\r\n", sample)
	if plan.Cuts() {
		t.Error("signed mail was changed")
	}
}

// TestLinksBesideWords: links of ours between other words of a quotation, in brackets, in a
// row, and below a rule, are taken out alone; whatever stands beside them stays.
func TestLinksBesideWords(t *testing.T) {
	t.Parallel()
	const rule = "________________________________"
	for name, quoted := range map[string]string{
		"its address in brackets": "> Jo <jo@x.example> see " + oldLink + "<" + oldLink + "> now\n",
		"a bracket lines above":   "> Jo <jo@x.example> wrote\n> see " + oldLink + "<" + oldLink + "> now\n",
		"below a rule":            "> " + rule + "\n> see " + oldLink + " today\n> " + oldLink + "\n> now\n",
		"two in a line":           "> see " + oldLink + " and " + oldLink + " now\n",
	} {
		for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
			out, _ := stampIt(t, leafOf("plain", enc, "utf-8", "", crlf("Yes.\n\n"+quoted)), sample)
			text, err := parts(out)
			if err != nil || len(text) != 1 {
				t.Fatalf("%s, %s: %v", name, enc, err)
			}
			if said := text[0].text; strings.Contains(said, oldLink) || !strings.Contains(said, " now") ||
				!strings.Contains(said, "Yes.") || strings.Count(said, link) != 1 ||
				strings.Contains(quoted, "jo@") && !strings.Contains(said, "<jo@x.example>") {
				t.Errorf("%s, %s: %q", name, enc, said)
			}
		}
	}
}

// TestBlankBehindQuotation: a paragraph with a space that does not break is an empty line in
// every charset, so the link stands above the quotation before it.
func TestBlankBehindQuotation(t *testing.T) {
	t.Parallel()
	for _, charset := range []string{"utf-8", "iso-8859-1", "ks_c_5601-1987"} {
		out, _ := stampIt(t, "Content-Type: text/html; charset="+charset+"\r\n\r\n"+
			`<p>Yes.</p><blockquote type="cite">Offer</blockquote><p>&nbsp;</p>`, sample)
		if at, quote := strings.Index(out, link), strings.Index(out, "<blockquote"); at < 0 || at > quote {
			t.Errorf("%s: %q", charset, out)
		}
	}
}
