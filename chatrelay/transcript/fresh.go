// SPDX-License-Identifier: GPL-3.0-or-later

package transcript

import (
	"regexp"
	"strings"
)

var (
	// The line before a quotation, as mail programs write it.
	wrote = regexp.MustCompile(`(?i)^(?:on|le)\b.{4,400}\d.{0,400}\b(?:wrote|writes|said)\s*[:：]$`)
	// Gmail, Apple Mail, Thunderbird and Outlook in Korean:
	// "2026년 1월 5일 (월) 오후 3:04, 홍길동 <…>님이 작성:", "2026. 1. 5. 오후 3:04, 홍길동 <…> 작성:",
	// "2026-01-05 15:04에 홍길동 이(가) 쓴 글:"
	wroteKo = regexp.MustCompile(`^(?:On )?(?:\(?[월화수목금토일]\)?,? )?(?:20)?\d{2}(?:년|[-./])\s?\d{1,2}.{3,400}` +
		`(?:작성|쓴 글|씀|쓰길|쓰시길|썼습니다|쓰셨습니다|보냄|보낸 글|보낸 메일)\s*[:：]$`)
	// Any language: a date, an address, a colon.
	wroteAny = regexp.MustCompile(`^.{0,200}\d{1,2}[:.]\d{2}.{0,200}<\S+@\S+>.{0,60}[:：]$`)
	// "-----Original Message-----" and its like.
	original = regexp.MustCompile(`(?i)^[-_=*]{2,}\s*\[?\s*(?:original (?:message|mail|email)|forwarded message` +
		`|reply message|원본\s?(?:메시지|메일|이메일)|원래\s?(?:메시지|메일)|전달된?\s?(?:메시지|메일)|받은\s?메일|보낸\s?메일)\s*\]?\s*[-_=*]{2,}$`)
	// The fields that Outlook, Naver, Daum and phones put above a quotation.
	field = regexp.MustCompile(`(?i)^[*\s]*(from|sent|to|cc|date|subject|reply-to|보낸\s?사람|보낸\s?이|보낸\s?날짜|보낸\s?시간` +
		`|보낸\s?일시|발신자?|받는\s?사람|받은\s?사람|받는\s?이|수신자?|참조|숨은\s?참조|날짜|일시|작성일|제목)\s*\*?\s*[:：]`)
	sender  = regexp.MustCompile(`(?i)^[*\s]*(?:from|보낸\s?사람|보낸\s?이|발신자?)\s*\*?\s*[:：]`)
	divider = regexp.MustCompile(`^[-_=]{5,}$`)
	// A face that begins like a quotation.
	face = regexp.MustCompile(`^>[^\s>]{1,4}<`)
	// What phones write under everything.
	phone = regexp.MustCompile(`(?i)^(?:sent (?:from|via|with) .{2,60}|get outlook for .{2,60}|(?:나의|내) .{2,40}에서 ` +
		`(?:보냄|전송|보냈습니다)\.?|.{2,40}에서 (?:보냄|전송됨|보냈습니다)\.?|outlook for (?:ios|android).{0,80} 다운로드)$`)
)

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
		if quoted(line) {
			signature = false // of an answer above the quotation
			continue
		}
		if n := attribution(lines[i:]); n > 0 {
			if next := skipBlank(lines[i+n:]); len(next) > 0 && !quoted(next[0]) {
				break // history without marks
			}
			i += n - 1
			signature = false
			continue
		}
		if isMarker(line) || original.MatchString(strings.TrimSpace(line)) || fields(lines[i:]) {
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

// quoted says whether a line is of a quotation.
func quoted(line string) bool {
	line = strings.TrimLeft(line, " \t")
	return strings.HasPrefix(line, ">") && !face.MatchString(line)
}

// wrapped says whether line i is what a mail program broke off a long quoted
// line: alone between two quoted ones.
func wrapped(lines []string, i int) bool {
	return i > 0 && i+1 < len(lines) && lines[i] != "" && quoted(lines[i-1]) &&
		quoted(lines[i+1]) && len(lines[i-1]) >= 60
}

// attribution returns how many lines the one before a quotation takes, 0 if
// there is none: mail programs break it like any other.
func attribution(lines []string) int {
	all := ""
	for n := 0; n < 4 && n < len(lines); n++ {
		line := strings.TrimSpace(lines[n])
		if line == "" || quoted(line) || len(all)+len(line) > 800 {
			return 0
		}
		if n > 0 {
			all += " "
		}
		all += line
		if !strings.HasSuffix(all, ":") && !strings.HasSuffix(all, "：") {
			continue
		}
		if wrote.MatchString(all) || wroteKo.MatchString(all) || wroteAny.MatchString(all) {
			return n + 1
		}
	}
	return 0
}

// fields says whether lines begin with the fields of an earlier mail, maybe
// after a dividing line.
func fields(lines []string) bool {
	if divider.MatchString(lines[0]) {
		lines = skipBlank(lines[1:])
	}
	if len(lines) == 0 || !sender.MatchString(lines[0]) {
		return false
	}
	seen := make(map[string]bool)
	looked := 0
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if looked++; looked > 8 {
			break
		}
		if m := field.FindStringSubmatch(l); m != nil {
			seen[strings.ToLower(m[1])] = true
		}
	}
	return len(seen) >= 3
}

// skipBlank returns lines from the first that is not empty.
func skipBlank(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return lines
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
