// SPDX-License-Identifier: GPL-3.0-or-later

package site

import (
	"cmp"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/chmail/chmail/mall/store"
)

// rowsOf is all that the database has of a shop, by table.
func rowsOf(t *testing.T, path, shop string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	strings := func(query string, args ...any) (list []string) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			list = append(list, fmt.Sprint(values...))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return list
	}
	all := make(map[string]string)
	for _, table := range strings("SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c" +
		" WHERE m.type = 'table' AND c.name = 'shop'") {
		all[table] = fmt.Sprint(strings("SELECT * FROM "+table+" WHERE shop = ? ORDER BY rowid", shop))
	}
	all["shops"] = fmt.Sprint(strings("SELECT * FROM shops WHERE id = ?", shop))
	return all
}

// TestTheirs tries every route of the console and of the API, with every verb, as the staff
// and with the key of another shop: at the shop's own addresses, and at the other's with what
// the shop has named in them. Each answers as if there were nothing of that name, shows
// nothing, and the shop's rows stay as they are.
func TestTheirs(t *testing.T) {
	t.Parallel()
	b := newTown(t)
	path := furnish(b)
	ctx, it := t.Context(), b.goods[0]
	shop := it.Goods.Shop
	owner, other := b.signedIn("host@mall.example"), b.signedIn("other@mall.example")
	owner.post(path("/inquiries/{id}/notes"), 200, "note", "They like lamps")
	owner.post(path("/providers"), 200, "provider", "bank")
	owner.addPicture(path("/goods/edit/{id}/pictures"))
	ours, _, err := b.store.AddKey(ctx, shop, "till")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := b.store.ShopBySlug(ctx, "chairs")
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := b.store.AddKey(ctx, theirs.ID, "till")
	if err != nil {
		t.Fatal(err)
	}
	member, err := b.store.MemberByLogin(ctx, "kim@mall.example")
	if err != nil {
		t.Fatal(err)
	}
	notes, err := b.store.Notes(ctx, shop, member.ID)
	if err != nil || len(notes) != 1 {
		t.Fatalf("%+v, %v", notes, err)
	}
	now, err := b.store.ItemOf(ctx, shop, it.Goods.ID)
	if err != nil || len(now.Pictures) != 1 {
		t.Fatalf("%+v, %v", now, err)
	}
	file := filepath.Join(b.dir, "mall.db")
	before := rowsOf(t, file, shop)
	if len(before) < 15 || !strings.Contains(before["shop_notes"], "They like lamps") {
		t.Fatalf("tables of the shop: %v", before)
	}
	form := blank("id", ours.ID, "note", notes[0].ID, "login", "host@mall.example", "role", store.RoleAgent,
		"provider", "bank",
		"key", "stolen", "hash", now.Pictures[0].Hash, "variant", it.Variants[0].ID, "goods", it.Goods.ID, "act", "end",
		"do", "remove", "stamp", now.Stamp(), "sku", "x", "quantity", "1", "price", "1", "segment", "all",
		"lang", "en", "subject", "x", "text", "x", "title", "x").Values.Encode()
	json := map[string]string{"/goods/{id}/stock": fmt.Sprintf(`{"variant": %q, "by": -1}`, it.Variants[0].ID),
		"/orders/{number}": `{"act": "cancel"}`,
		"/goods/{id}":      `{"sku": "x", "title": "x", "state": "gone", "variants": [{"price": 1}]}`}
	ask := func(method, at, body string, header http.Header) (status int, page string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, b.server.URL+at, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		answer, err := other.noFollow().client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		page = other.read(answer, nil)(answer.StatusCode)
		return answer.StatusCode, page
	}
	secrets := regexp.MustCompile(`Hanok|New lamps|Warm|About <|About &lt;|They like|Kim`)
	named := regexp.MustCompile(`\{\w+\}`)
	names := regexp.MustCompile(`/console/lamps|[0-9A-Z]{26}|[0-9]{6}-\w+`)
	nothing := func(at string) string { // the same of what is not there
		return names.ReplaceAllStringFunc(at, func(name string) string {
			if strings.HasPrefix(name, "/") {
				return "/console/none"
			}
			return "none"
		})
	}
	verbs := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	try := func(table []shopRoute, verb string, route shopRoute, at, body string, header http.Header, hidden bool) {
		t.Helper()
		status, page := ask(verb, at, body, header)
		known := slices.ContainsFunc(table, func(r shopRoute) bool {
			return r.Path == route.Path && (r.Method == verb || r.Method == "GET" && verb == "HEAD")
		})
		switch {
		case !known && status != http.StatusMethodNotAllowed && status != http.StatusNotFound:
			t.Errorf("%s %s is no route and answers %d", verb, at, status)
		case known && hidden:
			none, _ := ask(verb, nothing(at), body, header)
			if status < 400 || status != none {
				t.Errorf("%s %s: %d, and %d if there is nothing: %s", verb, at, status, none, page)
			}
		}
		if found := secrets.FindString(page); found != "" {
			t.Errorf("%s %s shows %s", verb, at, found)
		}
	}
	forms := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	calls := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + key},
		"If-Match": {`"` + now.Stamp() + `"`}}
	for _, verb := range verbs {
		for _, route := range consoleTable {
			at := path(route.Path)
			try(consoleTable, verb, route, at, form, forms, true)
			try(consoleTable, verb, route, strings.Replace(at, "/console/lamps", "/console/chairs", 1), form, forms,
				named.MatchString(route.Path))
		}
		for _, route := range apiTable {
			at := apiBase + strings.TrimPrefix(path(route.Path), "/console/lamps")
			try(apiTable, verb, route, at, cmp.Or(json[route.Path], "{}"), calls, named.MatchString(route.Path))
		}
	}
	for table, rows := range rowsOf(t, file, shop) {
		if rows != before[table] {
			t.Errorf("%s was %s and is %s", table, before[table], rows)
		}
	}
}

// TestNoOtherRoutes: all routes below the console of a shop and the API are in their tables,
// which TestTheirs tries.
func TestNoOtherRoutes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Handle(?:Func)?\((.*)`).FindAllStringSubmatch(string(source), -1) {
			if strings.Contains(m[1], "/console/") || strings.Contains(m[1], "/api") ||
				strings.Contains(m[1], "apiBase") {
				found = append(found, m[1])
			}
		}
	}
	slices.Sort(found)
	want := []string{
		`route.Method+" "+apiBase+route.Path, func(w http.ResponseWriter, r *http.Request) {`,
		`route.Method+" /console/{shop}"+route.Path, func(w http.ResponseWriter, r *http.Request) {`,
	}
	if !slices.Equal(found, want) {
		t.Errorf("routes beside the tables: %q", found)
	}
}
