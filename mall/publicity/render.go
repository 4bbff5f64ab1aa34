// SPDX-License-Identifier: GPL-3.0-or-later

package publicity

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/words"
	"github.com/chmail/chmail/mall/picture"
	"github.com/chmail/chmail/mall/store"
)

// adMark begins the subject of an advertisement in Korea (Enforcement Decree of the
// Act on Promotion of Information and Communications Network Utilization, table 6).
const adMark = "(광고) "

//go:embed mail.html
var mailFile embed.FS

var (
	mailPage = template.Must(template.ParseFS(mailFile, "mail.html"))
	markdown = goldmark.New(goldmark.WithExtensions(extension.Linkify, extension.Strikethrough))
	cleaner  = func() *bluemonday.Policy {
		p := bluemonday.UGCPolicy()
		p.RequireNoFollowOnLinks(false)
		p.AllowRelativeURLs(false)
		return p
	}()
)

// Mail is what a campaign says to one member.
type Mail struct {
	Subject, Text, HTML string
	Lang                string
	Header              [][2]string // fields besides the usual ones
}

// renderer writes the mails of one campaign.
type renderer struct {
	p        *Publicity
	campaign store.Campaign
	shop     store.Shop
	owner    string // login in whose name the mails go out
	goods    []shownGoods
	body     template.HTML
	plain    string
}

// shownGoods are goods in a mail. Picture is the address of one; it may be empty.
type shownGoods struct{ Title, Price, URL, Picture string }

// render prepares a campaign's mails.
func (p *Publicity) render(ctx context.Context, c store.Campaign) (*renderer, error) {
	shop, owner, err := p.opt.Store.ShopAndOwner(ctx, c.Shop)
	if err != nil {
		return nil, err
	}
	goods, err := p.opt.Store.CampaignGoods(ctx, c.Shop, c.ID)
	if err != nil {
		return nil, err
	}
	r := &renderer{p: p, campaign: c, shop: shop, owner: owner}
	for _, g := range goods {
		shown := shownGoods{Title: g.Title, Price: p.opt.Money(c.Lang, shop.Currency, g.Price),
			URL: p.opt.Base + "/goods/" + g.ID}
		if g.Picture != "" {
			shown.Picture = fmt.Sprintf("%s/pictures/%s-%d.jpg", p.opt.Base, g.Picture, picture.Sizes[0])
		}
		r.goods = append(r.goods, shown)
	}
	if r.body, err = HTML(c.Text); err != nil {
		return nil, err
	}
	r.plain = Plain(c.Text)
	return r, nil
}

// HTML turns Markdown into HTML without anything that could do harm.
func HTML(md string) (template.HTML, error) {
	var b bytes.Buffer
	if err := markdown.Convert([]byte(md), &b); err != nil {
		return "", fmt.Errorf("reading Markdown: %w", err)
	}
	return template.HTML(cleaner.Sanitize(b.String())), nil //nolint:gosec // it was cleaned
}

// mail writes a member's mail.
func (r *renderer) mail(member string) Mail {
	m := Mail{Subject: r.campaign.Subject, Lang: r.campaign.Lang}
	if r.campaign.AdMark {
		m.Subject = adMark + m.Subject
	}
	unsubscribe := r.p.UnsubscribeURL(Unsubscription{Member: member, Shop: r.campaign.Shop, Campaign: r.campaign.ID})
	say := words.In(r.campaign.Lang).Say
	why := say("publicity.mail.why", "mall", r.p.opt.Mall)
	from := strings.Join(strings.Fields(r.shop.Name+" · "+strings.ReplaceAll(r.shop.Postal, "\n", " ")), " ")
	if r.shop.Postal == "" {
		from = r.shop.Name
	}
	var b strings.Builder
	b.WriteString(r.plain)
	for _, g := range r.goods {
		fmt.Fprintf(&b, "\n* %s — %s\n  %s\n", g.Title, g.Price, g.URL)
	}
	fmt.Fprintf(&b, "\n-- \n%s\n%s\n%s: %s\n", from, why, say("publicity.mail.unsubscribe"), unsubscribe)
	m.Text = b.String()
	var page bytes.Buffer
	err := mailPage.Execute(&page, map[string]any{"Lang": r.campaign.Lang, "Subject": m.Subject, "Body": r.body,
		"Goods": r.goods, "From": from, "Why": why, "Say": say, "Unsubscribe": unsubscribe})
	if err == nil { // writing into memory fails only for a mistake in the template, and then the text is enough
		m.HTML = page.String()
	}
	// One-Click (RFC 8058); the fields are signed with the rest.
	m.Header = [][2]string{
		{"List-Unsubscribe", "<" + unsubscribe + ">"},
		{"List-Unsubscribe-Post", "List-Unsubscribe=One-Click"},
		{"Feedback-ID", r.campaign.ID + ":" + r.shop.Slug + ":campaign:" + r.p.opt.Domain},
	}
	return m
}

