// SPDX-License-Identifier: GPL-3.0-or-later

// Package feed brings goods in and out: as CSV, and as the XML that shop software
// makes for Google Merchant Center.
//
// A file is read as it comes, goods by goods, within bounds; what cannot be taken is
// refused with its line and the reason, and the rest goes on. A dry run goes the
// same way and writes nothing.
package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/chmail/chmail/mall/store"
)

// Bounds of a file.
const (
	MaxBytes    = 32 << 20
	MaxLines    = 200_000
	maxRefusals = 500 // that are told one by one
	batch       = 100 // goods in a transaction
)

// Refusal is why a line, or goods, were not taken.
type Refusal struct {
	Line  int    // of the file; the first is 1
	SKU   string // if it is known
	Field string // of store.Invalid, or "file"
	Why   string // of store.Invalid; or number, currency, quote, columns, letters, lines, encoding
}

func (r Refusal) Error() string {
	return fmt.Sprintf("line %d: %s: %s %s", r.Line, r.SKU, r.Field, r.Why)
}

// Report is what came of a file.
type Report struct {
	Added, Changed, Refused int
	Refusals                []Refusal // the first of them
	Ignored                 []string  // columns that mean nothing here
}

// Entry are goods as a file has them. What is nil is not in the file, and stays.
type Entry struct {
	Line                         int
	SKU                          string
	Title, Text, Category, State *string
	Named                        bool // the file tells variants apart
	Variants                     []Variant
	Bad                          *Refusal // why they cannot be taken
}

// Variant is a variant as a file has it.
type Variant struct {
	Line         int
	Name         string
	Price, Stock *int64
	InStock      bool // without a number: what the shop has, or one
}

// Reader reads the goods of a file.
type Reader struct {
	line    func() (Entry, error) // of one variant; io.EOF: the end
	lines   int
	next    *Entry // the first line of the next goods
	ended   error
	ignored []string
}

// Next returns the next goods: lines of the same SKU that follow each other. io.EOF:
// there are no more; another error: the rest cannot be read.
func (r *Reader) Next() (Entry, error) {
	e := r.next
	r.next = nil
	for r.ended == nil {
		line, err := r.line()
		if r.lines++; err == nil && r.lines > MaxLines {
			line, r.ended = Entry{Line: line.Line, Bad: &Refusal{line.Line, "", "file", "lines"}}, io.EOF
		}
		switch {
		case err != nil:
			r.ended = err
		case e == nil:
			e = &line
		case e.SKU == "" || line.SKU != e.SKU:
			r.next = &line
			return *e, nil
		default:
			if e.Variants = append(e.Variants, line.Variants...); e.Bad == nil {
				e.Bad = line.Bad
			}
			if len(e.Variants) > store.MaxVariants {
				e.Variants = e.Variants[:store.MaxVariants]
				e.Bad = &Refusal{line.Line, e.SKU, "variants", "many"}
			}
		}
	}
	if e != nil {
		return *e, nil
	}
	return Entry{}, r.ended
}

// Options are what a file cannot say.
type Options struct {
	Currency   string // of the shop, ISO 4217
	Digits     int    // after the point of its amounts
	Categories []store.Category
}

// Goods is what Import uses of a *store.Store.
type Goods interface {
	PutGoods(ctx context.Context, shop string, skus []string, dry bool,
		merge func(n int, old store.Item) (store.Item, error)) (added, changed int, err error)
}

// Import puts a file's goods into a shop, or says what it would do. It returns an
// error when the rest could not be read or stored; the report counts what was.
func Import(ctx context.Context, to Goods, shop string, r *Reader, dry bool) (rep Report, err error) {
	refuse := func(f Refusal) {
		if rep.Refused++; len(rep.Refusals) < maxRefusals {
			rep.Refusals = append(rep.Refusals, f)
		}
	}
	seen := make(map[string]bool)
	for end := false; !end; {
		var entries []Entry
		var skus []string
		for len(entries) < batch && !end {
			e, err := r.Next()
			switch {
			case errors.Is(err, io.EOF):
				end = true
			case err != nil:
				return rep, err
			case e.Bad != nil:
				refuse(*e.Bad)
			case seen[e.SKU]:
				refuse(Refusal{e.Line, e.SKU, "sku", "twice"})
			case len(seen) == store.MaxGoods:
				refuse(Refusal{e.Line, e.SKU, "file", "lines"})
				end = true
			default:
				seen[e.SKU] = true
				entries, skus = append(entries, e), append(skus, e.SKU)
			}
		}
		refused := make(map[int]Refusal) // the store may call merge again
		added, changed, err := to.PutGoods(ctx, shop, skus, dry, func(n int, old store.Item) (store.Item, error) {
			it, err := entries[n].merge(old)
			var f Refusal
			if errors.As(err, &f) {
				refused[n] = f
				return store.Item{}, store.ErrSkip
			}
			return it, err
		})
		if err != nil {
			return rep, err
		}
		rep.Added, rep.Changed = rep.Added+added, rep.Changed+changed
		for n := range entries {
			if f, ok := refused[n]; ok {
				refuse(f)
			}
		}
	}
	rep.Ignored = r.ignored
	return rep, nil
}

// merge is what a shop's goods become by an entry; a Refusal.
func (e Entry) merge(old store.Item) (store.Item, error) {
	it := old
	it.SKU = e.SKU
	if old.ID == "" {
		it.State = store.GoodsShown
	}
	for to, from := range map[*string]*string{
		&it.Title: e.Title, &it.Text: e.Text, &it.Category: e.Category, &it.State: e.State} {
		if from != nil {
			*to = *from
		}
	}
	refusal := func(line int, err error) error {
		var invalid store.Invalid
		if errors.As(err, &invalid) {
			return Refusal{line, e.SKU, invalid.Field, invalid.Why}
		}
		return err
	}
	if !e.Named && len(old.Variants) > 1 {
		return store.Item{}, Refusal{e.Line, e.SKU, "variants", "columns"}
	}
	it.Variants = nil
	names := make(map[string]bool)
	for _, v := range e.Variants {
		now := store.Variant{Name: v.Name}
		there := false
		for _, was := range old.Variants {
			if was.Name == v.Name || !e.Named {
				now, there = was, true
			}
		}
		switch {
		case names[v.Name]:
			return store.Item{}, Refusal{v.Line, e.SKU, "name", "twice"}
		case v.Price != nil:
			now.Price = *v.Price
		case !there:
			return store.Item{}, Refusal{v.Line, e.SKU, "price", "missing"}
		}
		switch names[v.Name] = true; {
		case v.Stock != nil:
			now.Stock = *v.Stock
		case v.InStock:
			now.Stock = max(now.Stock, 1)
		}
		it.Variants = append(it.Variants, now)
		one := it
		one.Variants, one.Title, one.State = []store.Variant{now}, "-", store.GoodsDraft
		if err := one.Check(); err != nil { // of this line
			var invalid store.Invalid
			if errors.As(err, &invalid) && (invalid.Field == "price" || invalid.Field == "stock" ||
				invalid.Field == "name") {
				return store.Item{}, refusal(v.Line, err)
			}
		}
	}
	if err := it.Check(); err != nil {
		return store.Item{}, refusal(e.Line, err)
	}
	return it, nil
}

// category finds a category by its id or its name in a language.
func (o Options) category(text string) (id string, ok bool) {
	if text == "" {
		return "", true
	}
	for _, c := range o.Categories {
		if text == c.ID || strings.EqualFold(text, c.NameEn) || text == c.NameKo {
			return c.ID, true
		}
	}
	return "", false
}
