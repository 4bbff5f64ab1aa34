// SPDX-License-Identifier: GPL-3.0-or-later

package feed

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/html/charset"

	"github.com/chmail/chmail/mall/store"
)

// namespace of the elements of Google Merchant Center.
const namespace = "http://base.google.com/ns/1.0"

// maxField is how many octets of an element are kept; what is longer is refused by
// its field's own bound.
const maxField = 100 << 10

// Bounds of what the decoder keeps in memory.
const (
	maxToken = 256 << 10 // octets of an element with its attributes, or of a text
	maxDepth = 50
)

type xmlFile struct {
	opts  Options
	d     *xml.Decoder
	in    *tokenReader
	depth int
}

// tokenReader ends a file that has a token of more than maxToken octets.
type tokenReader struct {
	r    io.Reader
	read int   // since the last token
	err  error // of r; all others are the file's
}

func (t *tokenReader) Read(b []byte) (int, error) {
	if t.read > maxToken {
		return 0, errToken
	}
	n, err := t.r.Read(b)
	t.read += n
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

var errToken = errors.New("an element is too large")

// token reads the next token.
func (x *xmlFile) token() (xml.Token, error) {
	x.in.read = 0
	t, err := x.d.Token()
	switch t.(type) {
	case xml.StartElement:
		if x.depth++; x.depth > maxDepth {
			return nil, errToken
		}
	case xml.EndElement:
		x.depth--
	}
	return t, err
}

// NewXML reads a file for Google Merchant Center: RSS 2.0 or Atom, whose items have
// id, title, description, price, availability, product_type, item_group_id, and
// color, size, material and pattern. Items of the same item_group_id that follow
// each other become variants of one.
func NewXML(file io.Reader, opts Options) *Reader {
	in := &tokenReader{r: file}
	x := &xmlFile{opts: opts, d: xml.NewDecoder(in), in: in}
	x.d.CharsetReader = charset.NewReaderLabel
	return &Reader{line: x.line}
}

// line reads one item.
func (x *xmlFile) line() (Entry, error) {
	for {
		t, err := x.token()
		if err != nil {
			return Entry{}, x.wrong(err)
		}
		if start, ok := t.(xml.StartElement); ok && (start.Name.Local == "item" || start.Name.Local == "entry") {
			line, _ := x.d.InputPos()
			fields, err := x.fields()
			if err != nil {
				return Entry{}, x.wrong(err)
			}
			return x.entry(line, fields), nil
		}
	}
}

// wrong names the line of a file that is no XML.
func (x *xmlFile) wrong(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if x.in.err != nil {
		return fmt.Errorf("reading an XML file: %w", x.in.err)
	}
	line, _ := x.d.InputPos()
	return Refusal{line, "", "file", "xml"}
}

// fields reads the children of an item, each by its local name.
func (x *xmlFile) fields() (map[string]string, error) {
	fields := make(map[string]string)
	var name string
	var text strings.Builder
	for depth := 1; ; {
		t, err := x.token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth++; depth == 2 {
				name = ""
				if t.Name.Space == namespace || t.Name.Local == "title" || t.Name.Local == "description" ||
					t.Name.Local == "summary" || t.Name.Local == "id" {
					name = t.Name.Local
				}
				text.Reset()
			}
		case xml.EndElement:
			if depth--; depth == 0 {
				return fields, nil
			}
			if depth == 1 && name != "" && len(fields) < 100 {
				if _, ok := fields[name]; !ok {
					fields[name] = strings.TrimSpace(text.String())
				}
			}
		case xml.CharData:
			if room := maxField - text.Len(); depth >= 2 && room > 0 {
				text.Write(t[:min(len(t), room)])
			}
		}
	}
}

