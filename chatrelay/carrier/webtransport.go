// SPDX-License-Identifier: GPL-3.0-or-later

package carrier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/chmail/chmail/chatrelay/frame"
	"github.com/chmail/chmail/internal/safely"
)

// WebTransport (draft-ietf-webtrans-http3) is spoken here on the bare QUIC
// connection. A granted port serves one thing: a connection carries one
// session, and that one stream. A general library keeps eight goroutines a
// connection for what may come besides, which doubles what an idle one costs;
// here the goroutine that accepts the session serves it.

// Of HTTP/3 (RFC 9114 sections 6.2, 7.2 and 8.1).
const (
	h3Control  = 0x00 // type of a unidirectional stream
	h3Data     = 0x00 // types of frames
	h3Headers  = 0x01
	h3Settings = 0x04
	h3NoError  = 0x100
	h3General  = 0x101

	h3HeaderLimit = 16 << 10 // octets of a header, of settings, and of what is skipped
)

// Of WebTransport; several drafts are in use, and agree in this.
const (
	wtStreamType    = 0x41
	wtMaxData       = 0x190b4d3d // capsule: the whole session may send so much
	wtClose         = 0x2843     // capsule: code, reason
	setConnect      = 0x08       // SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 9220
	setDatagram     = 0x33       // SETTINGS_H3_DATAGRAM, RFC 9297
	setFieldSection = 0x06       // SETTINGS_MAX_FIELD_SECTION_SIZE
	setDraft06      = 0x2b603742 // SETTINGS_ENABLE_WEBTRANSPORT
	setEnabled      = 0x2c7cf000 // SETTINGS_WT_ENABLED
	setSessions     = 0x14e9cd29 // SETTINGS_WT_MAX_SESSIONS
	setStreamsUni   = 0x2b64     // SETTINGS_WT_INITIAL_MAX_STREAMS_UNI
	setStreams      = 0x2b65     // SETTINGS_WT_INITIAL_MAX_STREAMS_BIDI
	setData         = 0x2b61     // SETTINGS_WT_INITIAL_MAX_DATA
)

// ourSettings is what the control stream begins with. Flow control of the
// session must be there for Safari; it is wider than any conversation, since
// that of QUIC below it bounds what is held.
var ourSettings = func() []byte {
	var s []byte
	for _, v := range [][2]uint64{{setFieldSection, h3HeaderLimit}, {setConnect, 1}, {setDatagram, 1},
		{setDraft06, 1}, {setEnabled, 1}, {setSessions, 1}, {setStreamsUni, 0}, {setStreams, 4}, {setData, 1 << 50}} {
		s = quicvarint.Append(quicvarint.Append(s, v[0]), v[1])
	}
	return append(quicvarint.Append([]byte{h3Control, h3Settings}, uint64(len(s))), s...)
}()

var errHTTP3 = errors.New("not HTTP/3 as it is spoken here")

// serveWebTransport serves the session of a connection.
func (p *port) serveWebTransport(c *quic.Conn) {
	defer c.CloseWithError(h3NoError, "")
	ctx, cancel := context.WithTimeout(c.Context(), frame.HelloWait)
	defer cancel()
	s, err := p.session(ctx, c)
	if err != nil {
		Counted.Refused("request")
		linger(c, CloseWait/2) // the answer is on its way
		return
	}
	cancel()
	p.ps.opt.Relay.ServeRoom(c.Context(), s)
	<-c.Context().Done() // s has been closed, and closes c in a moment
}

// linger waits until a connection has ended, at most for d.
func linger(c *quic.Conn, d time.Duration) {
	select {
	case <-c.Context().Done():
	case <-time.After(d):
	}
}

