// SPDX-License-Identifier: GPL-3.0-or-later

package feed

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/transform"

	"github.com/chmail/chmail/mall/store"
)

// Column is a column of a CSV file.
type Column struct {
	Name  string
	Other []string // names that it may have as well
}

// Columns of a CSV file, each with the names that its header may have. sku and the
// price of new goods are required; a column that is missing leaves its field alone.
// One line is one variant: lines of the same SKU stand one after the other.
var Columns = []Column{
	{"sku", []string{"상품코드", "상품 코드"}},
	{"title", []string{"상품명", "제목"}},
	{"text", []string{"설명", "상품설명"}},
	{"category", []string{"분류", "카테고리"}},
	{"state", []string{"상태"}},
	{"variant", []string{"옵션", "옵션명"}},
	{"price", []string{"가격", "판매가"}},
	{"stock", []string{"재고", "수량"}},
}

// states as a file may say them.
var states = map[string]string{
	"draft": store.GoodsDraft, "임시": store.GoodsDraft, "임시저장": store.GoodsDraft,
	"shown": store.GoodsShown, "판매": store.GoodsShown, "판매중": store.GoodsShown,
	"gone": store.GoodsGone, "종료": store.GoodsGone, "판매종료": store.GoodsGone,
}

type csvFile struct {
	opts Options
	r    *csv.Reader
	at   map[string]int // column → its place
}

// NewCSV reads the header of a CSV file: UTF-8, with or without BOM, or CP949 as
// Excel in Korea writes it; separated by commas, semicolons or tabs. A Refusal says
// what is wrong with the file.
func NewCSV(file io.ReadSeeker, opts Options) (*Reader, error) {
	utf, err := isUTF8(file)
	if err != nil {
		return nil, fmt.Errorf("reading a CSV file: %w", err)
	}
	var text io.Reader = file
	if !utf {
		text = transform.NewReader(file, korean.EUCKR.NewDecoder()) // which is CP949, as the WHATWG has it
	}
	in := bufio.NewReaderSize(text, 64<<10)
	if bom, err := in.Peek(3); err == nil && string(bom) == "\ufeff" {
		_, _ = in.Discard(3)
	}
	c := &csvFile{opts: opts, r: csv.NewReader(in), at: make(map[string]int)}
	c.r.FieldsPerRecord, c.r.ReuseRecord = -1, true
	head, _ := in.Peek(4 << 10)
	head, _, _ = bytes.Cut(head, []byte("\n"))
	for _, comma := range ";\t" {
		if bytes.ContainsRune(head, comma) && bytes.Count(head, []byte(string(comma))) > bytes.Count(head,
			[]byte(",")) {
			c.r.Comma = comma
		}
	}
	out := &Reader{line: c.line}
	names, err := c.r.Read()
	if err != nil {
		return nil, Refusal{1, "", "file", "columns"}
	}
	for i, name := range names {
		name = strings.ToLower(strings.TrimSpace(name))
		known := slices.IndexFunc(Columns, func(c Column) bool {
			return c.Name == name ||
				slices.Contains(c.Other, name)
		})
		switch {
		case known < 0:
			if name != "" && len(out.ignored) < 50 {
				out.ignored = append(out.ignored, strings.ToValidUTF8(name, ""))
			}
		default:
			if _, twice := c.at[Columns[known].Name]; twice {
				return nil, Refusal{1, "", "file", "columns"}
			}
			c.at[Columns[known].Name] = i
		}
	}
	if _, ok := c.at["sku"]; !ok || len(c.at) == 1 {
		return nil, Refusal{1, "", "file", "columns"}
	}
	return out, nil
}

// isUTF8 reads the whole file, since letters may stand at its end alone.
func isUTF8(file io.ReadSeeker) (bool, error) {
	buf := make([]byte, 64<<10)
	valid, have := true, 0
	for valid {
		n, err := file.Read(buf[have:])
		b := buf[:have+n]
		for len(b) > 0 {
			r, size := utf8.DecodeRune(b)
			if r == utf8.RuneError && size == 1 {
				if !utf8.FullRune(b) && err == nil { // a letter that the buffer cuts
					break
				}
				valid = false
				break
			}
			b = b[size:]
		}
		if have = copy(buf, b); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return false, err
		}
	}
	_, err := file.Seek(0, io.SeekStart)
	return valid, err
}

