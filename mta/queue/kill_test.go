// SPDX-License-Identifier: GPL-3.0-or-later

package queue

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// killEnv makes this test's program the process that is killed: a queue that takes mail and
// delivers it into a file.
const killEnv = "CHMAIL_QUEUE_KILLED"

// fileLane is a far server that writes into a file what it takes, before it answers.
type fileLane struct{ file *os.File }

func (fileLane) Close() {}

func (l fileLane) Send(_ context.Context, m *Mail, to []Recipient, _ *os.File) (answers []Answer) {
	for _, r := range to {
		if strings.HasPrefix(r.To, "no") {
			answers = append(answers, never)
			continue
		}
		fmt.Fprintln(l.file, "mail", m.ID, r.To)
		answers = append(answers, Answer{Code: 250})
	}
	time.Sleep(time.Millisecond)
	return answers
}

func killed(dir string) {
	file, err := os.OpenFile(filepath.Join(dir, "far"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	q, err := Open(Options{Folder: filepath.Join(dir, "queue"), Host: "mx", Domain: "mall.example", Rate: 60000,
		Lane: func(string) Lane { return fileLane{file} },
		Notify: func(_ context.Context, n Notice) error {
			fmt.Fprintln(file, "report", n.ID, n.To)
			return nil
		}})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), i)
		m := Mail{ID: id, From: "kim@mall.example", Recipients: []Recipient{{To: "lee@a.example"},
			{To: "ann@b.example"}, {To: "no@c.example"}}}
		a, err := q.Add(m, strings.NewReader(content), false)
		if err == nil {
			err = a.Commit()
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(id) // acknowledged
	}
}

// TestKilled: a process that is killed loses no mail that it acknowledged. A mail whose
// answer was on its way may arrive twice, which SMTP cannot prevent (RFC 1047): at most one
// a lane and kill. A report, whose ID stays the same, is one.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		killed(dir)
	}
	dir := t.TempDir()
	var acknowledged []string
	const kills = 4
	for i := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 15+7*i && lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			acknowledged = append(acknowledged, lines.Text())
		}
		_ = cmd.Wait()
	}
	file, err := os.OpenFile(filepath.Join(dir, "far"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	q := open(t, Options{Folder: filepath.Join(dir, "queue"), Rate: 60000, Host: "mx", Domain: "mall.example",
		Lane: func(string) Lane { return fileLane{file} },
		Notify: func(_ context.Context, n Notice) error {
			_, err := fmt.Fprintln(file, "report", n.ID, n.To)
			return err
		}})
	for deadline := time.Now().Add(time.Minute); len(q.List("")) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d mails wait still", len(q.List("")))
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "far"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	reports := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		seen[strings.TrimSpace(line)]++
		if strings.HasPrefix(line, "report") {
			reports[line] = true
		}
	}
	doubled := 0
	for _, id := range acknowledged {
		for _, to := range []string{"lee@a.example", "ann@b.example"} {
			n := seen["mail "+id+" "+to]
			if n == 0 {
				t.Errorf("%s to %s is lost", id, to)
			}
			doubled += max(0, n-1)
		}
	}
	if most := kills * 2 * DefaultConcurrency; doubled > most {
		t.Errorf("%d mails arrived twice, more than the %d that were on their way", doubled, most)
	}
	mails := map[string]bool{}
	for line := range maps.Keys(seen) {
		if f := strings.Fields(line); f[0] == "mail" {
			mails[f[1]] = true
		}
	}
	if len(reports) != len(mails) {
		t.Errorf("%d different reports about %d mails", len(reports), len(mails))
	}
	t.Logf("%d acknowledged, %d mails doubled, %d reports", len(acknowledged), doubled, len(reports))
	if slices.Contains(acknowledged, "") || len(acknowledged) < 15*kills {
		t.Errorf("only %d mails were acknowledged", len(acknowledged))
	}
}
