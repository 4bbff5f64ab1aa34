// SPDX-License-Identifier: GPL-3.0-or-later

package web

import (
	"bufio"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chmail/chmail/internal/words"
)

// What make dist writes beside the programs.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = sumsFile + ".minisig"
	keyFile       = "chmail.pub"
	maxSums       = 256 << 10        // octets of SHA256SUMS
	downloadTime  = 15 * time.Minute // for a program to reach its reader
)

// offered is a program for one system.
type offered struct {
	Name, Sum, Size     string
	System, Arch, Label string // "linux", "amd64", "Linux, .deb"
}

var (
	sumLine     = regexp.MustCompile(`^([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._~+-]*)$`)
	programName = regexp.MustCompile(`^chmail[-_].*?[-_.](linux-|darwin-|windows-)?` +
		`(amd64|arm64|x86_64|aarch64)(\.exe|\.deb|\.rpm)?$`)
	systemNames = map[string]string{"linux": "Linux", "darwin": "macOS", "windows": "Windows"}
	archNames   = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}
)

// sums are the files of the folder of downloads, with their checksums; none: nothing is
// offered.
func (s *Server) sums() (map[string]string, error) {
	f, err := os.Open(filepath.Join(s.opts.Downloads, sumsFile))
	if s.opts.Downloads == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := make(map[string]string)
	lines := bufio.NewScanner(io.LimitReader(f, maxSums))
	for lines.Scan() {
		if found := sumLine.FindStringSubmatch(lines.Text()); found != nil {
			all[found[2]] = found[1]
		}
	}
	return all, lines.Err()
}

// programsFor lists what there is for people's computers, that for the system of a browser
// first, as far as it says which that is.
func (s *Server) programsFor(agent string, sums map[string]string) (mine, others []offered) {
	system, arch := "linux", "amd64"
	switch {
	case strings.Contains(agent, "Windows"):
		system = "windows"
	case strings.Contains(agent, "Mac OS X") && !strings.Contains(agent, "iPhone"):
		system, arch = "darwin", "arm64" // browsers call every Mac an Intel one
	case strings.Contains(agent, "aarch64"), strings.Contains(agent, "arm64"):
		arch = "arm64"
	}
	var list []offered
	for name, sum := range sums {
		found := programName.FindStringSubmatch(name)
		if found == nil {
			continue
		}
		info, err := os.Stat(filepath.Join(s.opts.Downloads, name))
		if err != nil {
			continue // a file that was taken away is not offered
		}
		o := offered{Name: name, Sum: sum, Size: words.Octets(info.Size()),
			System: cmp.Or(strings.TrimSuffix(found[1], "-"), "linux"), Arch: cmp.Or(archNames[found[2]], found[2])}
		o.Label = systemNames[o.System] + " " + o.Arch
		if ext := found[3]; ext == ".deb" || ext == ".rpm" {
			o.Label += ", " + ext
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b offered) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Name, b.Name))
	})
	for _, o := range list {
		if o.System == system && o.Arch == arch {
			mine = append(mine, o)
		} else {
			others = append(others, o)
		}
	}
	return mine, others
}

// downloadView is the page /download.
type downloadView struct {
	Mine, Others []offered
	Signed       bool
	Register     *registerForm // nil: nobody registers here
}

func (s *Server) downloadPage(w http.ResponseWriter, r *http.Request) {
	s.showDownload(w, r, http.StatusOK, s.registerForm(r))
}

func (s *Server) showDownload(w http.ResponseWriter, r *http.Request, status int, form *registerForm) {
	sums, err := s.sums()
	if err != nil {
		s.log.Warn("reading the folder of downloads", "err", err)
	}
	view := downloadView{Register: form}
	view.Mine, view.Others = s.programsFor(r.UserAgent(), sums)
	_, err = os.Stat(filepath.Join(s.opts.Downloads, signatureFile))
	view.Signed = err == nil && len(sums) > 0
	page := shown{title: s.tongue(r).Say("setup.download.title"), template: "download", with: view, more: true}
	if form != nil && form.Work != "" {
		page.script = "register"
	}
	s.page(w, r, status, page)
}

// download answers with a file of the folder, of those alone that make dist has put there.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	sums, err := s.sums()
	if err != nil {
		s.log.Warn("reading the folder of downloads", "err", err)
	}
	_, known := sums[name]
	if !known && (len(sums) == 0 || !slices.Contains([]string{sumsFile, signatureFile, keyFile}, name)) {
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
	}
	f, err := os.Open(filepath.Join(s.opts.Downloads, name))
	if err != nil {
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		s.plainPage(w, r, http.StatusNotFound, "missing")
		return
	}
	// An error of the deadline is one of the connection, which the answer meets as well.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadTime))
	kind := "application/octet-stream"
	if !known {
		kind = "text/plain; charset=utf-8"
	} else {
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", info.ModTime(), f)
}
