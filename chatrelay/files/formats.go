// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/vp8"

	"github.com/chmail/chmail/internal/raster"
)

// errDamaged: the octets are not a picture that can be decoded.
var errDamaged = errors.New("the picture cannot be decoded")

// decoded is a picture in memory.
type decoded struct {
	image       image.Image
	animation   *gif.GIF // of more than one frame; image is then the first
	orientation int
}

// decode reads a picture. What its header says must be within the bounds
// before any pixel is allocated, else it errs with ErrPicture.
func decode(r io.ReadSeeker, kind string) (d decoded, err error) {
	switch kind {
	case typePNG:
		d.image, err = decodePNG(r)
	case typeJPEG:
		d.image, d.orientation, err = decodeJPEG(r)
	case typeGIF:
		d, err = decodeGIF(r)
	case typeWebP:
		var size int64
		if size, err = r.Seek(0, io.SeekEnd); err != nil {
			return d, err
		}
		if _, err = r.Seek(0, io.SeekStart); err != nil {
			return d, err
		}
		d.image, err = decodeWebP(r, size)
	}
	return d, err
}

// affordable says whether a picture may be decoded that takes so many octets
// a pixel, in quarters.
func affordable(w, h, quarters int) error {
	switch pixels := int64(w) * int64(h); {
	case w <= 0 || h <= 0:
		return errDamaged
	case pixels > maxPixels || pixels*int64(quarters)/4 > maxDecoded:
		return fmt.Errorf("%w: %d×%d", ErrPicture, w, h)
	}
	return nil
}

func decodePNG(r io.ReadSeeker) (image.Image, error) {
	var head [29]byte // the signature and IHDR, up to the interlace method
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	c, err := png.DecodeConfig(r)
	if err != nil {
		return nil, err
	}
	quarters := 16
	switch c.ColorModel {
	case color.RGBA64Model, color.NRGBA64Model:
		quarters = 32
	case color.Gray16Model:
		quarters = 8
	case color.GrayModel:
		quarters = 4
	}
	if _, paletted := c.ColorModel.(color.Palette); paletted {
		quarters = 4
	}
	if head[28] != 0 {
		quarters *= 2 // Adam7: its passes are decoded apart
	}
	if err := affordable(c.Width, c.Height, quarters); err != nil {
		return nil, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return png.Decode(r)
}

func decodeJPEG(r io.ReadSeeker) (image.Image, int, error) {
	h, err := readJPEG(bufio.NewReader(r))
	if err != nil {
		return nil, 0, err
	}
	if err := affordable(h.width, h.height, h.quarters); err != nil {
		return nil, 0, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	m, err := jpeg.Decode(r)
	return m, h.orientation, err
}

func decodeGIF(r io.ReadSeeker) (d decoded, err error) {
	frames, err := readGIF(bufio.NewReader(r))
	if err != nil {
		return d, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return d, err
	}
	if frames == 1 {
		d.image, err = gif.Decode(r)
		return d, err
	}
	g, err := gif.DecodeAll(r)
	if err != nil {
		return d, err
	}
	d.image = g.Image[0]
	if len(g.Image) > 1 {
		d.animation = g
	}
	return d, nil
}

// decodeWebP reads a lossy WebP (RFC 9649) without transparency, the frame of
// which is one VP8 key frame. The lossless format, which transparency uses
// too, can ask a decoder for gigabytes whatever size the header tells; such
// files, and animations, are left as they are. length is the file's in octets.
func decodeWebP(r io.Reader, length int64) (image.Image, error) {
	br := bufio.NewReader(r)
	var head [12]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return nil, err
	}
	for range 64 { // chunks before the frame: canvas, colour profile, what nobody knows
		var chunk [8]byte
		if _, err := io.ReadFull(br, chunk[:]); err != nil {
			return nil, err
		}
		name, size := string(chunk[:4]), int64(binary.LittleEndian.Uint32(chunk[4:]))
		switch name {
		case "VP8 ":
			if size > length {
				return nil, errDamaged // the decoder would allocate it
			}
			return decodeVP8(br, int(size))
		case "VP8L", "ALPH", "ANIM", "ANMF":
			return nil, errDamaged
		}
		if _, err := io.CopyN(io.Discard, br, size+size&1); err != nil {
			return nil, err
		}
	}
	return nil, errDamaged
}

func decodeVP8(r io.Reader, size int) (image.Image, error) {
	d := vp8.NewDecoder()
	d.Init(r, size)
	h, err := d.DecodeFrameHeader()
	if err != nil {
		return nil, err
	}
	if !h.KeyFrame {
		return nil, errDamaged
	}
	if err := affordable(h.Width, h.Height, 6); err != nil {
		return nil, err
	}
	m, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return m, nil
}

// jpegHeader is what is read of a JPEG before it is decoded.
type jpegHeader struct {
	width, height int
	quarters      int // octets that decoding takes a pixel, in quarters
	orientation   int
}

// readJPEG reads segments up to the frame header (ITU-T T.81 annex B).
func readJPEG(r *bufio.Reader) (h jpegHeader, err error) {
	h.orientation = 1
	if _, err := r.Discard(2); err != nil {
		return h, err
	}
	for range 1000 {
		var marker byte
		for marker == 0 || marker == 0xFF { // fill octets may precede a marker
			if marker, err = r.ReadByte(); err != nil {
				return h, err
			}
		}
		if marker == 0x01 || marker >= 0xD0 && marker <= 0xD7 { // no length
			continue
		}
		var length [2]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return h, err
		}
		n := int(binary.BigEndian.Uint16(length[:])) - 2
		if n < 0 {
			return h, errDamaged
		}
		segment := make([]byte, n)
		if _, err := io.ReadFull(r, segment); err != nil {
			return h, err
		}
		switch marker {
		case 0xE1: // APP1
			if tiff, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok {
				h.orientation = raster.Orientation(tiff)
			}
		case 0xC0, 0xC1, 0xC2: // baseline, extended, progressive: all that is decoded
			return h, h.frame(segment, marker == 0xC2)
		case 0xD9, 0xDA: // the end, or a scan without a frame
			return h, errDamaged
		}
	}
	return h, errDamaged
}

