// SPDX-License-Identifier: GPL-3.0-or-later

package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/foxcpp/maddy/framework/buffer"
)

// store keeps a message's body until it is delivered: in memory, or in a file when
// it is large.
func (s *Server) store(r io.Reader) (buffer.Buffer, error) {
	var memory bytes.Buffer
	n, err := io.CopyN(&memory, r, int64(s.opts.Memory))
	if err == io.EOF {
		return buffer.MemoryBuffer{Slice: memory.Bytes()}, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(s.opts.Folder, "smtp-*")
	if err != nil {
		return nil, fmt.Errorf("making a file for a message: %w", err)
	}
	if _, err = memory.WriteTo(f); err == nil {
		var more int64
		more, err = io.Copy(f, r)
		n += more
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error says it
		return nil, err
	}
	return buffer.FileBuffer{Path: f.Name(), LenHint: int(n)}, nil
}
