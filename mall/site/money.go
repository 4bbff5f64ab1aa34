// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/chmail/chmail/mall/store"
)

// digits are those after the point of a currency's amounts (ISO 4217); two for
// those that are not here.
var digits = map[string]int{"KRW": 0, "JPY": 0, "VND": 0, "CLP": 0, "ISK": 0, "BHD": 3, "KWD": 3, "OMR": 3, "TND": 3}

// signs are written before the amount; other currencies have their code there.
var signs = map[string]string{"KRW": "₩", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}

// Money is an amount of the currency's smallest unit as people write it: ₩12,000,
// 12,000원, $12.50.
func Money(lang, currency string, amount int64) string {
	minus := ""
	if amount < 0 {
		minus, amount = "−", -amount
	}
	after, ok := digits[currency]
	if !ok {
		after = 2
	}
	whole := strconv.FormatInt(amount, 10)
	fraction := ""
	if after > 0 {
		whole = strings.Repeat("0", max(0, after+1-len(whole))) + whole
		whole, fraction = whole[:len(whole)-after], "."+whole[len(whole)-after:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	switch sign := signs[currency]; {
	case lang == "ko" && currency == "KRW":
		return minus + whole + "원"
	case sign != "":
		return minus + sign + whole + fraction
	}
	return minus + currency + "\u00a0" + whole + fraction
}

// date is a day as people write it. Times of day are the reader's own, which the
// server does not know.
func date(lang string, micros int64) string {
	t := store.Time(micros)
	if lang == "ko" {
		return fmt.Sprintf("%d년 %d월 %d일", t.Year(), t.Month(), t.Day())
	}
	return t.Format("2 January 2006")
}
