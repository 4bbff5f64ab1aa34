// SPDX-License-Identifier: GPL-3.0-or-later

package words

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
)

// HTML says a message as HTML in which every value is isolated, so that its writing
// direction stays its own.
func (t Tongue) HTML(key string, values ...any) template.HTML {
	marked, into := make([]any, len(values)), []string{}
	copy(marked, values)
	for i := 1; i < len(values); i += 2 {
		mark := "\ue000" + strconv.Itoa(i) + "\ue001" // of the private use area: no message has one
		if titled.MatchString(fmt.Sprint(values[i])) {
			mark += "님" // so that it gets no second title
		}
		marked[i] = mark
		value := template.HTMLEscapeString(fmt.Sprint(values[i]))
		switch values[i].(type) {
		case int, int64:
			marked[i] = values[i] // it chooses the plural
			continue
		}
		into = append(into, mark, "<bdi>"+value+"</bdi>")
	}
	return template.HTML(strings.NewReplacer(into...).Replace(template.HTMLEscapeString(t.Say(key, marked...))))
}
