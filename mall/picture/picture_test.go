// SPDX-License-Identifier: GPL-3.0-or-later

package picture

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"strings"
	"testing"
)

// sample is red on its left half and blue on its right.
func sample(w, h int) *image.Paletted {
	img := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.RGBA{255, 0, 0, 255},
		color.RGBA{0, 0, 255, 255}})
	for y := range h {
		for x := w / 2; x < w; x++ {
			img.SetColorIndex(x, y, 1)
		}
	}
	return img
}

func encoded(t testing.TB, write func(w io.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// exif puts metadata into a JPEG: an orientation, and where it was taken.
func exif(b []byte, orientation uint16, order binary.AppendByteOrder) []byte {
	tiff := []byte("MM\x00\x2a")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		tiff = []byte("II\x2a\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 1)
	tiff = order.AppendUint16(tiff, 0x0112)
	tiff = order.AppendUint16(tiff, 3)
	tiff = order.AppendUint32(tiff, 1)
	tiff = order.AppendUint16(tiff, orientation)
	tiff = append(tiff, "\x00\x00\x00\x00\x00\x00taken at 37.5665 N"...)
	body := append([]byte("Exif\x00\x00"), tiff...)
	seg := binary.BigEndian.AppendUint16([]byte{0xFF, 0xE1}, uint16(len(body)+2))
	return append(append(append([]byte{}, b[:2]...), append(seg, body...)...), b[2:]...)
}

// webp is 1 × 1.
const webp1 = "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA="

func open(t *testing.T) *Store {
	t.Helper()
	s, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAdd: each format comes out as JPEG of both sizes, never larger than it was.
func TestAdd(t *testing.T) {
	t.Parallel()
	s := open(t)
	webp, err := base64.StdEncoding.DecodeString(webp1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		w, h int
	}{
		"png":  {encoded(t, func(w io.Writer) error { return png.Encode(w, sample(2000, 1000)) }), 960, 480},
		"jpeg": {encoded(t, func(w io.Writer) error { return jpeg.Encode(w, sample(500, 1000), nil) }), 480, 960},
		"gif":  {encoded(t, func(w io.Writer) error { return gif.Encode(w, sample(40, 20), nil) }), 40, 20},
		"webp": {webp, 1, 1},
		"thin": {encoded(t, func(w io.Writer) error { return png.Encode(w, sample(4000, 2)) }), 960, 1},
	} {
		info, err := s.Add(t.Context(), bytes.NewReader(c.b))
		if err != nil || info.Width != c.w || info.Height != c.h {
			t.Errorf("%s: %+v, %v", name, info, err)
			continue
		}
		for _, size := range Sizes {
			f, err := s.Open(info.Hash, size)
			if err != nil {
				t.Fatal(err)
			}
			got, err := jpeg.DecodeConfig(f)
			f.Close()
			if err != nil || max(got.Width, got.Height) != min(size, max(c.w, c.h)) {
				t.Errorf("%s at %d: %+v, %v", name, size, got, err)
			}
		}
		if again, err := s.Add(t.Context(), bytes.NewReader(c.b)); err != nil || again != info {
			t.Errorf("%s again: %+v, %v", name, again, err)
		}
	}
}

// TestMetadata: it is gone, and the picture stands as its metadata said.
func TestMetadata(t *testing.T) {
	t.Parallel()
	s := open(t)
	plain := encoded(t, func(w io.Writer) error { return jpeg.Encode(w, sample(100, 50), nil) })
	for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
		for orientation, red := range map[uint16]image.Point{ // a place that is red then
			1: {5, 25}, 2: {95, 25}, 3: {95, 25}, 4: {5, 25}, 5: {25, 5}, 6: {25, 5}, 7: {25, 95}, 8: {25, 95},
			9: {5, 25}} {
			info, err := s.Add(t.Context(), bytes.NewReader(exif(plain, orientation, order)))
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.Open(info.Hash, 960)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			f.Close()
			if err != nil || bytes.Contains(b, []byte("37.5665")) || bytes.Contains(b, []byte("Exif")) {
				t.Fatalf("metadata is there, %v", err)
			}
			img, err := jpeg.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if r, _, blue, _ := img.At(red.X, red.Y).RGBA(); r < blue {
				t.Errorf("orientation %d: not red at %v of %v", orientation, red, img.Bounds())
			}
		}
	}
}

// TestTransparent: what is transparent becomes white.
func TestTransparent(t *testing.T) {
	t.Parallel()
	files, _, err := encode(encoded(t, func(w io.Writer) error {
		return png.Encode(w,
			image.NewNRGBA(image.Rect(0, 0, 9, 9)))
	}))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jpeg.Decode(bytes.NewReader(files[1]))
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := img.At(4, 4).RGBA(); min(r, g, b) < 0xF000 {
		t.Errorf("%x %x %x", r, g, b)
	}
}

// bomb is a PNG that says it is as large as given, with so many bits a sample.
func bomb(w, h uint32, bits byte) []byte {
	ihdr := binary.BigEndian.AppendUint32([]byte("IHDR"), w)
	ihdr = append(binary.BigEndian.AppendUint32(ihdr, h), bits, 6, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	return binary.BigEndian.AppendUint32(append(b, ihdr...), crc32.ChecksumIEEE(ihdr))
}

// TestRefused: what is no picture, or too large a one, is not decoded nor kept.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	jpg := encoded(t, func(w io.Writer) error { return jpeg.Encode(w, sample(100, 50), nil) })
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"html":       {[]byte("<html><script>"), ErrFormat},
		"svg":        {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), ErrFormat},
		"nothing":    {nil, ErrFormat},
		"half":       {jpg[:len(jpg)/2], ErrFormat},
		"pixels":     {bomb(8000, 8000, 8), ErrTooLarge},
		"16 bits":    {bomb(5000, 5000, 16), ErrTooLarge},
		"a long one": {bomb(30_000, 1, 8), ErrTooLarge},
		"no pixels":  {bomb(0, 0, 8), ErrFormat},
		"octets":     {make([]byte, MaxBytes+1), ErrTooLarge},
	} {
		if _, err := s.Add(t.Context(), bytes.NewReader(c.b)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("kept %v, %v", left, err)
	}
	for _, hash := range []string{"", "..", strings.Repeat("a", 64), strings.Repeat("../", 22)[:64]} {
		if _, err := s.Open(hash, 320); !errors.Is(err, ErrUnknown) {
			t.Errorf("opening %q: %v", hash, err)
		}
	}
	if _, err := s.Open(strings.Repeat("a", 64), 7); !errors.Is(err, ErrUnknown) {
		t.Errorf("a size that is not there: %v", err)
	}
}

func FuzzPicture(f *testing.F) {
	f.Add(encoded(f, func(w io.Writer) error { return png.Encode(w, sample(8, 4)) }))
	f.Add(encoded(f, func(w io.Writer) error { return gif.Encode(w, sample(8, 4), nil) }))
	f.Add(exif(encoded(f, func(w io.Writer) error { return jpeg.Encode(w, sample(8, 4), nil) }), 6,
		binary.LittleEndian))
	webp, _ := base64.StdEncoding.DecodeString(webp1)
	f.Add(webp)
	f.Add(bomb(1<<31-1, 1<<31-1, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		files, info, err := encode(b)
		if err != nil {
			return
		}
		if len(files) != len(Sizes) || info.Width > 960 || info.Height > 960 || info.Width < 1 || info.Height < 1 {
			t.Errorf("%d files, %+v", len(files), info)
		}
	})
}
