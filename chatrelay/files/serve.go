// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// SetHeader sets what a browser needs to show f, a picture, or to save f,
// anything else, and never to run it.
func SetHeader(h http.Header, f chat.File) {
	disposition := "attachment"
	kind := f.Type
	switch {
	case f.Picture() && extensions[kind] != nil:
		disposition = "inline"
	case kind == "":
		kind = octetStream
	}
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", disposition+fileName(f.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, max-age=31536000, immutable") // an ID's octets never change
	h.Set("ETag", `"`+f.ID+`"`)
}

// fileName is the parameter of Content-Disposition (RFC 6266 section 4.3),
// with filename for clients that do not know filename*.
func fileName(name string) string {
	var plain, extended strings.Builder
	for _, r := range name {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%`, r) {
			r = '_'
		}
		plain.WriteRune(r)
	}
	for i := range len(name) {
		switch c := name[i]; { // attr-char, RFC 8187 section 3.2.1
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			extended.WriteByte(c)
		default:
			fmt.Fprintf(&extended, "%%%02X", c)
		}
	}
	return fmt.Sprintf(`; filename="%s"; filename*=UTF-8''%s`, plain.String(), extended.String())
}

// Serve answers a GET or HEAD of f, or of its thumbnail where it has one,
// with ranges and conditions. The caller has looked whether the reader may
// have f. On an error, ErrUnknown among them, nothing has been answered.
func (s *Store) Serve(w http.ResponseWriter, r *http.Request, f chat.File, thumb bool) error {
	thumb = thumb && f.Thumb
	file, err := s.Open(f.ID, thumb)
	if err != nil {
		return err
	}
	defer file.Close()
	if thumb {
		head := make([]byte, sniffLen)
		n, err := file.ReadAt(head, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("opening a thumbnail: %w", err)
		}
		f.ID, f.Type = f.ID+thumbSuffix, sniff(head[:n])
	}
	SetHeader(w.Header(), f)
	http.ServeContent(w, r, "", time.Time{}, file)
	return nil
}