// session accepts a session and its stream. On an error the client has been
// answered.
func (p *port) session(ctx context.Context, c *quic.Conn) (*streamConn, error) {
	control, err := c.OpenUniStream()
	if err != nil {
		return nil, err
	}
	if _, err := control.Write(ourSettings); err != nil {
		return nil, err
	}
	settings := make(chan map[uint64]uint64, 1)
	p.ps.owned.Go(func() { // ends with ctx, or when it has the settings
		defer close(settings)
		defer safely.Recover(p.ps.opt.Log, "reading HTTP/3 settings")
		if s, err := theirSettings(ctx, c); err == nil {
			settings <- s
		}
	})
	request, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	if d, ok := ctx.Deadline(); ok {
		request.SetDeadline(d)
	}
	s := &wtStream{request: request, in: source{r: request}}
	asked, err := readRequest(&s.in)
	if err != nil {
		c.CloseWithError(h3General, err.Error())
		return nil, err
	}
	if status := p.refuses(asked); status != "" {
		request.Write(appendStatus(nil, status))
		request.Close()
		return nil, fmt.Errorf("%w: %s %q from %q was answered %s", errHTTP3,
			asked[":method"], asked[":path"], asked["origin"], status)
	}
	theirs, ok := <-settings
	if !ok {
		return nil, fmt.Errorf("%w: no settings", errHTTP3)
	}
	s.credit = theirs[setData]
	s.bounded = theirs[setData] > 0 || theirs[setStreams] > 0 || theirs[setStreamsUni] > 0
	if _, err := request.Write(appendStatus(nil, "200")); err != nil {
		return nil, err
	}
	return p.stream(ctx, c, s)
}

// refuses is the status with which a request is refused; empty: it is not.
func (p *port) refuses(asked map[string]string) string {
	switch {
	case asked[":path"] != Path:
		return "404"
	case asked[":method"] != "CONNECT",
		asked[":protocol"] != "webtransport" && asked[":protocol"] != "webtransport-h3":
		return "405"
	case !p.ps.opt.Relay.OwnOrigin(asked["origin"]):
		return "403"
	}
	return ""
}

// stream accepts the stream of the session s.
func (p *port) stream(ctx context.Context, c *quic.Conn, s *wtStream) (_ *streamConn, err error) {
	if s.Stream, err = c.AcceptStream(ctx); err != nil {
		return nil, err
	}
	conn := newStreamConn(s, WebTransport, p.at.port, addrOf(c.RemoteAddr()), func(reason string) error {
		s.farewell(reason)
		time.AfterFunc(CloseWait/4, func() { c.CloseWithError(h3NoError, "") })
		return nil
	})
	if d, ok := ctx.Deadline(); ok {
		s.SetReadDeadline(d)
	}
	for _, want := range []uint64{wtStreamType, uint64(s.request.StreamID())} { // the session's id is its request's
		if got, err := conn.in.varint(); err != nil || got != want {
			c.CloseWithError(h3General, "")
			return nil, fmt.Errorf("%w: a stream that is not the session's", errHTTP3)
		}
	}
	s.request.SetDeadline(time.Time{})
	return conn, nil
}

// theirSettings reads the client's control stream as far as its settings. The
// other streams, of QPACK, have nothing to say to who keeps no dynamic table;
// they are left unread.
func theirSettings(ctx context.Context, c *quic.Conn) (map[uint64]uint64, error) {
	for {
		s, err := c.AcceptUniStream(ctx)
		if err != nil {
			return nil, err
		}
		if d, ok := ctx.Deadline(); ok {
			s.SetReadDeadline(d)
		}
		in := &source{r: s}
		if typ, err := in.varint(); err != nil || typ != h3Control {
			continue
		}
		b, err := nextFrame(in, h3Settings)
		if err != nil {
			return nil, err
		}
		all := map[uint64]uint64{}
		for len(b) > 0 {
			var pair [2]uint64
			for i := range pair {
				v, n, err := quicvarint.Parse(b)
				if err != nil {
					return nil, err
				}
				pair[i], b = v, b[n:]
			}
			all[pair[0]] = pair[1]
		}
		return all, nil
	}
}

// nextFrame reads the next frame of a type; others before it are skipped, as
// RFC 9114 section 9 wants.
func nextFrame(in *source, want uint64) ([]byte, error) {
	for left := uint64(h3HeaderLimit); ; {
		typ, err := in.varint()
		if err != nil {
			return nil, err
		}
		n, err := in.varint()
		if err != nil {
			return nil, err
		}
		if n > left {
			return nil, fmt.Errorf("%w: a frame of %d octets", errHTTP3, n)
		}
		left -= n
		b := make([]byte, n)
		if err := in.full(b); err != nil {
			return nil, err
		}
		if typ == want {
			return b, nil
		}
	}
}

// readRequest reads the fields of a request; of those that come twice, the
// first.
func readRequest(in *source) (map[string]string, error) {
	b, err := nextFrame(in, h3Headers)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for next := qpack.NewDecoder().Decode(b); ; {
		f, err := next()
		if err == io.EOF {
			return fields, nil
		}
		if err != nil {
			return nil, err
		}
		if _, twice := fields[f.Name]; !twice {
			fields[f.Name] = f.Value
		}
	}
}

