// SPDX-License-Identifier: GPL-3.0-or-later

// Package quotation knows how mail programs quote in text: which lines are of the
// mail that is answered, in whatever language the program speaks.
//
// Words alone would make every list of places ("From: Busan, To: Seoul") a
// quotation, and a shape alone every address block. So a header block needs
// several fields of different kinds, the sender first; a line "… wrote:" needs a
// date too.
package quotation

import (
	"regexp"
	"slices"
	"strings"
)

// Lines of an attribution, or of a header block, that are looked at.
const (
	maxAttribution = 4
	MaxFields      = 8
	maxLength      = 800 // octets of an attribution
)

// The kinds of field that programs put above a quotation, with the words that
// Outlook, Gmail, Apple Mail, Naver, Daum and phones have for them.
var fields = map[string]string{
	"from": "from|von|de|da|van|fra|från|lähettäjä|od|от|від|кім|gönderen|kimden|feladó|expéditeur|mittente|remitente" +
		"|remetente|nadawca|odesílatel|de la|από|từ|dari|จาก|מאת|من|差出人|送信者|发件人|發件人|寄件者|寄件人" +
		`|보낸\s?사람|보낸\s?이|발신자?`,
	"date": "date|sent|gesendet|datum|envoyé|envoyée?|date d['’]envoi|enviado(?: el| em)?|enviada(?: em)?" +
		"|data|inviato|fecha" +
		"|verzonden|wysłano|отправлено|дата|надіслано|sendt|dato|skickat|lähetetty|päivämäärä|gönderildi" +
		"|gönderme tarihi" +
		"|tarih|elküldve|dátum|odesláno|trimis|ημερομηνία|στάλθηκε|đã gửi|ngày|dikirim|tanggal|ส่งเมื่อ|วันที่" +
		"|נשלח|تاريخ" +
		`|送信日時|日時|日付|发送时间|發送時間|发送日期|日期|时间|寄件日期|傳送時間|보낸\s?날짜|보낸\s?시간|보낸\s?일시|날짜|일시|작성일`,
	"to": "to|an|à|a|para|per|aan|do|til|till|vastaanottaja|кому|kime|alıcı|címzett|komu|destinataires?|destinatario" +
		"|destinatário|către|προς|đến|tới|kepada|ถึง|אל|إلى|宛先|收件人|收件者" +
		`|받는\s?사람|받은\s?사람|받는\s?이|수신자?`,
	"copy": `cc|bcc|kopie|copie|copia|cópia|kopia|kopi|копия|копія|抄送|副本|密送|참조|숨은\s?참조|reply-to|antwort an`,
	"subject": "subject|betreff|objet|sujet|asunto|assunto|oggetto|onderwerp|temat|тема|emne|ämne|aihe|konu" +
		"|tárgy|předmět" +
		"|predmet|subiect|θέμα|chủ đề|tiêu đề|subjek|perihal|เรื่อง|נושא|الموضوع|件名|主题|主題|主旨|标题|제목",
}

var (
	kinds = func() map[string]*regexp.Regexp {
		all := make(map[string]*regexp.Regexp, len(fields))
		for kind, names := range fields {
			all[kind] = regexp.MustCompile(`(?i)^[*\s]*(?:` + names + `)[*\s]*[:：]`)
		}
		return all
	}()
	named   = regexp.MustCompile(`^[*\s]*\p{L}[\p{L}\p{M}'’ .-]{0,30}[*\s]*[:：]`)
	divider = regexp.MustCompile(`^[-_=]{5,}$`)

	// The line before a quotation: a verb and a date, or an address and a time.
	wrote = regexp.MustCompile(`(?i)^(?:on|le)\b.{4,400}\d.{0,400}\b(?:wrote|writes|said)\s*[:：]$`)
	verb  = regexp.MustCompile(`(?i)(?:wrote|writes|schrieb|a écrit|écrivait|escribió|escreveu|ha scritto` +
		`|scrisse|schreef` +
		`|skrev|kirjoitti|napisał|napsal|napísal|написал|написав|пишет|пише|yazdı|írta|a scris|έγραψε|đã viết|menulis` +
		`|כתב|كتب|写道|寫道|書きました|のメール|作成)`)
	dated = regexp.MustCompile(`(?:\d{4}|\d{1,2}[./-]\s?\d{1,2}).{0,80}\d{1,2}(?:[:.]| ?h ?)\d{2}`)
	// Gmail, Apple Mail, Thunderbird and Outlook in Korean:
	// "2026년 1월 5일 (월) 오후 3:04, 홍길동 <…>님이 작성:", "2026. 1. 5. 오후 3:04, 홍길동 <…> 작성:",
	// "2026-01-05 15:04에 홍길동 이(가) 쓴 글:"
	wroteKo = regexp.MustCompile(`^(?:On )?(?:\(?[월화수목금토일]\)?,? )?(?:20)?\d{2}(?:년|[-./])\s?\d{1,2}.{3,400}` +
		`(?:작성|쓴 글|씀|쓰길|쓰시길|썼습니다|쓰셨습니다|보냄|보낸 글|보낸 메일)\s*[:：]$`)
	address = regexp.MustCompile(`<\S+@\S+>`)
	clock   = regexp.MustCompile(`\d{1,2}[:.]\d{2}`)

	// "-----Original Message-----" and its like in any language.
	message = regexp.MustCompile(`(?i)^[-_=*]{2,}\s*\[?\s*(?:original (?:message|mail|email)|forwarded message` +
		`|reply message|원본\s?(?:메시지|메일|이메일)|원래\s?(?:메시지|메일)|전달된?\s?(?:메시지|메일)|받은\s?메일|보낸\s?메일)\s*\]?\s*[-_=*]{2,}$`)
	anyMessage = regexp.MustCompile(`(?i)^[-_=*]{4,}\s*[^-_=*]{0,40}(?:message|mail|nachricht|mensaje|mensagem` +
		`|messaggio|bericht|melding|meddelande|besked|viesti|wiadomość|сообщени|письмо|повідомлення|zpráv` +
		`|üzenet|ileti` +
		`|μήνυμα|メッセージ|メール|邮件|郵件|消息|메시지|메일)[^-_=*]{0,40}\s*[-_=*]{4,}$`)
	// A face that begins like a quotation.
	face = regexp.MustCompile(`^>[^\s>]{1,4}<`)
)

