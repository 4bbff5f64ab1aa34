// SPDX-License-Identifier: GPL-3.0-or-later

package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/korean"

	"github.com/chmail/chmail/mall/store"
)

// shop keeps goods in memory as the store does.
type shop map[string]store.Item

func (s shop) PutGoods(_ context.Context, _ string, skus []string, dry bool,
	merge func(int, store.Item) (store.Item, error)) (added, changed int, err error) {
	for n, sku := range skus {
		old := s[sku]
		if _, err := merge(n, old); errors.Is(err, store.ErrSkip) { // which may be called twice
			continue
		}
		it, err := merge(n, old)
		if err != nil {
			return 0, 0, err
		}
		if old.ID == "" {
			it.ID = sku
			added++
		} else {
			changed++
		}
		if !dry {
			s[sku] = it
		}
	}
	return added, changed, nil
}

var won = Options{Currency: "KRW", Categories: []store.Category{{ID: "light", NameEn: "Lamps", NameKo: "조명"}}}

func fromCSV(t *testing.T, s shop, file string, dry bool) Report {
	t.Helper()
	r, err := NewCSV(strings.NewReader(file), won)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Import(t.Context(), s, "shop", r, dry)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// TestCSV: variants are gathered, what is missing stays, a dry run writes nothing.
func TestCSV(t *testing.T) {
	t.Parallel()
	s := shop{}
	const file = "sku,title,text,category,variant,price,stock,colour\n" +
		"A,Lamp,\"Two\nlines\",조명,white,\"12,000\",3,x\nA,,,,black,13000.00,\n\n,,,\nB,Shade,,lamps,,500,1\n"
	if rep := fromCSV(t, s, file, true); rep.Added != 2 || len(s) != 0 {
		t.Errorf("dry: %+v, %v", rep, s)
	}
	rep := fromCSV(t, s, file, false)
	if rep.Added != 2 || rep.Refused != 0 || !slices.Equal(rep.Ignored, []string{"colour"}) {
		t.Fatalf("%+v", rep)
	}
	a := s["A"]
	if a.Title != "Lamp" || a.Text != "Two\nlines" || a.Category != "light" || a.State != store.GoodsShown ||
		len(a.Variants) != 2 || a.Variants[0].Price != 12000 || a.Variants[1].Price != 13000 ||
		a.Variants[1].Stock != 0 {
		t.Errorf("%+v", a)
	}
	a.Variants[0].ID = "kept"
	s["A"] = a
	rep = fromCSV(t, s, "SKU;Variant;Stock;State\nA;white;7;판매종료\nA;black;1\n", false)
	if a := s["A"]; rep.Changed != 1 || a.Variants[0].ID != "kept" || a.Variants[0].Stock != 7 ||
		a.Variants[0].Price != 12000 ||
		a.State != store.GoodsGone || a.Title != "Lamp" {
		t.Errorf("%+v, %+v", rep, a)
	}
}

// TestRefusals: each has its line and reason, and the rest goes on.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := shop{"V": {Goods: store.Goods{ID: "V", Title: "V", State: store.GoodsShown},
		Variants: []store.Variant{{Name: "a"}, {Name: "b"}}}}
	rep := fromCSV(t, s, strings.Join([]string{
		"sku,title,category,state,variant,price,stock",
		",no sku,,,,1,1",
		"B,B,,,,much,1",
		"C,C,,,,1.5,1",
		"D,D,,,,1,few",
		"E,E,Chairs,,,1,1",
		"F,F,,sold,,1,1",
		"G,G,,,,,1",
		"H,,,,,1,1",
		"I,I,,,x,1,1",
		"I,,,,x,1,1",
		"J,J,,,x,1,1",
		"J,,,,y,1,-4",
		"K,K,,,,1,1",
		"L\"L,L,,,,1,1",
		"M,M,,,,1,1",
		"K,K,,,,1,1",
		"N," + strings.Repeat("n", 201) + ",,,,1,1",
	}, "\n"), false)
	want := []string{
		"line 2: : sku missing",
		"line 3: B: price number",
		"line 4: C: price number",
		"line 5: D: stock number",
		"line 6: E: category unknown",
		"line 7: F: state unknown",
		"line 15: : file quote",
		"line 17: K: sku twice",
		"line 8: G: price missing",
		"line 9: H: title missing",
		"line 11: I: name twice",
		"line 13: J: stock range",
		"line 18: N: title long",
	}
	var got []string
	for _, r := range rep.Refusals {
		got = append(got, r.Error())
	}
	if !slices.Equal(got, want) || rep.Refused != len(want) || rep.Added != 2 {
		t.Errorf("added %d, refused %d:\n%s", rep.Added, rep.Refused, strings.Join(got, "\n"))
	}
	if rep := fromCSV(t, s, "sku,price\nV,5\n", false); rep.Refused != 1 ||
		rep.Refusals[0].Error() != "line 2: V: variants columns" {
		t.Errorf("several variants by one price: %+v", rep)
	}
	for _, file := range []string{"", "title,price\n", "sku\nA\n", "sku,sku,price\n"} {
		if _, err := NewCSV(strings.NewReader(file), won); !errors.As(err, new(Refusal)) {
			t.Errorf("header %q: %v", file, err)
		}
	}
}

