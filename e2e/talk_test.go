// SPDX-License-Identifier: GPL-3.0-or-later

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chmail/chmail/chatrelay"
	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/testpart"
)

// visitor is a program that stands in for a browser with a chat page.
type visitor struct {
	t    *testing.T
	s    *server
	http *http.Client
	link string
	conn *websocket.Conn
}

func (s *server) visit(t *testing.T, link string) *visitor {
	t.Helper()
	v, e := s.claim(t, link)
	url := socketOf(e.Endpoints)
	var err error
	if v.conn, _, err = websocket.Dial(t.Context(), url, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.conn.CloseNow() })
	v.send(frame.Frame{T: frame.THello, Ticket: e.Ticket})
	return v
}

// claim presses the button of a link's page, and opens no carrier yet.
func (s *server) claim(t *testing.T, link string) (v *visitor, e chatrelay.Entry) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v = &visitor{t: t, s: s, http: &http.Client{Jar: jar, Timeout: 20 * time.Second}, link: link}
	res, err := v.http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	nonce := regexp.MustCompile(`"nonce":"([^"]+)"`).FindStringSubmatch(readAll(t, res))
	if nonce == nil {
		t.Fatal("the chat page has no nonce")
	}
	v.post("/chat", "application/json", fmt.Sprintf(`{"nonce":%q}`, nonce[1]), 200, &e)
	return v, e
}

func (v *visitor) post(path, kind, body string, status int, into any) {
	v.t.Helper()
	res, err := v.http.Post(v.link+path, kind, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	answer := readAll(v.t, res)
	if res.StatusCode != status {
		v.t.Fatalf("POST %s: %d %s", path, res.StatusCode, answer)
	}
	if err := json.Unmarshal([]byte(answer), into); err != nil {
		v.t.Fatalf("POST %s: %s: %v", path, answer, err)
	}
}

func (v *visitor) send(f frame.Frame) {
	v.t.Helper()
	if err := v.conn.Write(v.t.Context(), websocket.MessageText, frame.Encode(&f)); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) until(what string, fits func(*frame.Frame) bool) *frame.Frame {
	v.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		_, b, err := v.conn.Read(v.t.Context())
		if err != nil {
			v.t.Fatalf("waiting for %s: %v", what, err)
		}
		if f, err := frame.Decode(b); err != nil {
			v.t.Fatal(err)
		} else if fits(f) {
			return f
		}
	}
	v.t.Fatalf("waited in vain for %s", what)
	return nil
}

