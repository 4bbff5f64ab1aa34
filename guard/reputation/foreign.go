// SPDX-License-Identifier: GPL-3.0-or-later

package reputation

import (
	"bytes"
	"strings"
)

// Foreign says whether a first line is of another protocol than those of mail: HTTP or SSH.
// Only scanners send these. TLS where none is expected is not meant: people set up their
// programs so.
func Foreign(line []byte) bool {
	line = bytes.TrimRight(line, "\r\n")
	return bytes.HasPrefix(line, []byte("SSH-")) || bytes.HasSuffix(line, []byte(" HTTP/1.1")) ||
		bytes.HasSuffix(line, []byte(" HTTP/1.0"))
}

// probed are parts of paths that no page of this server has and no browser asks for by itself.
var probed = []string{".php", ".asp", ".jsp", ".cgi", "/.env", "/.git", "/.aws", "/.ssh", "/wp-", "/cgi-bin/",
	"/phpmyadmin", "/actuator", "/boaform", "/etc/passwd", "/vendor/phpunit", "/.vscode/", "/solr/", "/hnap1"}

// ProbedPath says whether only scanners ask for a path that is not there.
func ProbedPath(path string) bool {
	path = strings.ToLower(path)
	for _, part := range probed {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}