// TestEncodings: Excel writes CP949, or UTF-8 with a BOM.
func TestEncodings(t *testing.T) {
	t.Parallel()
	const file = "상품코드,상품명,가격\r\nA,똠방각하 펲시콜라,1000\r\n" // letters that EUC-KR has not
	cp949, err := korean.EUCKR.NewEncoder().String(file)
	if err != nil {
		t.Fatal(err)
	}
	long := "sku,title,price\n" + strings.Repeat(" ,,\n", 65535/4) +
		"A,똠방각하 펲시콜라,1000" // letters over the buffer's edge
	for name, text := range map[string]string{"utf-8": file, "bom": "\ufeff" + file, "cp949": cp949, "late": long} {
		s := shop{}
		if rep := fromCSV(t, s, text, false); s["A"].Title != "똠방각하 펲시콜라" {
			t.Errorf("%s: %+v %+v", name, rep, s)
		}
	}
	s := shop{}
	if rep := fromCSV(t, s, "sku,title,price\nA,\xff\xff\xfe,1\nB,B,1\n", false); rep.Refused != 1 ||
		rep.Refusals[0].Why != "letters" || rep.Added != 1 {
		t.Errorf("neither: %+v", rep)
	}
}

func items() []store.Item {
	return []store.Item{
		{Goods: store.Goods{ID: "1", SKU: "A", Title: "=1+1", Text: "'quoted'\nbold & <b>", Category: "light",
			State: store.GoodsShown},
			Variants: []store.Variant{{Name: "-5", Price: 1200, Stock: 2}, {Name: "흰색", Price: 5}},
			Pictures: []store.Picture{{Hash: "h"}}},
		{Goods: store.Goods{ID: "2", SKU: "B", Title: "Lamp", State: store.GoodsShown},
			Variants: []store.Variant{{Price: 7, Stock: 1}}},
	}
}

// same compares what goods are, without ids.
func same(t *testing.T, what string, s shop, want []store.Item) {
	t.Helper()
	for _, w := range want {
		got := s[w.SKU]
		got.ID, w.ID, got.Pictures, w.Pictures = "", "", nil, nil
		if fmt.Sprint(got) != fmt.Sprint(w) {
			t.Errorf("%s:\n%+v\n%+v", what, got, w)
		}
	}
}

