// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/logtrace"
)

// maxLog is how much of the end of a log file is read.
const maxLog = 1 << 30

var traceCommand = &cli.Command{
	Name:      "trace",
	Usage:     "find in the log what became of a mail or a chat, or what an address did; the newest first",
	ArgsUsage: "ID|MESSAGE-ID|LINK|ADDRESS",
	Flags: []cli.Flag{
		&cli.StringSliceFlag{
			Name: "log", Usage: "a log `FILE`, the oldest first (default: the journal of the unit chmaild)",
		},
		&cli.StringFlag{Name: "since", Usage: "how far back to read the journal", Value: "-14d"},
		&cli.StringFlag{Name: "unit", Usage: "whose journal", Value: "chmaild"},
		&cli.IntFlag{Name: "lines", Usage: "how many lines at most", Value: 200},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() != 1 || c.Int("lines") < 1 {
			return cli.Exit("usage: chmaild trace [--log FILE] [--since TIME] [--lines N] ID|MESSAGE-ID|LINK|ADDRESS", 2)
		}
		lines, err := logtrace.Find(func() (io.ReadCloser, error) { return openLog(c) }, c.Int("lines"),
			traceNames(c.Args().First())...)
		if err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		if len(lines) == 0 {
			return fmt.Errorf("the log says nothing of %s", c.Args().First())
		}
		for _, l := range lines {
			fmt.Println(l.Text)
		}
		return nil
	},
}

var linkToken = regexp.MustCompile(`^(?:https?://[^/]+/c/)?([A-Za-z0-9_-]{22})(?:[?#].*)?$`)

// traceNames are what the log may call something: a link has no token there, but a name.
func traceNames(asked string) []string {
	names := []string{asked, "<" + strings.Trim(asked, "<>") + ">"}
	if m := linkToken.FindStringSubmatch(asked); m != nil {
		names = append(names, chat.LinkName(m[1]))
	}
	return names
}

// openLog opens the log files one after the other, or the journal.
func openLog(c *cli.Context) (io.ReadCloser, error) {
	files := c.StringSlice("log")
	if len(files) == 0 {
		return openJournal(c)
	}
	var all closers
	var readers []io.Reader
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, f)
		if info, err := f.Stat(); err == nil && info.Size() > maxLog {
			if _, err := f.Seek(-maxLog, io.SeekEnd); err != nil {
				return nil, errors.Join(err, all.Close())
			}
		}
		readers = append(readers, f)
	}
	return readCloser{io.MultiReader(readers...), all}, nil
}

type closers []io.Closer

func (c closers) Close() (err error) {
	for _, one := range c {
		err = errors.Join(err, one.Close())
	}
	return err
}

type readCloser struct {
	io.Reader
	io.Closer
}

// journal is a journalctl that runs.
type journal struct {
	io.ReadCloser
	cmd *exec.Cmd
}

// Close ends it.
func (j journal) Close() error {
	_ = j.ReadCloser.Close() // which ends it, if it has more to say
	if err := j.cmd.Wait(); err != nil && j.cmd.ProcessState.ExitCode() > 0 {
		return err
	}
	return nil
}

func openJournal(c *cli.Context) (io.ReadCloser, error) {
	cmd := exec.CommandContext(c.Context, "journalctl", "--unit", c.String("unit"), "--since", c.String("since"),
		"--output", "short-iso", "--no-pager", "--quiet")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("there is no journalctl here: name the log file with --log")
	}
	if err != nil {
		return nil, err
	}
	return journal{out, cmd}, nil
}
