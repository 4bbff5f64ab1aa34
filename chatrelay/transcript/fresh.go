// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"regexp"
	"strings"

	"github.com/chmail/chmail/internal/quotation"
)

// phone is what phones write under everything.
var phone = regexp.MustCompile(`(?i)^(?:sent (?:from|via|with) .{2,60}|get outlook for .{2,60}` +
	`|(?:나의|내) .{2,40}에서 (?:보냄|전송|보냈습니다)\.?|.{2,40}에서 (?:보냄|전송됨|보냈습니다)\.?|outlook for (?:ios|android).{0,80} 다운로드` +
	`|(?:von meinem|envoyé de(?:puis)? mon|enviado (?:desde|do) (?:mi|meu)|inviato da|verstuurd vanaf mijn` +
	`|отправлено с` +
	`|skickat från min|sendt fra min|wysłane z) .{2,40}|发自我的.{2,40}|從我的.{2,40}傳送|.{2,40}から送信)$`)

// fresh returns what is new in the text of an answer.
func fresh(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.ReplaceAll(l, "\u00a0", " "), " \t\r")
	}
	var out []string
	signature := false
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if quotation.Quoted(line) {
			signature = false // of an answer above the quotation
			continue
		}
		if n := quotation.Attribution(lines[i:]); n > 0 {
			if next := quotation.SkipBlank(lines[i+n:]); len(next) > 0 && !quotation.Quoted(next[0]) {
				break // history without marks
			}
			i += n - 1
			signature = false
			continue
		}
		if isMarker(line) || quotation.Message(line) || quotation.Fields(lines[i:]) {
			break
		}
		if line == "--" {
			signature = true
		}
		if !signature && !wrapped(lines, i) {
			out = append(out, line)
		}
	}
	return strings.Join(withoutPhone(out), "\n")
}

// wrapped says whether line i is what a mail program broke off a long quoted
// line: alone between two quoted ones.
func wrapped(lines []string, i int) bool {
	return i > 0 && i+1 < len(lines) && lines[i] != "" && quotation.Quoted(lines[i-1]) &&
		quotation.Quoted(lines[i+1]) && len(lines[i-1]) >= 60
}

// withoutPhone takes empty lines and what phones add from the end.
func withoutPhone(lines []string) []string {
	for n := len(lines); n > 0; n = len(lines) {
		last := strings.TrimSpace(lines[n-1])
		if last != "" && !phone.MatchString(strings.Trim(last, "<>")) {
			break
		}
		lines = lines[:n-1]
	}
	return lines
}