func (x *xmlFile) entry(line int, fields map[string]string) Entry {
	e := Entry{Line: line, SKU: fields["id"]}
	bad := func(field, why string) {
		if e.Bad == nil {
			e.Bad = &Refusal{line, e.SKU, field, why}
		}
	}
	v := Variant{Line: line}
	if group := fields["item_group_id"]; group != "" {
		e.SKU, e.Named = group, true
		var names []string
		for _, name := range []string{"color", "size", "material", "pattern"} {
			if fields[name] != "" {
				names = append(names, fields[name])
			}
		}
		if v.Name = strings.Join(names, " / "); v.Name == "" {
			v.Name = fields["id"]
		}
	}
	if e.SKU == "" {
		bad("sku", "missing")
	}
	text := func(names ...string) *string {
		for _, name := range names {
			if text, ok := fields[name]; ok {
				text = strings.ToValidUTF8(text, "\ufffd")
				return &text
			}
		}
		return nil
	}
	if e.Title = text("title"); e.Title != nil {
		*e.Title = strings.Join(strings.Fields(*e.Title), " ")
	}
	e.Text = text("description", "summary")
	if kind := fields["product_type"]; kind != "" {
		// The shop's own words, the most general first: the last that the mall knows.
		for _, part := range strings.Split(kind, ">") {
			if id, ok := x.opts.category(strings.TrimSpace(part)); ok {
				e.Category = &id
			}
		}
	}
	if price := fields["price"]; price != "" {
		amount, currency, _ := strings.Cut(price, " ")
		n, err := Amount(amount, x.opts.Digits)
		switch v.Price = &n; {
		case err != nil:
			bad("price", "number")
		case currency != "" && !strings.EqualFold(strings.TrimSpace(currency), x.opts.Currency):
			bad("price", "currency")
		}
	}
	none := int64(0)
	switch fields["availability"] {
	case "in_stock", "in stock":
		v.InStock = true
	case "out_of_stock", "out of stock", "preorder", "backorder":
		v.Stock = &none
	}
	if text := fields["quantity"]; text != "" { // of other readers of the same files
		n, err := strconv.ParseInt(text, 10, 64)
		if v.Stock = &n; err != nil {
			bad("stock", "number")
		}
	}
	e.Variants = []Variant{v}
	return e
}

// XMLWriter writes goods for Google Merchant Center.
type XMLWriter struct {
	w           io.Writer
	opts        Options
	link, image func(string) string
}

// NewXMLWriter writes the beginning. link is the address of goods, image that of a
// picture.
func NewXMLWriter(w io.Writer, opts Options, title, shop string, link, image func(string) string) (*XMLWriter, error) {
	x := &XMLWriter{w, opts, link, image}
	return x, x.write("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\" xmlns:g=\""+namespace+"\"><channel>",
		"title", title, "link", shop, "description", title)
}

// write writes something raw, and elements with their text.
func (x *XMLWriter) write(raw string, elements ...string) error {
	var b strings.Builder
	b.WriteString(raw)
	for i := 0; i+1 < len(elements); i += 2 {
		if elements[i+1] == "" {
			continue
		}
		fmt.Fprintf(&b, "<%s>", elements[i])
		if err := xml.EscapeText(&b, []byte(elements[i+1])); err != nil {
			return err
		}
		fmt.Fprintf(&b, "</%s>", elements[i])
	}
	b.WriteString("\n")
	_, err := io.WriteString(x.w, b.String())
	return err
}

// Write writes goods that are shown, an item a variant.
func (x *XMLWriter) Write(it store.Item) error {
	if it.State != store.GoodsShown {
		return nil
	}
	for i, v := range it.Variants {
		id, group, size := it.SKU, "", ""
		if len(it.Variants) > 1 {
			id, group, size = fmt.Sprintf("%s-%d", it.SKU, i+1), it.SKU, v.Name
		}
		available, image := "in_stock", ""
		if v.Stock == 0 {
			available = "out_of_stock"
		}
		if len(it.Pictures) > 0 {
			image = x.image(it.Pictures[0].Hash)
		}
		err := x.write("<item>", "g:id", id, "g:item_group_id", group, "g:size", size, "g:title", it.Title,
			"g:description", it.Text, "g:link", x.link(it.Goods.ID), "g:image_link", image,
			"g:price", Plain(v.Price, x.opts.Digits)+" "+x.opts.Currency, "g:availability", available,
			"g:quantity", strconv.FormatInt(v.Stock, 10), "g:condition", "new", "g:product_type", it.Category)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(x.w, "</item>\n"); err != nil {
			return err
		}
	}
	return nil
}

// Close writes the end.
func (x *XMLWriter) Close() error { return x.write("</channel></rss>") }
