// SPDX-License-Identifier: GPL-3.0-or-later

package store

import "github.com/uptrace/bun"

// States of goods.
const (
	GoodsDraft = "draft" // only the shop sees them
	GoodsShown = "shown"
	GoodsGone  = "gone" // no longer sold; orders and talks still name them
)

// Goods are one thing that a shop sells, in one variant or several.
type Goods struct {
	bun.BaseModel `bun:"table:goods"`

	Shop     string `bun:",pk"`
	ID       string `bun:",pk"`
	SKU      string `bun:"sku"` // the shop's own name of it
	Title    string
	Text     string // Markdown
	Category string // id; empty: none
	State    string
	Price    int64 // the lowest of its variants
	Created  int64 // Micros
	Changed  int64 // Micros; rises with every change

	Folded string // title and SKU as a shop's search compares them; the store sets it
}

// Variant is what can be bought.
type Variant struct {
	bun.BaseModel `bun:"table:variants"`

	Shop  string `bun:",pk"`
	Goods string `bun:",pk"`
	ID    string `bun:",pk"`
	Name  string // empty: the only one
	Price int64
	Stock int64
	Place int
}

// Picture is a picture of goods; package picture keeps its files.
type Picture struct {
	bun.BaseModel `bun:"table:pictures"`

	Shop   string `bun:",pk"`
	Goods  string `bun:",pk"`
	Hash   string `bun:",pk"`
	Width  int
	Height int
	Alt    string
	Place  int
}
