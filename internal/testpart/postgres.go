// SPDX-License-Identifier: GPL-3.0-or-later

package testpart

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
)

// cluster is the one PostgreSQL server of a test program.
var cluster struct {
	start sync.Once
	err   error
	dir   string
	port  int
	cmd   *exec.Cmd
	count atomic.Int64 // databases made
}

// Postgres returns the address of a new, empty database. The first call of a
// test program starts the server; its TestMain ends it with EndPostgres.
func Postgres(t testing.TB) string {
	t.Helper()
	initdb, server := Need(t, "initdb"), Need(t, "postgres")
	cluster.start.Do(func() {
		cluster.port = FreePort(t)
		cluster.err = startCluster(initdb, server)
	})
	if cluster.err != nil {
		t.Fatalf("starting PostgreSQL: %v", cluster.err)
	}
	admin, err := sql.Open("pgx", clusterDSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	name := fmt.Sprintf("test%d", cluster.count.Add(1))
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	return clusterDSN(name)
}

// EndPostgres ends the server of Postgres, if it was started.
func EndPostgres() {
	if cluster.cmd != nil {
		cluster.cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		cluster.cmd.Wait()
	}
	if cluster.dir != "" {
		os.RemoveAll(cluster.dir)
	}
}

func clusterDSN(database string) string {
	return fmt.Sprintf("postgres://chmail@127.0.0.1:%d/%s?sslmode=disable", cluster.port, database)
}

func startCluster(initdb, server string) (err error) {
	if cluster.dir, err = os.MkdirTemp("", "chmail-postgres-"); err != nil {
		return err
	}
	if err := os.Chmod(cluster.dir, 0o777); err != nil { // the server's user makes its folders here
		return err
	}
	attr, err := serverUser()
	if err != nil {
		return err
	}
	data := filepath.Join(cluster.dir, "data")
	setup := exec.Command(initdb, "-D", data, "-U", "chmail", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
	setup.Dir, setup.SysProcAttr = cluster.dir, attr
	if out, err := setup.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	cluster.cmd = exec.Command(server, "-D", data, "-k", cluster.dir,
		"-h", "127.0.0.1", "-p", strconv.Itoa(cluster.port), "-c", "fsync=off", "-c", "max_connections=200")
	cluster.cmd.Dir, cluster.cmd.SysProcAttr = cluster.dir, attr
	if err := cluster.cmd.Start(); err != nil {
		cluster.cmd = nil
		return err
	}
	db, err := sql.Open("pgx", clusterDSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = db.Ping(); err == nil {
			return nil
		}
	}
	return err
}

// serverUser is how the server runs: PostgreSQL refuses to run as root.
func serverUser() (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}
