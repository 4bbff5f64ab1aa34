// SPDX-License-Identifier: GPL-3.0-or-later

package stamp

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// oddPages are pages in which an end of the page is none, or that never end.
var oddPages = map[string]string{
	"plain":              "<html><body><p>Hi</p></body></html>",
	"no end":             "<p>Hi",
	"two ends":           "<body><p>one</p></body><p>two</p></body></html>",
	"attribute":          `<p>Hi</p><img alt="the </body> tag"><p>bye</p>`,
	"single quotes":      `<p>Hi</p><img alt='the "</body>'><p>bye</p>`,
	"no quotes":          `<p>Hi</p><img alt=it's><p>bye</p></body>`,
	"quote in a name":    `<p>Hi</p><img "alt><p>bye</p></body>`,
	"equals first":       `<p>Hi</p><img ="x><p>bye</p></body>`,
	"comment":            "<p>Hi</p><!-- </body> --><p>bye</p>",
	"short comment":      "<p>Hi</p><!--><p>bye</p></body>",
	"shorter comment":    "<p>Hi</p><!---><p>bye</p></body>",
	"comment with bang":  "<p>Hi</p><!-- </body> --!><p>bye</p></body>",
	"conditional":        "<p>Hi</p><!--[if mso]></body><![endif]--><p>bye</p>",
	"bogus comment":      "<p>Hi</p><![endif]><?xml x?></ x><p>bye</p></body>",
	"open comment":       "<p>Hi</p><!-- </body>",
	"script":             `<p>Hi</p></body></html><script>var s = "</body>";</script>`,
	"open script":        `<p>Hi</p><script>var s = "</body>";`,
	"style":              "<style>/* </body> */</style><p>Hi</p>",
	"title":              "<head><title>Use </body></title></head><p>Hi</p>",
	"open title":         "<head><title>Use </body> <p>Hi</p>",
	"textarea":           "<p>Hi</p><textarea>x</body></textarea>",
	"open textarea":      "<p>Hi</p><textarea>x</body>",
	"xmp":                "<p>Hi</p><xmp></body></xmp>",
	"open xmp":           "<p>Hi</p><xmp></body>",
	"iframe":             "<p>Hi</p><iframe></body></iframe>",
	"open iframe":        "<p>Hi</p><iframe></body>",
	"noembed":            "<p>Hi</p><noembed></body></noembed>",
	"noframes":           "<p>Hi</p><noframes></body></noframes>",
	"noscript":           "<p>Hi</p><noscript></body></noscript>",
	"open noscript":      "<p>Hi</p><noscript></body>",
	"plaintext":          "<p>Hi</p><plaintext></body></plaintext></body>",
	"template":           "<p>Hi</p><template></body></template>",
	"open template":      "<p>Hi</p><template><p>x</p></body>",
	"nested templates":   "<p>Hi</p><template><template></template></body>",
	"select":             "<p>Hi</p><select><option>a</body></select>",
	"open select":        "<p>Hi</p><select><option>a</body></html>",
	"svg":                "<p>Hi</p><svg><desc></body></desc></svg>",
	"open svg":           "<p>Hi</p><svg><foreignObject></body>",
	"svg that ends":      "<p>Hi</p><svg/><p>bye</p></body>",
	"svg title":          "<p>Hi</p><svg><title/></svg><p>bye</p></body>",
	"math":               "<p>Hi</p><math><mi></body>",
	"object":             "<p>Hi</p><object></body>",
	"video":              "<p>Hi</p><video></body></html>",
	"details":            "<p>Hi</p><details><summary>s</summary></body></html>",
	"dialog":             "<p>Hi</p><dialog></body>",
	"button":             "<p>Hi</p><button></body>",
	"open tag":           "<p>Hi</p><a href=x",
	"open attribute":     `<p>Hi</p><a href="x>y</body></html>`,
	"open end tag":       "<p>Hi</p></bo",
	"less":               "<p>1 <2 and 3 < 4 <",
	"spaces in the ends": "<p>Hi</p></body\n ></HTML\t>",
	"end with attribute": `<p>Hi</p></body class="x">`,
	"other names":        "<p>Hi</p></bodyx></body-x>",
	"frameset too late":  "<p>Hi</p><frameset><frame></frameset><p>bye</p>",
	"table":              "<table><tr><td>Hi</body>",
}

// TestPages: the link is shown, and all that was shown before.
func TestPages(t *testing.T) {
	t.Parallel()
	for name, page := range oddPages {
		for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
			for pad := range 3 { // of the quanta of base64
				page := strings.Repeat(" ", pad) + page
				out, plan := stampIt(t, "MIME-Version: 1.0\r\n"+leafOf("html", enc, "utf-8", "", page), sample)
				all, err := parts(out)
				if err != nil || len(all) != 1 || plan.Reason() != "" {
					t.Fatalf("%s, %s: %v %s\n%s", name, enc, err, plan.Reason(), out)
				}
				shown, a := look(t, all[0].text)
				if a == nil {
					t.Errorf("%s, %s: the link is not shown:\n%s", name, enc, all[0].text)
				} else if before, _ := look(t, page); strings.Join(shown, "|") != strings.Join(before, "|") {
					t.Errorf("%s, %s: shown was %q and is %q", name, enc, before, shown)
				}
			}
		}
	}
}

// look returns the texts that a page shows without our block, and our link.
func look(t *testing.T, page string) (shown []string, found *html.Node) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *html.Node, link bool)
	walk = func(n *html.Node, inside bool) {
		for _, a := range n.Attr {
			switch {
			case n.Data == "a" && a.Key == "href" && a.Val == link:
				found = n
			case a.Key == "aria-label" && a.Val == "Live chat":
				inside = true
			case a.Key == "alt":
				shown = append(shown, a.Val)
			}
		}
		switch n.Type {
		case html.TextNode:
			if text := strings.TrimSpace(n.Data); text != "" && !inside {
				shown = append(shown, text)
			}
		case html.ElementNode:
			if among(hiding+" script style title textarea iframe noembed noframes xmp plaintext ", n.Data) {
				return
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c, inside)
		}
	}
	walk(root, false)
	return shown, found
}

// TestFrames: a page of frames keeps them, and gets one with the link.
func TestFrames(t *testing.T) {
	t.Parallel()
	const page = "<!DOCTYPE html>\n<html><head><title>Our </body></title></head>\n" +
		`<frameset cols="50%,50%"><frame src="about:blank"><frame src="about:blank"></frameset></html>`
	for _, enc := range []string{"8bit", "quoted-printable", "base64"} {
		out, _ := stampIt(t, "MIME-Version: 1.0\r\n"+leafOf("html", enc, "utf-8", "", page), sample)
		all, err := parts(out)
		if err != nil {
			t.Fatal(err)
		}
		root, err := html.Parse(strings.NewReader(all[0].text))
		if err != nil {
			t.Fatal(err)
		}
		var sources []string
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && n.Data == "frame" {
				for _, a := range n.Attr {
					if a.Key == "src" {
						sources = append(sources, a.Val)
					}
				}
			}
		}
		if len(sources) != 3 || sources[1] != "about:blank" || sources[2] != "about:blank" {
			t.Fatalf("%s: frames %q", enc, sources)
		}
		data, ok := strings.CutPrefix(sources[0], "data:text/html,")
		inner, err := url.PathUnescape(data)
		if _, a := look(t, inner); !ok || err != nil || a == nil {
			t.Errorf("%s: %q", enc, sources[0])
		}
	}
}
