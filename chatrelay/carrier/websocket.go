// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/frame"
)

// The WebSocket protocol (RFC 6455) is spoken here on the bare connection: a
// server that neither compresses nor fragments needs little of it. So an idle
// connection holds no buffers, and all queued frames go out in one write.

// The opcodes, RFC 6455 section 5.2.
const (
	opMore  = 0
	opText  = 1
	opBin   = 2
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// errSocket: the other side breaks the WebSocket protocol.
var errSocket = errors.New("not the WebSocket protocol")

// socket is the server's side of a WebSocket.
type socket struct {
	c      net.Conn
	in     source
	remote netip.Addr
	gone   atomic.Bool // the other side has closed it, or it failed
	closed atomic.Bool
	write  sync.Mutex
	noWait *noWaitConn // nil: writes may wait
}

// Upgrade answers a WebSocket handshake; remote is the client's address. The
// caller has checked the origin. When Upgrade returns an error, it has answered
// the request. The connection outlives the request: serve it in a goroutine of
// its own, since that of net/http has a large stack and holds on to the request.
func Upgrade(w http.ResponseWriter, r *http.Request, remote netip.Addr) (Conn, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case r.ProtoMajor != 1:
		http.Error(w, "a WebSocket is opened with HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return nil, errSocket
	case r.Method != http.MethodGet || !hasToken(r.Header, "Connection", "upgrade") ||
		!hasToken(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket", http.StatusUpgradeRequired)
		return nil, errSocket
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 section 4.4
		http.Error(w, "the version of WebSocket is 13", http.StatusUpgradeRequired)
		return nil, errSocket
	case err != nil || len(raw) != 16:
		http.Error(w, "Sec-WebSocket-Key is missing", http.StatusBadRequest)
		return nil, errSocket
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 section 4.2.2
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("taking over a connection: %w", err)
	}
	s := &socket{c: c, remote: remote, noWait: noWaitOf(c)}
	if s.noWait != nil {
		s.noWait.on.Store(true)
	}
	s.in.r = c
	if n := rw.Reader.Buffered(); n > 0 { // frames came right behind the handshake
		early, _ := rw.Reader.Peek(n)
		s.in.r = &prefixed{early: bytes.Clone(early), Conn: c}
	}
	return s, nil
}

// hasToken looks for one of a header's comma-separated words.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// prefixed gives the octets that were read too early, then those of the
// connection.
type prefixed struct {
	early []byte
	net.Conn
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.early) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.early)
	p.early = p.early[n:]
	return n, nil
}

// Read returns the next message, and answers control frames on the way.
func (s *socket) Read(ctx context.Context) ([]byte, error) {
	stop, err := bound(ctx, s.c.SetReadDeadline)
	if err != nil {
		return nil, err
	}
	defer stop()
	b, err := s.message()
	if err != nil && !errors.Is(err, ErrTooLarge) {
		s.gone.Store(true)
	}
	if s.closed.Load() {
		return nil, net.ErrClosed
	}
	return b, err
}

// message reads the fragments of a message into one buffer. Their number is
// bounded, since a client may send empty ones for next to nothing.
func (s *socket) message() (msg []byte, err error) {
	for fragments, control := 0, 0; ; {
		h, err := s.header()
		if err != nil {
			return nil, err
		}
		switch h.op {
		case opText, opBin, opMore:
			if (fragments > 0) != (h.op == opMore) {
				return nil, fmt.Errorf("%w: a fragment out of order", errSocket)
			}
			if fragments++; fragments > maxFragments {
				return nil, fmt.Errorf("%w: too many fragments", errSocket)
			}
			n := len(msg)
			if h.size > uint64(frame.MaxFrame-n) {
				return nil, ErrTooLarge
			}
			msg = slices.Grow(msg, int(h.size))[:n+int(h.size)]
			if err := s.payload(msg[n:], h); err != nil {
				return nil, err
			}
			if h.last {
				return msg, nil
			}
		case opClose, opPing, opPong:
			if control++; !h.last || h.size > 125 || control > maxControl { // RFC 6455 section 5.5
				return nil, fmt.Errorf("%w: a control frame", errSocket)
			}
			b := make([]byte, h.size)
			if err := s.payload(b, h); err != nil {
				return nil, err
			}
			switch h.op {
			case opClose:
				s.control(opClose, b[:min(len(b), 2)])
				return nil, io.EOF
			case opPing:
				if err := s.control(opPong, b); err != nil {
					return nil, err
				}
			}
		default:
			return nil, fmt.Errorf("%w: opcode %d", errSocket, h.op)
		}
	}
}