// Quoted says whether a line is marked as one of a quotation.
func Quoted(line string) bool {
	line = strings.TrimLeft(line, " \t")
	return strings.HasPrefix(line, ">") && !face.MatchString(line)
}

// Unquoted returns how deep a line is quoted, and the line without the marks.
func Unquoted(line string) (depth int, rest string) {
	for {
		line = strings.TrimLeft(line, " \t")
		after, ok := strings.CutPrefix(line, ">")
		if !ok {
			return depth, line
		}
		depth++
		line = after
	}
}

// Message says whether a line announces an earlier mail, as
// "-----Original Message-----" does.
func Message(line string) bool {
	line = strings.TrimSpace(line)
	return len(line) < 200 && (message.MatchString(line) || anyMessage.MatchString(line))
}

// Divider says whether a line is a rule.
func Divider(line string) bool { return divider.MatchString(strings.TrimSpace(line)) }

// Attribution returns how many lines the one before a quotation takes
// ("On … wrote:"), 0 if there is none: mail programs break it like any other.
func Attribution(lines []string) int {
	all := ""
	for n := 0; n < maxAttribution && n < len(lines); n++ {
		line := strings.TrimSpace(lines[n])
		if line == "" || Quoted(line) || len(all)+len(line) > maxLength {
			return 0
		}
		if n > 0 {
			all += " "
		}
		all += line
		if Attributes(all) {
			return n + 1
		}
	}
	return 0
}

// Attributes says whether a text is the line before a quotation, whole.
func Attributes(text string) bool {
	if !strings.HasSuffix(text, ":") && !strings.HasSuffix(text, "：") || len(text) > maxLength {
		return false
	}
	return wrote.MatchString(text) || wroteKo.MatchString(text) ||
		verb.MatchString(text) && dated.MatchString(text) || address.MatchString(text) && clock.MatchString(text)
}

// Sender says whether a line is the field of an earlier mail that says who
// sent it, with which header blocks begin.
func Sender(line string) bool { return kinds["from"].MatchString(line) }

// Fields says whether lines begin with the header of an earlier mail, maybe
// after a dividing line.
func Fields(lines []string) bool {
	divided := len(lines) > 0 && Divider(lines[0])
	if divided {
		lines = SkipBlank(lines[1:])
	}
	if len(lines) == 0 || !Sender(lines[0]) && !(divided && named.MatchString(lines[0])) {
		return false
	}
	var seen []string
	looked, shaped, at, when := 0, 0, false, false
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if looked++; looked > MaxFields {
			break
		}
		for kind, words := range kinds {
			if !slices.Contains(seen, kind) && words.MatchString(l) {
				seen = append(seen, kind)
			}
		}
		if shaped == looked-1 && named.MatchString(l) {
			shaped++
			at, when = at || strings.Contains(l, "@"), when || clock.MatchString(l)
		}
	}
	// In a language that is not known, the rule above and what is in the fields tell.
	return Sender(lines[0]) && len(seen) >= 3 || divided && shaped >= 3 && at && when
}

// SkipBlank returns lines from the first that is not empty.
func SkipBlank(lines []string) []string {
	for len(lines) > 0 && strings.TrimSpace(lines[0]) == "" {
		lines = lines[1:]
	}
	return lines
}
