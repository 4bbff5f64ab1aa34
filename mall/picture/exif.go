// SPDX-License-Identifier: GPL-3.0-or-later

package picture

import (
	"bytes"
	"encoding/binary"
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
			return ofTIFF(tiff)
		}
		b = b[n:]
	}
}

// ofTIFF reads the orientation from the first directory of a TIFF.
func ofTIFF(b []byte) int {
	if len(b) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if b[0] == 'I' {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 1
	}
	entries := int64(order.Uint16(b[at:]))
	for i := range entries {
		e := at + 2 + 12*i
		if e+12 > int64(len(b)) {
			return 1
		}
		const tag = 0x0112
		if order.Uint16(b[e:]) == tag {
			if n := int(order.Uint16(b[e+8:])); n >= 1 && n <= 8 {
				return n
			}
			return 1
		}
	}
	return 1
}