type header struct {
	op   byte
	last bool
	size uint64
	mask [4]byte
}

// header reads the head of a frame, RFC 6455 section 5.2.
func (s *socket) header() (h header, err error) {
	b, err := s.in.peek(2)
	if err != nil {
		return h, err
	}
	h.op, h.last, h.size = b[0]&15, b[0]&0x80 != 0, uint64(b[1]&127)
	if b[0]&0x70 != 0 || b[1]&0x80 == 0 {
		return h, fmt.Errorf("%w: reserved bits, or no mask", errSocket)
	}
	n := 2
	switch h.size {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if b, err = s.in.peek(n + 4); err != nil {
		return h, err
	}
	switch h.size {
	case 126:
		h.size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.size = binary.BigEndian.Uint64(b[2:])
	}
	copy(h.mask[:], b[n:])
	s.in.skip(n + 4)
	return h, nil
}

// payload fills b and takes the mask off.
func (s *socket) payload(b []byte, h header) error {
	if err := s.in.full(b); err != nil {
		return fmt.Errorf("reading a frame of %d octets: %w", len(b), err)
	}
	mask := binary.LittleEndian.Uint32(h.mask[:])
	wide := uint64(mask)<<32 | uint64(mask)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], binary.LittleEndian.Uint64(b[i:])^wide)
	}
	for ; i < len(b); i++ {
		b[i] ^= h.mask[i&3]
	}
	return nil
}

// control sends a control frame; its payload is at most 125 octets.
func (s *socket) control(op byte, b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.c.SetWriteDeadline(time.Now().Add(CloseWait))
	defer s.c.SetWriteDeadline(time.Time{})
	_, err := s.c.Write(append([]byte{0x80 | op, byte(len(b))}, b...))
	return err
}

// Write sends each frame as a text message, all in one write.
func (s *socket) Write(ctx context.Context, frames ...[]byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.noWait != nil {
		if err := s.send(frames...); err != nil {
			return err
		}
		if d, ok := ctx.Deadline(); ok {
			return s.noWait.wait(time.Until(d))
		}
		return s.noWait.wait(writeWait)
	}
	stop, err := bound(ctx, s.c.SetWriteDeadline)
	if err != nil {
		return err
	}
	defer stop()
	return s.send(frames...)
}

// tryWrite implements tryWriter.
func (s *socket) tryWrite(f []byte) (bool, error) {
	if s.noWait == nil || s.noWait.behind() || !s.write.TryLock() {
		return false, nil
	}
	defer s.write.Unlock()
	return true, s.send(f)
}

// send writes frames; write is held.
func (s *socket) send(frames ...[]byte) error {
	buf := buffers.Get().(*[]byte)
	defer giveBack(buf)
	b := (*buf)[:0]
	for _, f := range frames {
		switch n := len(f); {
		case n < 126:
			b = append(b, 0x80|opText, byte(n))
		case n < 1<<16:
			b = binary.BigEndian.AppendUint16(append(b, 0x80|opText, 126), uint16(n))
		default:
			b = binary.BigEndian.AppendUint64(append(b, 0x80|opText, 127), uint64(n))
		}
		b = append(b, f...)
	}
	*buf = b
	_, err := s.c.Write(b)
	return err
}

// Close says goodbye. Unless the other side has said it, Close reads on for a
// moment: to close a connection with something unread resets it, and the last
// frame is lost.
func (s *socket) Close(reason string) error {
	if s.closed.Swap(true) {
		return nil
	}
	if !s.gone.Load() {
		b := binary.BigEndian.AppendUint16(nil, 1000) // RFC 6455 section 7.4.1
		if s.control(opClose, append(b, reason[:min(len(reason), 123)]...)) == nil {
			if s.noWait != nil {
				s.noWait.wait(CloseWait)
			}
			s.c.SetReadDeadline(time.Now().Add(CloseWait / 2))
			io.Copy(io.Discard, io.LimitReader(s.c, 1<<20))
		}
	}
	return s.c.Close()
}

func (s *socket) Carrier() string      { return WebSocket }
func (s *socket) Port() int            { return 0 }
func (s *socket) RemoteIP() netip.Addr { return s.remote }