// TestRoundTrip: what is written is read, with both digits of a currency; and a
// spreadsheet runs nothing of it.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, digits := range []int{0, 2, 3} {
		opts := won
		opts.Digits = digits
		var b bytes.Buffer
		c, err := NewCSVWriter(&b, opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items() {
			if err := c.Write(it); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), ",=1") || !strings.HasPrefix(b.String(), "\ufeffsku,") {
			t.Errorf("%s", &b)
		}
		r, err := NewCSV(bytes.NewReader(b.Bytes()), opts)
		if err != nil {
			t.Fatal(err)
		}
		s := shop{}
		if rep, err := Import(t.Context(), s, "", r, false); err != nil || rep.Refused > 0 {
			t.Fatalf("%+v, %v", rep, err)
		}
		same(t, "CSV", s, items())

		b.Reset()
		x, err := NewXMLWriter(&b, opts, "Lamps & more", "http://mall.example/lamps",
			func(id string) string { return "http://mall.example/goods/" + id },
			func(hash string) string { return "http://mall.example/" + hash })
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items() {
			if err := x.Write(it); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		s = shop{}
		if rep, err := Import(t.Context(), s, "", NewXML(&b, opts), false); err != nil || rep.Refused > 0 {
			t.Fatalf("%+v, %v", rep, err)
		}
		same(t, "XML", s, items())
	}
}

// TestXML: RSS and Atom of other software; what is wrong is refused.
func TestXML(t *testing.T) {
	t.Parallel()
	item := func(fields ...string) string {
		text := "<item>\n"
		for i := 0; i+1 < len(fields); i += 2 {
			text += "<g:" + fields[i] + ">" + fields[i+1] + "</g:" + fields[i] + ">\n"
		}
		return text + "</item>\n"
	}
	s := shop{"S": {Goods: store.Goods{ID: "S", SKU: "S", State: store.GoodsDraft},
		Variants: []store.Variant{{ID: "v", Stock: 9}}}}
	const head = `<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel><title>Shop</title>` + "\n"
	rep, err := Import(t.Context(), s, "", NewXML(strings.NewReader(head+
		"<item><g:id>R</g:id><title>Red <b>one</b></title><description><![CDATA[<p>Fine]]></description><g:price>5 KRW</g:price>"+
		"<g:availability>in_stock</g:availability><g:product_type>Home &gt; Lamps &gt; Old</g:product_type><g:shipping><g:price>9 KRW</g:price></g:shipping></item>\n"+
		item("id", "S", "title", "Same", "price", "8.00 krw", "availability", "in stock")+
		item("id", "T1", "item_group_id", "T", "title", "T", "color", "red", "size", "L", "price", "1 KRW",
			"availability", "out_of_stock")+
		item("id", "T2", "item_group_id", "T", "title", "T", "price", "2 KRW", "quantity", "4")+
		item("id", "U", "title", "U", "price", "5 USD")+
		item("title", "no id", "price", "5 KRW")+
		"</channel></rss>"), won), false)
	if err != nil || rep.Added != 2 || rep.Changed != 1 || rep.Refused != 2 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if r := s["R"]; r.Title != "Red one" || r.Text != "<p>Fine" || r.Variants[0].Price != 5 ||
		r.Variants[0].Stock != 1 || r.Category != "light" {
		t.Errorf("%+v", r)
	}
	if r := s["S"]; r.Variants[0].Stock != 9 || r.Variants[0].ID != "v" || r.State != store.GoodsDraft {
		t.Errorf("%+v", r)
	}
	if r := s["T"]; len(r.Variants) != 2 || r.Variants[0].Name != "red / L" || r.Variants[1].Name != "T2" ||
		r.Variants[1].Stock != 4 {
		t.Errorf("%+v", r)
	}
	if f := rep.Refusals[0]; f.Why != "currency" || f.SKU != "U" || f.Line < 20 {
		t.Errorf("%+v", f)
	}
	rep, err = Import(t.Context(), s, "", NewXML(strings.NewReader(`<feed xmlns="http://www.w3.org/2005/Atom" xmlns:g="`+namespace+
		`"><entry><g:id>Z</g:id><title>Z</title><summary>z</summary><g:price>3</g:price></entry></feed>`), won), true)
	if err != nil || rep.Added != 1 {
		t.Errorf("Atom: %+v, %v", rep, err)
	}
	for what, file := range map[string]string{
		"no XML":      head + "<item><g:id>A</g:id",
		"deep":        strings.Repeat("<a>", 1_000_000),
		"attributes":  "<rss" + strings.Repeat(` a=""`, 1_000_000) + ">",
		"a long text": "<rss>" + strings.Repeat("a", 1<<20) + "</rss>",
		"an entity":   `<!DOCTYPE r [<!ENTITY a "aaaa">]><rss><item><title>&a;</title></item></rss>`,
	} {
		var f Refusal
		if _, err := Import(t.Context(), s, "", NewXML(strings.NewReader(file), won), true); !errors.As(err, &f) ||
			f.Why != "xml" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAmount: digits, commas, and nothing else.
func TestAmount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		digits int
		want   int64
	}{{"12,000", 0, 12000}, {"12.50", 2, 1250}, {"12.5", 2, 1250}, {"12", 2, 1200}, {" 7.00 ", 0, 7}, {"0.05", 2, 5},
		{"1.2340", 3, 1234}, {"", 0, -1}, {"-5", 0, -1}, {"+5", 0, -1}, {"1e3", 0, -1}, {"1.5", 0, -1},
		{"1.505", 2, -1},
		{"99999999999999", 0, -1}, {".5", 2, -1}, {"5.", 2, 500}, {"1_0", 0, -1}, {"٣", 0, -1}} {
		got, err := Amount(c.text, c.digits)
		if (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%q with %d digits: %d, %v", c.text, c.digits, got, err)
		}
		if err == nil {
			if back, err := Amount(Plain(got, c.digits), c.digits); err != nil || back != got {
				t.Errorf("%q: back %d, %v", c.text, back, err)
			}
		}
	}
}

