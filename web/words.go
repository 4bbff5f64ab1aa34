// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"net/http"

	"golang.org/x/text/language"
)

// phrases are what a page says without its script, in one language.
type phrases struct {
	from, subject, answer, needsScript string
	chatTitle, desk, landing           string
	gone, goneHint                     map[string]string   // by reason
	plain                              map[string][]string // by kind: heading, lines
}

var spoken = map[string]phrases{
	"en": {
		from:        "A mail from %s",
		subject:     "Subject: %s",
		answer:      "Answer by mail",
		needsScript: "The live chat needs JavaScript, which is off in this browser.",
		chatTitle:   "Chat with %s",
		desk:        "CHmail desk",
		landing: "Every e-mail is a door to a live chat with the one who sent it." +
			" Open the link of a mail, or sign in at the desk.",
		gone: map[string]string{
			"unknown": "This link leads nowhere",
			"expired": "This link is too old",
			"revoked": "This link was taken back",
		},
		goneHint: map[string]string{
			"unknown": "Nobody was disturbed. Perhaps a part of the link is missing:" +
				" open it from the mail again, whole.",
			"expired": "Nobody was disturbed. Links work for a while only; answer the mail instead," +
				" and the next one brings a new link.",
			"revoked": "Nobody was disturbed. The one who wrote the mail does not take chats through it any" +
				" more; you can answer it by mail.",
		},
		plain: map[string][]string{
			"missing": {"There is no page here",
				"The address may be misspelled. Links to a chat are best opened from the mail."},
			"busy": {"Too many requests",
				"This network has asked for too many pages at once. Wait a few seconds and load the page again."},
			"down": {"Not possible at the moment", "The conversations cannot be read just now. Nothing is lost:" +
				" load the page again in a moment."},
			"offline": {"The server cannot be reached",
				"It cannot ring here until the connection is back. Load the page again in a moment."},
			"broken": {"Something went wrong here", "It is not your doing, and the administrator has been told." +
				" Load the page again in a moment."},
		},
	},
	"ko": {
		from:        "%s님이 보낸 메일",
		subject:     "제목: %s",
		answer:      "메일로 답장하기",
		needsScript: "실시간 채팅을 하려면 JavaScript가 필요하지만 이 브라우저에서는 꺼져 있습니다.",
		chatTitle:   "%s님과 채팅",
		desk:        "CHmail 데스크",
		landing:     "모든 메일이 보낸 사람과의 실시간 채팅으로 이어집니다. 메일의 링크를 열거나 데스크에 로그인하세요.",
		gone: map[string]string{
			"unknown": "없는 링크입니다",
			"expired": "기한이 지난 링크입니다",
			"revoked": "취소된 링크입니다",
		},
		goneHint: map[string]string{
			"unknown": "아무에게도 알림이 가지 않았습니다. 링크의 일부가 빠졌을 수 있으니 메일에서 다시 열어 주세요.",
			"expired": "아무에게도 알림이 가지 않았습니다. 링크는 일정 기간만 쓸 수 있습니다. 메일로 답장하면 다음 메일에 새 링크가 옵니다.",
			"revoked": "아무에게도 알림이 가지 않았습니다. 보낸 사람이 이 메일을 통한 채팅을 더 이상 받지 않습니다. 메일로 답장할 수 있습니다.",
		},
		plain: map[string][]string{
			"missing": {"페이지가 없습니다", "주소가 잘못되었을 수 있습니다. 채팅 링크는 메일에서 바로 여는 것이 가장 좋습니다."},
			"busy":    {"요청이 너무 많습니다", "이 네트워크에서 한꺼번에 너무 많은 페이지를 요청했습니다. 몇 초 뒤에 다시 열어 주세요."},
			"down":    {"지금은 할 수 없습니다", "지금 대화를 읽을 수 없습니다. 사라진 것은 없으니 잠시 뒤에 다시 열어 주세요."},
			"offline": {"서버에 연결할 수 없습니다", "다시 연결될 때까지 여기에서는 벨이 울리지 않습니다. 잠시 뒤에 다시 열어 주세요."},
			"broken":  {"이곳에 문제가 생겼습니다", "사용자의 잘못이 아니며 관리자에게 알렸습니다. 잠시 뒤에 다시 열어 주세요."},
		},
	},
}

// languages are those the pages speak; the first is for everyone else.
var (
	languages = []string{"en", "ko"}
	matcher   = language.NewMatcher([]language.Tag{language.English, language.Korean})
)

// language is the one of languages that the browser likes best.
func (s *Server) language(r *http.Request) string {
	_, index := language.MatchStrings(matcher, r.Header.Get("Accept-Language"))
	return languages[index]
}
