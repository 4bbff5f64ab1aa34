// SPDX-License-Identifier: GPL-3.0-or-later

//go:build linux

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/chmail/chmail/internal/testpart"
)

// enter restricts this process as the jail in the file says and becomes its
// program. It returns only when that fails.
func enter(path string) error {
	var j jail
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	runtime.LockOSThread() // the filter is this thread's, and so is the program
	if err := j.mount(); err != nil {
		return err
	}
	umask, err := strconv.ParseUint(j.Umask, 8, 32)
	if err != nil {
		return fmt.Errorf("UMask: %w", err)
	}
	unix.Umask(int(umask))
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding new privileges: %w", err)
	}
	filter := &unix.SockFprog{Len: uint16(len(j.Filter)), Filter: &j.Filter[0]}
	err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(filter)), 0, 0)
	if err != nil {
		return fmt.Errorf("filtering system calls: %w", err)
	}
	return syscall.Exec(j.Args[0], j.Args, os.Environ())
}

// mount makes everything read-only but the program's own folders and /tmp, as
// ProtectSystem=strict, ProtectHome, PrivateTmp and ProtectKernelTunables do.
func (j *jail) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the system's mounts: %w", err)
	}
	// What is bound may lie in a folder that is hidden, so it is staged first.
	const staged = "/mnt"
	if err := unix.Mount("tmpfs", staged, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mounting %s: %w", staged, err)
	}
	seen := slices.Sorted(maps.Keys(j.Binds))
	for i, path := range seen {
		if err := bind(j.Binds[path], filepath.Join(staged, strconv.Itoa(i))); err != nil {
			return err
		}
	}
	for _, path := range j.Hidden {
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("hiding %s: %w", path, err)
		}
	}
	for i, path := range seen {
		if err := bind(filepath.Join(staged, strconv.Itoa(i)), path); err != nil {
			return err
		}
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if err := unix.MountSetattr(-1, "/", unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("making / read-only: %w", err)
	}
	for _, path := range append(seen, "/tmp", "/var/tmp") {
		if err := unix.MountSetattr(-1, path, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("making %s writable: %w", path, err)
		}
	}
	return nil
}

// bind shows a file or folder at another path, which it makes.
func bind(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(to, 0o700)
	} else {
		err = os.WriteFile(to, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("showing %s at %s: %w", from, to, err)
	}
	return nil
}

// refusal is a system call that is denied when an argument has all of the bits.
type refusal struct {
	call string
	arg  uint32
	bits uint32
}

// refusals are what systemd makes of a directive with `yes`.
var refusals = map[string][]refusal{
	"MemoryDenyWriteExecute": {
		{"mmap", 2, unix.PROT_WRITE | unix.PROT_EXEC}, {"mprotect", 2, unix.PROT_EXEC},
		{"pkey_mprotect", 2, unix.PROT_EXEC}, {"shmat", 2, 0o100000}, // SHM_EXEC
	},
	"RestrictNamespaces": {
		{"unshare", 0, 0}, {"setns", 0, 0},
		{"clone", 0, unix.CLONE_NEWUSER}, {"clone", 0, unix.CLONE_NEWNS}, {"clone", 0, unix.CLONE_NEWPID},
		{"clone", 0, unix.CLONE_NEWNET}, {"clone", 0, unix.CLONE_NEWIPC}, {"clone", 0, unix.CLONE_NEWUTS},
	},
	"RestrictSUIDSGID": {
		{"chmod", 1, unix.S_ISUID}, {"fchmod", 1, unix.S_ISUID}, {"fchmodat", 2, unix.S_ISUID},
		{"chmod", 1, unix.S_ISGID}, {"fchmod", 1, unix.S_ISGID}, {"fchmodat", 2, unix.S_ISGID},
		{"mkdirat", 2, unix.S_ISGID}, {"mkdir", 1, unix.S_ISGID},
	},
	"LockPersonality": {{"personality", 0, 0}},
}

