// SPDX-License-Identifier: GPL-3.0-or-later

package testpart

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Server is a redis-server of a test's own, which keeps nothing on the disk.
type Server struct {
	Port int
	dir  string
	cmd  *exec.Cmd
}

// Redis starts a redis-server that ends with the test.
func Redis(t testing.TB) *Server {
	t.Helper()
	s := &Server{Port: FreePort(t), dir: t.TempDir()}
	s.Start(t)
	t.Cleanup(s.Kill)
	return s
}

// URL is where the server is, also while it does not run.
func (s *Server) URL() string { return "redis://127.0.0.1:" + strconv.Itoa(s.Port) }

// Start starts the server, after a Kill again at the same port, and waits until
// it listens.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(Need(t, "redis-server"), "--port", strconv.Itoa(s.Port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(s.Port)); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("redis-server did not start")
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}