// letter is a mail on its way from the shop to somebody.
func (r *renderer) letter(m Mail, to chat.Person) chat.Letter {
	return chat.Letter{Login: r.owner, From: chat.Person{Login: r.owner, Name: r.shop.Name, Addr: r.shop.Addr}, To: to,
		Subject: m.Subject, Text: m.Text, HTML: m.HTML, Header: m.Header}
}

// Preview is a campaign's mail as a member would get it.
func (p *Publicity) Preview(ctx context.Context, c store.Campaign) (Mail, error) {
	r, err := p.render(ctx, c)
	if err != nil {
		return Mail{}, fmt.Errorf("showing a campaign: %w", err)
	}
	return r.mail(""), nil
}

// Test mails a campaign to one of the shop's staff, as members would get it. Its
// link unsubscribes nobody.
func (p *Publicity) Test(ctx context.Context, c store.Campaign, to chat.Person) error {
	r, err := p.render(ctx, c)
	if err != nil {
		return fmt.Errorf("sending a test: %w", err)
	}
	m := r.mail("")
	m.Subject = words.In(c.Lang).Say("publicity.mail.test", "subject", m.Subject)
	l := r.letter(m, to)
	l.MessageID = strings.ToLower(rand.Text()) + ".test@" + p.opt.Domain
	if err := p.opt.Submit(ctx, l); err != nil {
		return fmt.Errorf("sending a test: %w", err)
	}
	return nil
}

// Unsubscription is what a link to unsubscribe says. Without a member it is a
// preview's or a test's.
type Unsubscription struct{ Member, Shop, Campaign string }

// ErrLink: the link was not made here.
var ErrLink = errors.New("the link is not one of ours")

// UnsubscribeURL is the address of the page that unsubscribes.
func (p *Publicity) UnsubscribeURL(u Unsubscription) string {
	return p.opt.Base + "/unsubscribe/" + p.links.Seal([]byte(u.Member+" "+u.Shop+" "+u.Campaign))
}

// ReadUnsubscription reads a token of UnsubscribeURL. ErrLink.
func (p *Publicity) ReadUnsubscription(token string) (u Unsubscription, err error) {
	b, err := p.links.Open(token)
	parts := strings.Split(string(b), " ")
	if err != nil || len(parts) != 3 {
		return u, ErrLink
	}
	return Unsubscription{parts[0], parts[1], parts[2]}, nil
}

var manyEmpty = regexp.MustCompile(`\n{3,}`)

// Plain turns Markdown into text as people write it in mail.
func Plain(md string) string {
	source := []byte(md)
	w := plainWriter{source: source}
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(source)), w.visit) // visit returns no error
	return strings.TrimSpace(manyEmpty.ReplaceAllString(w.out.String(), "\n\n")) + "\n"
}

type plainWriter struct {
	source []byte
	out    strings.Builder
}

func (w *plainWriter) visit(n ast.Node, entering bool) (ast.WalkStatus, error) {
	switch n := n.(type) {
	case *ast.Text:
		if entering {
			w.out.Write(n.Segment.Value(w.source))
			if n.SoftLineBreak() || n.HardLineBreak() {
				w.out.WriteByte('\n')
			}
		}
	case *ast.String:
		if entering {
			w.out.Write(n.Value)
		}
	case *ast.AutoLink:
		if entering {
			w.out.Write(n.URL(w.source))
		}
	case *ast.Link:
		if !entering {
			fmt.Fprintf(&w.out, " (%s)", n.Destination)
		}
	case *ast.Image, *ast.RawHTML, *ast.HTMLBlock:
		return ast.WalkSkipChildren, nil
	case *ast.ListItem:
		if entering {
			mark := "- "
			if list, ok := n.Parent().(*ast.List); ok && list.IsOrdered() {
				place := list.Start
				for before := n.PreviousSibling(); before != nil; before = before.PreviousSibling() {
					place++
				}
				mark = fmt.Sprintf("%d. ", place)
			}
			w.out.WriteString(mark)
		}
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		if entering {
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				w.out.WriteString("    ")
				w.out.Write(line.Value(w.source))
			}
			w.out.WriteByte('\n')
		}
		return ast.WalkSkipChildren, nil
	case *ast.ThematicBreak:
		if entering {
			w.out.WriteString("* * *\n\n")
		}
	case *ast.Paragraph, *ast.Heading:
		if !entering {
			w.out.WriteString("\n\n")
		}
	case *ast.TextBlock, *ast.List:
		if !entering {
			w.out.WriteString("\n")
		}
	}
	return ast.WalkContinue, nil
}
