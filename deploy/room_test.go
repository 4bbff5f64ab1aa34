// SPDX-License-Identifier: GPL-3.0-or-later

//go:build linux

package deploy

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
)

// room is a connection to a granted port, as docs/protocol.md describes it.
type room struct {
	s *quic.Stream
	r *bufio.Reader
}

func dialRoom(t *testing.T, port int) *room {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", port),
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"chmail/1"}}, nil)
	if err != nil {
		t.Fatalf("the granted port %d: %v", port, err)
	}
	t.Cleanup(func() { conn.CloseWithError(0, "") })
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.SetDeadline(time.Now().Add(20 * time.Second))
	return &room{s: s, r: bufio.NewReader(s)}
}

func (r *room) send(t *testing.T, format string, args ...any) {
	t.Helper()
	frame := fmt.Appendf(nil, format, args...)
	if _, err := r.s.Write(append(quicvarint.Append(nil, uint64(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
}

// await reads frames until one of the kind.
func (r *room) await(t *testing.T, kind string) {
	t.Helper()
	for {
		size, err := quicvarint.Read(r.r)
		if err != nil {
			t.Fatalf("waiting for %s: %v", kind, err)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(r.r, b); err != nil {
			t.Fatalf("waiting for %s: %v", kind, err)
		}
		var frame struct{ T string }
		if err := json.Unmarshal(b, &frame); err != nil {
			t.Fatal(err)
		}
		if frame.T == kind {
			return
		}
	}
}