// TestBounds: a file with too many lines ends there.
func TestBounds(t *testing.T) {
	t.Parallel()
	rep := fromCSV(t, shop{}, "sku,variant,title,price\n"+strings.Repeat("A,v,A,1\n", 150)+strings.Repeat("B,,B,x\n",
		MaxLines), true)
	last := rep.Refusals[len(rep.Refusals)-1]
	if rep.Refusals[0].Why != "many" || last.Why != "lines" || rep.Refused > 3 {
		t.Errorf("%d refused: %+v", rep.Refused, rep.Refusals)
	}
}

func fuzz(f *testing.F, read func(b []byte) (*Reader, error)) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := read(b)
		if err != nil {
			return
		}
		s := shop{}
		rep, err := Import(t.Context(), s, "", r, false)
		if err != nil && !errors.As(err, new(Refusal)) {
			t.Fatal(err)
		}
		if len(s) > rep.Added {
			t.Errorf("%d goods, %+v", len(s), rep)
		}
		for _, it := range s {
			if err := it.Check(); err != nil {
				t.Errorf("%+v: %v", it, err)
			}
		}
	})
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("\ufeffsku,title,variant,price,stock\nA,A,a,1,1\nA,,b,2,\nB,\"B\n\",,3.0,\n"))
	f.Add([]byte("sku;state;category\nA;shown;light"))
	f.Add([]byte("\xbb\xf3\xc7\xb0\xc4\xda\xb5\xe5,\xb0\xa1\xb0\xdd\nA,1"))
	fuzz(f, func(b []byte) (*Reader, error) { return NewCSV(bytes.NewReader(b), won) })
}

func FuzzXML(f *testing.F) {
	f.Add([]byte(`<rss xmlns:g="` + namespace + `"><item><g:id>A</g:id><title>A</title><g:price>1 KRW</g:price></item></rss>`))
	f.Add([]byte(`<?xml version="1.0" encoding="euc-kr"?><feed><entry><id>A</id><title>T</title></entry></feed>`))
	fuzz(f, func(b []byte) (*Reader, error) { return NewXML(io.LimitReader(bytes.NewReader(b), MaxBytes), won), nil })
}
