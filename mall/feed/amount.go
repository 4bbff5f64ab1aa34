// SPDX-License-Identifier: GPL-3.0-or-later

package feed

import (
	"errors"
	"strconv"
	"strings"
)

// ErrAmount: a text is no amount of the currency.
var ErrAmount = errors.New("it is no amount")

// Amount reads what people write as an amount, "12,000" or "12.50", in the smallest
// unit of a currency with so many digits after the point.
func Amount(text string, digits int) (int64, error) {
	text = strings.ReplaceAll(strings.TrimSpace(text), ",", "")
	whole, fraction, point := strings.Cut(text, ".")
	if extra := len(fraction) - digits; extra > 0 && strings.Trim(fraction[digits:], "0") == "" {
		fraction = fraction[:digits] // 12000.00 of a currency without a fraction
	}
	if whole == "" || point && len(fraction) > digits || len(whole) > 13 {
		return 0, ErrAmount
	}
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", digits-len(fraction)), 10, 63)
	if err != nil {
		return 0, ErrAmount
	}
	return int64(n), nil
}

// Plain writes an amount as Amount reads it, without commas.
func Plain(amount int64, digits int) string {
	text := strconv.FormatInt(amount, 10)
	if digits == 0 {
		return text
	}
	text = strings.Repeat("0", max(0, digits+1-len(text))) + text
	return text[:len(text)-digits] + "." + text[len(text)-digits:]
}
