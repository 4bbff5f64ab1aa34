// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"unicode"

	"github.com/uptrace/bun"
)

// maxGrams of one goods; what comes after is not found.
const maxGrams = 4000

// grams are the pairs of neighbouring letters of each word of a text, and its first
// letters, in lower case. Korean glues particles to words, so that words as they
// stand would find little.
func grams(text string, most int) []string {
	var all []string
	seen := make(map[string]bool)
	add := func(gram string) {
		if !seen[gram] && len(all) < most {
			seen[gram] = true
			all = append(all, gram)
		}
	}
	var before rune // the letter before; 0: a word begins
	for _, r := range fold(text) {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			before = 0
			continue
		case before == 0:
			add(string(r))
		default:
			add(string([]rune{before, r}))
		}
		before = r
	}
	return all
}

// setGrams stores by what goods are found.
func setGrams(ctx context.Context, tx bun.Tx, g Goods) error {
	type row struct {
		bun.BaseModel `bun:"table:grams"`
		Gram, Goods   string
	}
	if _, err := tx.NewDelete().Model((*row)(nil)).Where("goods = ?", g.ID).Exec(ctx); err != nil {
		return err
	}
	var rows []row
	for _, gram := range grams(g.Title+" "+g.SKU+" "+g.Text, maxGrams) {
		rows = append(rows, row{Gram: gram, Goods: g.ID})
	}
	for len(rows) > 0 { // SQLite bears only so many values in a statement
		n := min(len(rows), 500)
		part := rows[:n]
		if _, err := tx.NewInsert().Model(&part).Exec(ctx); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