// appendStatus appends a HEADERS frame with a status and nothing else.
func appendStatus(b []byte, status string) []byte {
	var fields bytes.Buffer
	qpack.NewEncoder(&fields).WriteField(qpack.HeaderField{Name: ":status", Value: status}) // to a buffer: never fails
	b = quicvarint.Append(append(b, h3Headers), uint64(fields.Len()))
	return append(b, fields.Bytes()...)
}

// wtStream is the stream of a session, within the session's flow control.
type wtStream struct {
	*quic.Stream
	request *quic.Stream // of the session: capsules come here
	in      source       // of request; only the writer uses it
	bounded bool         // the client asks for flow control of the session
	credit  uint64       // octets that may still be sent
	sent    uint64       // octets
	data    uint64       // octets of a DATA frame that are still unread
}

// Write obeys the session's flow control. The client's capsules are read when
// credit runs out, so that no goroutine waits for them.
func (s *wtStream) Write(b []byte) (n int, err error) {
	for s.bounded && uint64(len(b)-n) > s.credit {
		if s.credit > 0 {
			m, err := s.Stream.Write(b[n : n+int(s.credit)])
			n, s.sent, s.credit = n+m, s.sent+uint64(m), s.credit-uint64(m)
			if err != nil {
				return n, err
			}
		}
		if err := s.more(); err != nil {
			return n, err
		}
	}
	m, err := s.Stream.Write(b[n:])
	if s.bounded {
		s.sent, s.credit = s.sent+uint64(m), s.credit-uint64(m)
	}
	return n + m, err
}

// TryWriteAll is quic.Stream's, within the session's flow control.
func (s *wtStream) TryWriteAll(b []byte) error {
	if s.bounded && uint64(len(b)) > s.credit {
		return quic.ErrWouldBlock
	}
	err := s.Stream.TryWriteAll(b)
	if err == nil && s.bounded {
		s.sent, s.credit = s.sent+uint64(len(b)), s.credit-uint64(len(b))
	}
	return err
}

// more reads capsules (RFC 9297 section 3.2) until one raises the credit.
func (s *wtStream) more() error {
	for {
		var head [2]uint64 // type, length
		for i := range head {
			v, err := s.capsuleInt()
			if err != nil {
				return err
			}
			head[i] = v
		}
		if head[0] == wtMaxData {
			limit, err := s.capsuleInt()
			if err != nil {
				return err
			}
			if limit > s.sent {
				s.credit = limit - s.sent
				return nil
			}
			continue
		}
		if head[0] == wtClose {
			return io.EOF
		}
		if head[1] > h3HeaderLimit {
			return fmt.Errorf("%w: a capsule of %d octets", errHTTP3, head[1])
		}
		for range head[1] {
			if _, err := s.ReadByte(); err != nil {
				return err
			}
		}
	}
}

func (s *wtStream) capsuleInt() (uint64, error) { return quicvarint.Read(s) }

// ReadByte reads what is in the DATA frames of the session's request.
func (s *wtStream) ReadByte() (byte, error) {
	for s.data == 0 {
		typ, err := s.in.varint()
		if err != nil {
			return 0, err
		}
		if s.data, err = s.in.varint(); err != nil {
			return 0, err
		}
		if typ != h3Data {
			if s.data > h3HeaderLimit {
				return 0, fmt.Errorf("%w: a frame of %d octets", errHTTP3, s.data)
			}
			if err := s.in.full(make([]byte, s.data)); err != nil {
				return 0, err
			}
			s.data = 0
		}
	}
	b, err := s.in.peek(1)
	if err != nil {
		return 0, err
	}
	s.in.skip(1)
	s.data--
	return b[0], nil
}

// SetWriteDeadline bounds the wait for credit as well.
func (s *wtStream) SetWriteDeadline(t time.Time) error {
	return errors.Join(s.Stream.SetWriteDeadline(t), s.request.SetReadDeadline(t))
}

// farewell closes the session, so that the page learns that it was meant so.
func (s *wtStream) farewell(reason string) {
	reason = reason[:min(len(reason), 1024)]
	b := binary.BigEndian.AppendUint32(quicvarint.Append(quicvarint.Append(nil, wtClose), uint64(4+len(reason))), 0)
	b = append(b, reason...)
	s.request.SetWriteDeadline(time.Now().Add(CloseWait / 4))
	s.request.Write(append(quicvarint.Append([]byte{h3Data}, uint64(len(b))), b...))
	s.request.Close()
}