// line reads one line of the file.
func (c *csvFile) line() (Entry, error) {
	for {
		record, err := c.r.Read()
		var wrong *csv.ParseError
		if errors.As(err, &wrong) {
			return Entry{Line: wrong.StartLine, Bad: &Refusal{wrong.StartLine, "", "file", "quote"}}, nil
		}
		if err != nil {
			return Entry{}, err
		}
		if !slices.ContainsFunc(record, func(cell string) bool { return strings.TrimSpace(cell) != "" }) {
			continue
		}
		n, _ := c.r.FieldPos(0)
		return c.entry(n, record), nil
	}
}

func (c *csvFile) entry(n int, record []string) Entry {
	cell := func(column string) *string {
		i, ok := c.at[column]
		if !ok || i >= len(record) {
			return nil
		}
		text := plainCell(strings.TrimSpace(record[i]))
		return &text
	}
	e := Entry{Line: n, Title: cell("title"), Text: cell("text"), State: cell("state"), Category: cell("category")}
	bad := func(field, why string) {
		if e.Bad == nil {
			e.Bad = &Refusal{n, e.SKU, field, why}
		}
	}
	if sku := cell("sku"); sku != nil {
		e.SKU = *sku
	}
	if e.SKU == "" {
		bad("sku", "missing")
	}
	for _, text := range record {
		if strings.ContainsRune(text, utf8.RuneError) {
			bad("file", "letters")
		}
	}
	if e.Title != nil && *e.Title == "" { // of a variant's further line
		e.Title = nil
	}
	if e.State != nil && *e.State == "" {
		e.State = nil
	}
	if e.State != nil {
		state, ok := states[strings.ToLower(*e.State)]
		if e.State = &state; !ok {
			bad("state", "unknown")
		}
	}
	if e.Category != nil {
		id, ok := c.opts.category(*e.Category)
		if e.Category = &id; !ok {
			bad("category", "unknown")
		}
	}
	v := Variant{Line: n}
	_, e.Named = c.at["variant"]
	if name := cell("variant"); name != nil {
		v.Name = *name
	}
	if text := cell("price"); text != nil && *text != "" {
		amount, err := Amount(*text, c.opts.Digits)
		if v.Price = &amount; err != nil {
			bad("price", "number")
		}
	}
	if text := cell("stock"); text != nil && *text != "" {
		stock, err := strconv.ParseInt(strings.ReplaceAll(*text, ",", ""), 10, 64)
		if v.Stock = &stock; err != nil {
			bad("stock", "number")
		}
	}
	e.Variants = []Variant{v}
	return e
}

// formula are the first letters by which a spreadsheet takes a cell for a formula.
const formula = "=+-@\t\r'"

// safeCell puts an apostrophe before what a spreadsheet would run; plainCell takes
// it away.
func safeCell(text string) string {
	if text != "" && strings.ContainsRune(formula, rune(text[0])) {
		return "'" + text
	}
	return text
}

func plainCell(text string) string {
	if len(text) > 1 && text[0] == '\'' && strings.ContainsRune(formula, rune(text[1])) {
		return text[1:]
	}
	return text
}

// CSVWriter writes goods as NewCSV reads them: UTF-8 with BOM, which Excel needs.
type CSVWriter struct {
	w    *csv.Writer
	opts Options
}

// NewCSVWriter writes the header.
func NewCSVWriter(w io.Writer, opts Options) (*CSVWriter, error) {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return nil, err
	}
	c := &CSVWriter{w: csv.NewWriter(w), opts: opts}
	var names []string
	for _, column := range Columns {
		names = append(names, column.Name)
	}
	return c, c.w.Write(names)
}

// Write writes goods, a line a variant. Close must be called after the last.
func (c *CSVWriter) Write(it store.Item) error {
	for i, v := range it.Variants {
		record := []string{it.SKU, it.Title, it.Text, it.Category, it.State, v.Name,
			Plain(v.Price, c.opts.Digits), strconv.FormatInt(v.Stock, 10)}
		if i > 0 {
			record[2] = "" // a text may be long
		}
		for i := range 6 {
			record[i] = safeCell(record[i])
		}
		if err := c.w.Write(record); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what is left.
func (c *CSVWriter) Close() error {
	c.w.Flush()
	return c.w.Error()
}
