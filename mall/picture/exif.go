// SPDX-License-Identifier: GPL-3.0-or-later

package picture

import (
	"bytes"
	"encoding/binary"

	"github.com/chmail/chmail/internal/raster"
)

// orientation is what the Exif of a JPEG says of how the picture is to be turned
// (Exif 3.0 section 4.6.5.1.1); 1: not at all. Phones turn nothing themselves.
func orientation(jpeg []byte) int {
	for b := jpeg; ; {
		// Segments: FF, marker, length with itself. Those of interest stand before the scan.
		if len(b) >= 2 && b[0] == 0xFF && b[1] == 0xD8 {
			b = b[2:]
		}
		if len(b) < 4 || b[0] != 0xFF || b[1] == 0xDA {
			return 1
		}
		n := int(binary.BigEndian.Uint16(b[2:])) + 2
		if n < 4 || n > len(b) {
			return 1
		}
		if tiff, ok := bytes.CutPrefix(b[4:n], []byte("Exif\x00\x00")); ok && b[1] == 0xE1 {
			return raster.Orientation(tiff)
		}
		b = b[n:]
	}
}
