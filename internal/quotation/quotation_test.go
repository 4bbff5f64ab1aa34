// SPDX-License-Identifier: GPL-3.0-or-later

package quotation

import (
	"strings"
	"testing"
)

// TestFields: the header blocks of mail programs in many languages.
func TestFields(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]string{
		"Outlook en": "From: Jo <jo@x.example>\nSent: Thursday, 26 November 2026 08:06\nTo: Kim\nSubject: Order",
		"Outlook de": "Von: Jo <jo@x.example>\nGesendet: Donnerstag, 26. November 2026 08:06\nAn: Kim\nBetreff: Order",
		"Outlook fr": "De : Jo <jo@x.example>\nEnvoyé : jeudi 26 novembre 2026 08:06\nÀ : Kim\nObjet : Order",
		"Outlook es": "De: Jo <jo@x.example>\nEnviado el: jueves, 26 de noviembre de 2026 8:06\n" +
			"Para: Kim\nAsunto: Order",
		"Outlook pt": "De: Jo <jo@x.example>\nEnviada em: quinta-feira, 26 de novembro de 2026 08:06\n" +
			"Para: Kim\nAssunto: O",
		"Outlook it": "Da: Jo <jo@x.example>\nInviato: giovedì 26 novembre 2026 08:06\nA: Kim\nOggetto: Order",
		"Outlook nl": "Van: Jo <jo@x.example>\nVerzonden: donderdag 26 november 2026 08:06\nAan: Kim\nOnderwerp: Order",
		"Outlook pl": "Od: Jo <jo@x.example>\nWysłano: czwartek, 26 listopada 2026 08:06\nDo: Kim\nTemat: Order",
		"Outlook ru": "От: Jo <jo@x.example>\nОтправлено: 26 ноября 2026 г. 8:06\nКому: Kim\nТема: Order",
		"Outlook ja": "差出人: Jo <jo@x.example>\n送信日時: 2026年11月26日 8:06\n宛先: Kim\n件名: Order",
		"Outlook zh": "发件人: Jo <jo@x.example>\n发送时间: 2026年11月26日 8:06\n收件人: Kim\n主题: Order",
		"Outlook tw": "寄件者: Jo <jo@x.example>\n寄件日期: 2026年11月26日 上午 08:06\n收件者: Kim\n主旨: Order",
		"Outlook ko": "보낸 사람: Jo <jo@x.example>\n보낸 날짜: 2026년 11월 26일 목요일 오전 8:06\n받는 사람: Kim\n제목: Order",
		"Outlook sv": "Från: Jo <jo@x.example>\nSkickat: den 26 november 2026 08:06\nTill: Kim\nÄmne: Order",
		"bold":       "*From:* Jo <jo@x.example>\n*Sent:* today\n*To:* Kim\n*Subject:* Order",
		"wide colon": "发件人： Jo <jo@x.example>\n日期： 2026年11月26日\n收件人： Kim\n主题： Order",
		"a rule above one that is not known": "________________________________\nНаправил: Jo <jo@x.example>\n" +
			"Кад: 26.11.2026 08:06\nКоме: Kim",
	} {
		if !Fields(append(strings.Split(block, "\n"), "", "text")) {
			t.Errorf("%s is none", name)
		}
	}
	for name, text := range map[string]string{
		"two places":    "From: Busan\nTo: Seoul",
		"a later From":  "Is 12:30 ok? From: Busan\nTo: Seoul\nDate: tomorrow\nSubject: none",
		"an address":    "Name: Kim\nE-mail: kim@x.example\nTime: 10:30",
		"words":         "De Gaulle: a general\nA: yes\nDatum und Ort",
		"a rule":        "-----\nPrice: 10\nDelivery: free\nTotal: 10",
		"no more words": "From here on:\nall is new",
	} {
		if Fields(strings.Split(text, "\n")) {
			t.Errorf("%s: a header block", name)
		}
	}
}

// TestAttribution: the lines before quotations in many languages.
func TestAttribution(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"On Thu, Nov 26, 2026 at 8:06 AM Shop <s@x.example> wrote:",
		"On 11/26/26 08:06, Shop wrote:",
		"Am Do., 26. Nov. 2026 um 08:06 Uhr schrieb Shop <s@x.example>:",
		"Am 26.11.2026 um 08:06 schrieb Shop:",
		"Le jeu. 26 nov. 2026 à 08:06, Shop <s@x.example> a écrit :",
		"Le 26/11/2026 à 08 h 06, Shop a écrit :",
		"El jue, 26 nov 2026 a las 8:06, Shop (<s@x.example>) escribió:",
		"Il giorno gio 26 nov 2026 alle ore 08:06 Shop <s@x.example> ha scritto:",
		"Em qui., 26 de nov. de 2026 às 08:06, Shop <s@x.example> escreveu:",
		"Op do 26 nov 2026 om 08:06 schreef Shop <s@x.example>:",
		"czw., 26 lis 2026 o 08:06 Shop <s@x.example> napisał(a):",
		"чт, 26 нояб. 2026 г. в 08:06, Shop <s@x.example>:",
		"26.11.2026 08:06, Shop пишет:",
		"2026年11月26日(木) 8:06 Shop <s@x.example>:",
		"Shop <s@x.example> 于2026年11月26日周四 08:06写道：",
		"Shop <s@x.example> 於 2026年11月26日 週四 上午8:06寫道：",
		"2026년 11월 26일 (목) 오전 8:06, Shop <s@x.example>님이 작성:",
		"2026-11-26 오전 8:06에 Shop 이(가) 쓴 글:",
	} {
		if Attribution([]string{line}) != 1 {
			t.Errorf("%q is none", line)
		}
		if at := strings.LastIndexByte(line[:len(line)/2], ' '); at > 0 &&
			Attribution([]string{line[:at], line[at+1:], "> text"}) != 2 {
			t.Errorf("%q is none in two lines", line)
		}
	}
	for _, line := range []string{"We meet at 10:30:", "As she wrote:", "Kim <kim@x.example> wants:", "Le menu:", ""} {
		if Attribution([]string{line, "more"}) != 0 {
			t.Errorf("%q is an attribution", line)
		}
	}
}

// TestMessage: what announces an earlier mail.
func TestMessage(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"-----Original Message-----": true, "---------- Forwarded message ---------": true,
		"-----Ursprüngliche Nachricht-----": true, "----- Message d'origine -----": true,
		"-----Messaggio originale-----": true, "-----原始邮件-----": true, "----- 元のメッセージ -----": true,
		"---------- 원본 메일 ----------": true, "-------- Пересылаемое сообщение --------": true,
		"-- mail me --": false, "---------": false, "Original Message": false, "---- prices ----": false,
	} {
		if Message(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}
