// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/chmail/chmail/admin"
	"github.com/chmail/chmail/internal/testpart"
)

// TestMain builds chmaild for the scripts, without the race detector, which makes its start
// four times as slow: commands have one goroutine, and the packages below have tests of their own.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "chmaild-")
	if err != nil {
		panic(err)
	}
	out, err := exec.Command("go", "build", "-o", dir, ".").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building chmaild: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// TestScripts runs the commands where no server runs. A script has the
// configuration c.conf, written by its setup, POP3 is the endpoint that listens last.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: scriptCommands,
		Setup: func(e *testscript.Env) error {
			smtp, pop3 := strconv.Itoa(testpart.FreePort(t)), strconv.Itoa(testpart.FreePort(t))
			e.Setenv("POP3", "127.0.0.1:"+pop3) // it listens last
			conf := filepath.Join(e.WorkDir, "c.conf")
			e.Setenv("CHMAIL_CONFIG", conf)
			text := fmt.Appendf(nil, scriptConfig, e.WorkDir, smtp, pop3)
			return errors.Join(os.WriteFile(conf, text, 0o644), letIn(e.WorkDir))
		},
		Condition: func(name string) (bool, error) { return name == "root" && os.Geteuid() == 0, nil },
	})
}

// letIn lets other users run chmaild and go into a script's folder.
func letIn(work string) error {
	program, err := exec.LookPath("chmaild")
	for _, dir := range []string{filepath.Dir(program), work} {
		for ; err == nil && dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			err = os.Chmod(dir, 0o755)
		}
	}
	return err
}

// scriptConfig is a small server's configuration.
const scriptConfig = `state_dir %[1]s/state
runtime_dir %[1]s/run
hostname mail.mall.example
tls off
auth.accounts accounts {
    table sql_table {
        driver sqlite3
        dsn credentials.db
        table_name passwords
    }
    app_passwords sql_table {
        driver sqlite3
        dsn credentials.db
        table_name app_passwords
    }
}
storage.maildrop mailboxes {
    min_free 32M
}
presence.local presence {
    ports 30000-30099
}
chat.rooms rooms {
    local_domains mall.example
}
chat.relay relay {
    presence &presence
    rooms &rooms
    web http://localhost:8080
    bind 127.0.0.1
    deliver_to &mailboxes
}
target.chmail_reply replies {
    relay &relay
}
target.chmail_queue remote_queue {
    domain mall.example
    bounce &mailboxes
}
chmail.smtp tcp://127.0.0.1:%[2]s {
    dmarc no
    destination far.example {
        modify {
            chmail_dkim {
                domains mall.example
            }
        }
        deliver_to &remote_queue
    }
    destination reply@mall.example {
        deliver_to &replies
    }
    destination mall.example {
        deliver_to &mailboxes
    }
    default_destination {
        reject 550 5.1.1 "No such address here"
    }
}
pop3 tcp://127.0.0.1:%[3]s {
    insecure_auth yes
    auth &accounts
    storage &mailboxes
}
`

// TestServed runs the commands beside one demo server, which all scripts share.
func TestServed(t *testing.T) {
	testpart.Slow(t)
	t.Parallel()
	state := t.TempDir()
	var info struct{ SMTP, Web string }
	server := exec.Command("chmaild", "demo", "--json", "--base-port", "0", "--state", state)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		if err := server.Wait(); err != nil {
			t.Errorf("the demo ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &info)
	}
	if err != nil {
		t.Fatalf("the demo printed %q: %v", line, err)
	}
	// The scripts run at the same time; the server is there until all have ended.
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/server", RequireExplicitExec: true, RequireUniqueNames: true, Cmds: scriptCommands,
			Setup: func(e *testscript.Env) error {
				e.Setenv("STATE", state)
				e.Setenv("SMTP", info.SMTP)
				e.Setenv("CHMAIL_CONFIG", filepath.Join(state, "maddy.conf"))
				return nil
			},
		})
	})
}

// scriptCommands are what scripts can do besides testscript's own commands.
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	// listening ADDRESS waits until something listens there.
	"listening": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: listening ADDRESS")
		}
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if c, err := net.Dial("tcp", args[0]); err == nil {
				ts.Check(c.Close())
				return
			} else if time.Now().After(end) {
				ts.Fatalf("nothing listens at %s: %v", args[0], err)
			}
		}
	},
	// claimed DIR waits until a command has that state directory.
	"claimed": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: claimed DIR")
		}
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			claim, err := admin.Claim(context.Background(), ts.MkAbs(args[0]), 0)
			if errors.Is(err, admin.ErrClaimed) {
				return
			} else if err == nil {
				claim.Close()
			}
		}
		ts.Fatalf("nobody has %s", args[0])
	},
	// private PATH… is about files and folders that only their owner can read.
	"private": func(ts *testscript.TestScript, neg bool, args []string) {
		for _, arg := range args {
			ts.Check(filepath.WalkDir(ts.MkAbs(arg), func(path string, e os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				if open := info.Mode().Perm()&0o077 != 0; open != neg {
					ts.Fatalf("%s has the mode %v", path, info.Mode())
				}
				return nil
			}))
		}
	},
}