// A transcript goes to who wants it, its answer comes back into the room by
// submission, and a person's data can be had and erased.
func TestTranscriptAndReply(t *testing.T) {
	t.Parallel()
	s := startServer(t, filepath.Join(t.TempDir(), "state"))
	host, _ := s.password("host")
	customer, _ := s.password("customer")
	s.send(t, "host", "From: Host <"+host+">\nTo: <"+customer+">\nSubject: Your parcel\n"+
		"Message-ID: <parcel@mall.example>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\nIt is on its way.\n", customer)
	link := strings.Trim(headers(s.mailWith(t, "customer", "Subject: Your parcel"), "CHmail-Chat")[0], "<> ")

	v := s.visit(t, link)
	v.until("welcome", func(f *frame.Frame) bool { return f.T == frame.TWelcome && f.MaxFile > 0 })
	v.send(frame.Frame{T: frame.TTranscript, On: true, Lang: "en", Zone: "Asia/Seoul"})
	v.until("the wish", func(f *frame.Frame) bool { return f.T == frame.TTranscript && f.On })
	v.send(frame.Frame{T: frame.TSay, ID: "1", Text: "Where is it?"})
	v.until("the ack", func(f *frame.Frame) bool { return f.T == frame.TAck && f.ID == "1" })
	var sent struct {
		Msg struct{ File struct{ ID string } }
	}
	v.post("/files?id=2&name=address.txt", "text/plain", "1 Mall Street", 201, &sent)
	v.send(frame.Frame{T: frame.TLeave})

	transcript := s.mailWith(t, "customer", "Subject: Transcript: Your parcel")
	if text := decode(body(transcript)); !strings.Contains(text, "Where is it?") ||
		!strings.Contains(text, "address.txt") {
		t.Errorf("the transcript says %s", text)
	}
	to := strings.Trim(headers(transcript, "Reply-To")[0], "<> ")
	s.send(t, "customer", "From: <"+customer+">\nTo: <"+to+">\nSubject: Re: Transcript\n"+
		"Message-ID: <answer@far.example>\nDate: Mon, 23 Nov 2026 10:00:00 +0000\n\n"+
		"I am at home.\n\nOn Mon, 23 Nov 2026 at 10:00, CHmail <postmaster@mall.example> wrote:\n"+
		"> ##- CHmail: write your answer above this line -##\n> Where is it?\n", to)
	v = s.visit(t, link[:strings.Index(link, "/c/")]+
		regexp.MustCompile(`/c/[\w-]{22}`).FindString(decode(body(transcript))))
	m := v.until("the answer", func(f *frame.Frame) bool { return f.T == frame.TMsg && f.Msg.Via == "mail" }).Msg
	if m.Text != "I am at home." {
		t.Errorf("the answer is %q", m.Text)
	}
	if res, err := v.http.Get(v.link + "/files/" + sent.Msg.File.ID); err != nil || readAll(t, res) != "1 Mall Street" {
		t.Errorf("the file: %v", err)
	}
	bad := strings.Replace(to, "reply+", "reply+a", 1)
	if out := s.refused(t, "customer", bad); !strings.Contains(out, "550") {
		t.Errorf("a damaged address: %s", out)
	}

	dir := filepath.Join(t.TempDir(), "export")
	var sum struct{ Rooms, Messages, Files, Missing int }
	if err := json.Unmarshal(s.admin(t, "export", customer, "--json", dir), &sum); err != nil || sum.Rooms != 2 ||
		sum.Messages != 3 || sum.Files != 1 || sum.Missing != 0 {
		t.Errorf("export %+v, %v", sum, err)
	}
	person, err := os.ReadFile(filepath.Join(dir, "person.json"))
	if err != nil || !strings.Contains(string(person), customer) {
		t.Errorf("person.json: %s, %v", person, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "files", "*address.txt"))
	if len(files) != 1 {
		t.Errorf("files %v", files)
	}
	rooms, _ := filepath.Glob(filepath.Join(dir, "rooms", "*.json"))
	all := ""
	for _, path := range rooms { // the sample mail's is one of them
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all += string(b)
	}
	if len(rooms) != 2 || !strings.Contains(all, "I am at home.") {
		t.Errorf("rooms %v: %s", rooms, all)
	}
	// What was said just now is erased too.
	v.send(frame.Frame{T: frame.TSay, ID: "3", Text: "One more thing."})
	v.until("the ack", func(f *frame.Frame) bool { return f.T == frame.TAck && f.ID == "3" })
	if out := s.admin(t, "erase", "--yes", customer); !strings.Contains(string(out),
		"2 conversations: 4 messages, 1 files") {
		t.Errorf("erase: %s", out)
	}
	again := filepath.Join(t.TempDir(), "again")
	if err := json.Unmarshal(s.admin(t, "export", "--json", customer, again), &sum); err != nil || sum.Rooms != 0 {
		t.Errorf("after it %+v, %v", sum, err)
	}
}

// refused is what the server says to a mail that it does not take.
func (s *server) refused(t *testing.T, role, to string) string {
	t.Helper()
	login, password := s.password(role)
	_, port, _ := net.SplitHostPort(s.Submission)
	cmd := exec.Command(testpart.Need(t, "curl"), "-sSv", "--ssl-reqd", "--cacert",
		s.CA, "--url", "smtp://localhost:"+port,
		"--resolve", "localhost:"+port+":127.0.0.1", "--user", login+":"+password, "--mail-from",
		login, "--mail-rcpt", to, "-T", "-")
	cmd.Stdin = strings.NewReader("From: <" + login + ">\r\n\r\nx\r\n")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("mail to %s was taken", to)
	}
	return string(out)
}

// socketOf is the WebSocket among the ways to a relay.
func socketOf(list []frame.Endpoint) string {
	for _, e := range list {
		if e.Carrier == "websocket" {
			return e.URL
		}
	}
	return ""
}
