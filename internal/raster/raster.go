// SPDX-License-Identifier: GPL-3.0-or-later

// Package raster makes pictures smaller and turns them as their Exif says.
package raster

import (
	"encoding/binary"
	"image"
	"image/draw"
	"math"
)

// Shrink returns src in w×h pixels, not more than it has: each pixel is the
// mean of the area it covers. It converts one row of src at a time.
func Shrink(src image.Image, w, h int) *image.RGBA {
	b := src.Bounds()
	columns, rows := shares(b.Dx(), w), shares(b.Dy(), h)
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	row := image.NewRGBA(image.Rect(0, 0, b.Dx(), 1))
	narrow := make([]float32, 4*w) // a row of src in w pixels
	sum := make([]float32, 4*w)    // a row of dst
	y, have := 0, -1
	for to, share := range rows {
		clear(sum)
		for i, weight := range share.weights {
			if y = share.first + i; y != have { // a row may be shared by two
				draw.Draw(row, row.Bounds(), src, image.Pt(b.Min.X, b.Min.Y+y), draw.Src)
				squeeze(narrow, row.Pix, columns)
				have = y
			}
			for j, v := range narrow {
				sum[j] += weight * v
			}
		}
		out := dst.Pix[to*dst.Stride : to*dst.Stride+4*w]
		for j, v := range sum {
			out[j] = uint8(min(v+0.5, 255))
		}
	}
	return dst
}

// squeeze writes a row of pixels into fewer.
func squeeze(to []float32, pix []uint8, columns []share) {
	for x, s := range columns {
		var r, g, b, a float32
		for i, weight := range s.weights {
			p := pix[4*(s.first+i):]
			r += weight * float32(p[0])
			g += weight * float32(p[1])
			b += weight * float32(p[2])
			a += weight * float32(p[3])
		}
		to[4*x], to[4*x+1], to[4*x+2], to[4*x+3] = r, g, b, a
	}
}

// share is what of the source makes one pixel: weights that sum to 1.
type share struct {
	first   int
	weights []float32
}

func shares(from, to int) []share {
	out := make([]share, to)
	ratio := float64(from) / float64(to)
	for i := range out {
		begin, end := float64(i)*ratio, float64(i+1)*ratio
		first, last := int(begin), min(int(math.Ceil(end-1e-9)), from)
		s := share{first: first}
		for p := first; p < last; p++ {
			covered := min(end, float64(p+1)) - max(begin, float64(p))
			s.weights = append(s.weights, float32(covered/ratio))
		}
		out[i] = s
	}
	return out
}

// Within returns the size of w×h made smaller, in proportion, until it has at
// most so many pixels and sides of at most side.
func Within(w, h, side, pixels int) (int, int) {
	f := min(1, float64(side)/float64(max(w, h)), math.Sqrt(float64(pixels)/(float64(w)*float64(h))))
	if f == 1 {
		return w, h
	}
	return max(1, int(f*float64(w))), max(1, int(f*float64(h)))
}

// Turn applies an EXIF orientation (1 to 8; CIPA DC-008, tag 274).
func Turn(src *image.RGBA, orientation int) *image.RGBA {
	w, h := src.Rect.Dx(), src.Rect.Dy()
	var at func(x, y int) (int, int) // where a pixel of the result comes from
	switch orientation {
	case 2:
		at = func(x, y int) (int, int) { return w - 1 - x, y }
	case 3:
		at = func(x, y int) (int, int) { return w - 1 - x, h - 1 - y }
	case 4:
		at = func(x, y int) (int, int) { return x, h - 1 - y }
	case 5:
		at = func(x, y int) (int, int) { return y, x }
	case 6:
		at = func(x, y int) (int, int) { return y, h - 1 - x }
	case 7:
		at = func(x, y int) (int, int) { return w - 1 - y, h - 1 - x }
	case 8:
		at = func(x, y int) (int, int) { return w - 1 - y, x }
	default:
		return src
	}
	dw, dh := w, h
	if orientation >= 5 {
		dw, dh = h, w
	}
	dst := image.NewRGBA(image.Rect(0, 0, dw, dh))
	for y := range dh {
		for x := range dw {
			sx, sy := at(x, y)
			copy(dst.Pix[y*dst.Stride+4*x:][:4], src.Pix[sy*src.Stride+4*sx:][:4])
		}
	}
	return dst
}

// Orientation is that of the first directory of an EXIF, a TIFF; 1: none is there.
func Orientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if string(tiff[:2]) == "II" {
		order = binary.LittleEndian
	}
	at := int64(order.Uint32(tiff[4:]))
	if at+2 > int64(len(tiff)) {
		return 1
	}
	count := int64(order.Uint16(tiff[at:]))
	for i := range count {
		entry := at + 2 + 12*i
		if entry+12 > int64(len(tiff)) {
			return 1
		}
		if order.Uint16(tiff[entry:]) == 0x0112 {
			if o := int(order.Uint16(tiff[entry+8:])); o >= 1 && o <= 8 {
				return o
			}
			return 1
		}
	}
	return 1
}