func (h *jpegHeader) frame(b []byte, progressive bool) error {
	if len(b) < 6 || len(b) != 6+3*int(b[5]) || b[5] == 0 || b[5] > 4 {
		return errDamaged
	}
	h.height, h.width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	var most, sum int
	for i := range int(b[5]) {
		s := int(b[7+3*i]>>4) * int(b[7+3*i]&15)
		most, sum = max(most, s), sum+s
	}
	if most == 0 {
		return errDamaged
	}
	h.quarters = 4 * sum / most
	if progressive {
		h.quarters *= 5 // coefficients of 4 octets besides the samples
	}
	h.quarters += 4 // decoders pad, and CMYK is converted
	return nil
}

// readGIF walks through the blocks of a GIF (GIF89a appendix A) and adds up
// what its frames take.
func readGIF(r *bufio.Reader) (frames int, err error) {
	var head [13]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, err
	}
	w, h := int(binary.LittleEndian.Uint16(head[6:])), int(binary.LittleEndian.Uint16(head[8:]))
	if err := affordable(w, h, 4); err != nil {
		return 0, err
	}
	if _, err := r.Discard(colours(head[10])); err != nil {
		return 0, err
	}
	var pixels int64
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return frames, err
		}
		switch kind {
		case 0x3B: // trailer
			if frames == 0 {
				return 0, errDamaged
			}
			return frames, nil
		case 0x21: // extension
			_, err = r.Discard(1)
		case 0x2C: // image
			var d [9]byte
			if _, err := io.ReadFull(r, d[:]); err != nil {
				return frames, err
			}
			frames++
			pixels += int64(binary.LittleEndian.Uint16(d[4:])) * int64(binary.LittleEndian.Uint16(d[6:]))
			if frames > maxFrames || pixels > maxPixels {
				return frames, fmt.Errorf("%w: %d frames", ErrPicture, frames)
			}
			_, err = r.Discard(colours(d[8]) + 1)
		default:
			return frames, errDamaged
		}
		for err == nil { // sub-blocks
			var n byte
			if n, err = r.ReadByte(); n == 0 || err != nil {
				break
			}
			_, err = r.Discard(int(n))
		}
		if err != nil {
			return frames, err
		}
	}
}

// colours is the size of the colour table that the flags tell, in octets.
func colours(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}
