// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// The media types of pictures, and of what is not known.
const (
	typePNG     = "image/png"
	typeJPEG    = "image/jpeg"
	typeGIF     = "image/gif"
	typeWebP    = "image/webp"
	octetStream = "application/octet-stream"
)

// harmless are the types that a download may bear, so that a phone knows what
// to open it with. All else, as HTML, SVG and XML, is octets without a type.
// Archives are too, because the formats of office programs look like them.
var harmless = []string{
	typePNG, typeJPEG, typeGIF, typeWebP, "image/avif", "image/heic", "image/bmp",
	"application/pdf", "text/plain; charset=utf-8",
	"audio/mpeg", "audio/wave", "audio/aiff", "audio/mp4", "application/ogg",
	"video/mp4", "video/webm", "video/quicktime", "video/avi",
}

// brands are those of ISO base media files (ISO 14496-12 section 4.3).
var brands = map[string]string{
	"avif": "image/avif", "avis": "image/avif",
	"heic": "image/heic", "heix": "image/heic", "hevc": "image/heic", "heim": "image/heic",
	"mif1": "image/heic", "msf1": "image/heic",
	"M4A ": "audio/mp4", "M4B ": "audio/mp4", "qt  ": "video/quicktime",
}

// sniff returns the type of a file that begins with head.
func sniff(head []byte) string {
	kind := ""
	if len(head) >= 12 && string(head[4:8]) == "ftyp" {
		kind = brands[string(head[8:12])]
	}
	if kind == "" {
		kind = http.DetectContentType(head)
	}
	if strings.HasPrefix(kind, "text/plain") && !text(head) {
		return octetStream
	}
	if slices.Contains(harmless, kind) {
		return kind
	}
	return octetStream
}

// text says whether head begins a text in UTF-8. The last letter may be cut.
func text(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	for range utf8.UTFMax {
		if utf8.Valid(head) {
			return true
		}
		head = head[:len(head)-1]
	}
	return false
}

// decodable says whether a file of the type is made a picture.
func decodable(kind string) bool {
	return kind == typePNG || kind == typeJPEG || kind == typeGIF || kind == typeWebP
}