// filterOf is the program by which the kernel decides on every system call.
// What the unit denies kills the process.
func filterOf(t *testing.T, u unit) []unix.SockFilter {
	t.Helper()
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and    = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	numbers := callNumbers(t)
	allowed := allowedCalls(t, u)
	// The fields of the kernel's struct seccomp_data.
	number := unix.SockFilter{Code: load, K: 0}
	argument := func(n uint32) unix.SockFilter { return unix.SockFilter{Code: load, K: 16 + 8*n} }
	allow := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW}
	kill := unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_KILL_PROCESS}

	f := []unix.SockFilter{number}
	for directive, list := range refusals {
		if u.last(directive) != "yes" {
			continue
		}
		for _, r := range list {
			if nr, ok := numbers[r.call]; ok {
				f = append(f, unix.SockFilter{Code: equal, K: nr, Jf: 5},
					argument(r.arg), unix.SockFilter{Code: and, K: r.bits},
					unix.SockFilter{Code: equal, K: r.bits, Jf: 1}, kill, number)
			}
		}
	}
	if u.last("RestrictNamespaces") == "yes" {
		// A filter cannot see clone3's flags: systemd says that there is none.
		delete(allowed, "clone3")
		f = append(f, unix.SockFilter{Code: equal, K: numbers["clone3"], Jf: 1},
			unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	if names := strings.Fields(u.last("RestrictAddressFamilies")); len(names) > 0 {
		delete(allowed, "socket")
		f = append(f, unix.SockFilter{Code: equal, K: numbers["socket"], Jf: uint8(2*len(names) + 2)}, argument(0))
		for _, name := range names {
			family, ok := map[string]uint32{"AF_INET": unix.AF_INET, "AF_INET6": unix.AF_INET6, "AF_UNIX": unix.AF_UNIX,
				"AF_NETLINK": unix.AF_NETLINK}[name]
			if !ok {
				t.Fatalf("this test does not know the address family %s", name)
			}
			f = append(f, unix.SockFilter{Code: equal, K: family, Jf: 1}, allow)
		}
		f = append(f, kill)
	}
	for name := range allowed {
		if nr, ok := numbers[name]; ok {
			f = append(f, unix.SockFilter{Code: equal, K: nr, Jf: 1}, allow)
		}
	}
	return append(f, kill)
}

// allowedCalls resolves SystemCallFilter: a list of what is allowed, then lists
// with ~ of what is not.
func allowedCalls(t *testing.T, u unit) map[string]bool {
	t.Helper()
	out, err := exec.Command(testpart.Need(t, "systemd-analyze"), "syscall-filter").Output()
	if err != nil {
		t.Fatalf("systemd-analyze: %v", err)
	}
	groups, group := map[string][]string{}, ""
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "@"):
			group = name
		case strings.HasPrefix(line, " ") && !strings.HasPrefix(name, "#"):
			groups[group] = append(groups[group], name)
		}
	}
	allowed := map[string]bool{}
	var set func(name string, to bool)
	set = func(name string, to bool) {
		if !strings.HasPrefix(name, "@") {
			allowed[name] = to
			return
		}
		if len(groups[name]) == 0 {
			t.Fatalf("systemd-analyze knows no group %s", name)
		}
		for _, member := range groups[name] {
			set(member, to)
		}
	}
	for _, list := range u["SystemCallFilter"] {
		names, denied := strings.CutPrefix(list, "~")
		for _, name := range strings.Fields(names) {
			set(name, !denied)
		}
	}
	maps.DeleteFunc(allowed, func(_ string, yes bool) bool { return !yes })
	if len(allowed) < 100 {
		t.Fatalf("the unit allows only %d system calls", len(allowed))
	}
	return allowed
}

// callNumbers reads the machine's system calls from the C compiler's headers.
func callNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	cmd := exec.Command(testpart.Need(t, "gcc"), "-E", "-dM", "-")
	cmd.Stdin = strings.NewReader("#include <sys/syscall.h>\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gcc: %v", err)
	}
	numbers := map[string]uint32{}
	for _, m := range regexp.MustCompile(`#define __NR_(\w+) (\d+)`).FindAllStringSubmatch(string(out), -1) {
		nr, err := strconv.ParseUint(m[2], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		numbers[m[1]] = uint32(nr)
	}
	return numbers
}
