// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"regexp"
	"strings"
)

// markers begin a transcript's mail: what stands above is the answer. Parse
// knows them by their beginning.
var markers = map[string]string{
	"en": "##- CHmail: write your answer above this line -##",
	"ko": "##- CHmail: 이 줄 위에 답장을 쓰세요 -##",
}

var marker = regexp.MustCompile(`^[*_\s]*##- ?CHmail:`)

func isMarker(line string) bool { return strings.Contains(line, "##-") && marker.MatchString(line) }
