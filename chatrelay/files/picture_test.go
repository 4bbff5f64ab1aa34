// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/internal/raster"
)

// Pictures of one pixel.
var (
	lossyWebP    = unbase64("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
	losslessWebP = unbase64("UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA==")
)

func unbase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// quarters is a picture whose quarters are red, green; blue, white.
func quarters(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.NRGBA{A: 255}
			switch {
			case y < h/2 && x < w/2:
				c.R = 255
			case y < h/2:
				c.G = 255
			case x < w/2:
				c.B = 255
			default:
				c.R, c.G, c.B = 255, 255, 255
			}
			m.SetNRGBA(x, y, c)
		}
	}
	return m
}

func pngOf(w, h int) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, quarters(w, h)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

const secret = "37.5665N 126.9780E"

// jpegOf is a photograph with an orientation and a place in its EXIF, and a
// comment.
func jpegOf(w, h, orientation int) []byte {
	var b bytes.Buffer
	if err := jpeg.Encode(&b, quarters(w, h), nil); err != nil {
		panic(err)
	}
	tiff := append([]byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"),
		byte(orientation), 0, 0, 0, 0, 0, 0, 0)
	tiff = append(tiff, secret...)
	out := append([]byte(nil), b.Bytes()[:2]...)
	for marker, data := range map[byte][]byte{0xE1: tiff, 0xFE: []byte(secret)} {
		out = append(out, 0xFF, marker)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)+2))
		out = append(out, data...)
	}
	return append(out, b.Bytes()[2:]...)
}

func near(c color.Color, r, g, b uint32) bool {
	cr, cg, cb, _ := c.RGBA()
	d := func(x, y uint32) bool { return max(x>>8, y)-min(x>>8, y) < 40 }
	return d(cr, r) && d(cg, g) && d(cb, b)
}

// corners names the colours of a picture's corners, clockwise from top left.
func corners(m image.Image) string {
	b := m.Bounds()
	var s strings.Builder
	for _, p := range []image.Point{{b.Min.X + 2, b.Min.Y + 2}, {b.Max.X - 3, b.Min.Y + 2},
		{b.Max.X - 3, b.Max.Y - 3}, {b.Min.X + 2, b.Max.Y - 3}} {
		switch c := m.At(p.X, p.Y); {
		case near(c, 255, 0, 0):
			s.WriteByte('R')
		case near(c, 0, 255, 0):
			s.WriteByte('G')
		case near(c, 0, 0, 255):
			s.WriteByte('B')
		case near(c, 255, 255, 255):
			s.WriteByte('W')
		default:
			s.WriteByte('?')
		}
	}
	return s.String()
}

func (h *harness) decode(f chat.File, thumb bool) image.Image {
	h.t.Helper()
	m, _, err := image.Decode(bytes.NewReader(h.read(f, thumb)))
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func TestPictures(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	for o, want := range []string{1: "RGWB", 2: "GRBW", 3: "WBRG", 4: "BWGR",
		5: "RBWG", 6: "BRGW", 7: "WGRB", 8: "GWBR"} {
		if o == 0 {
			continue
		}
		raw := jpegOf(800, 600, o)
		f := h.mustPut("r", "사진.JPG", raw)
		w, ht := 800, 600
		if o >= 5 {
			w, ht = ht, w
		}
		if f.Type != typeJPEG || f.Width != w || f.Height != ht || !f.Thumb ||
			f.Name != "사진.JPG" || f.Octets <= f.Size {
			t.Errorf("orientation %d: %+v", o, f)
		}
		for _, thumb := range []bool{false, true} {
			if b := h.read(f, thumb); bytes.Contains(b, []byte(secret)) || bytes.Contains(b, []byte("Exif")) ||
				!bytes.Contains(raw, []byte(secret)) {
				t.Errorf("orientation %d: metadata is left", o)
			}
			m := h.decode(f, thumb)
			if got := corners(m); got != want {
				t.Errorf("orientation %d, thumb %v: corners %s, want %s", o, thumb, got, want)
			}
			if b := m.Bounds(); thumb && (max(b.Dx(), b.Dy()) != thumbSide || min(b.Dx(), b.Dy()) != 360) {
				t.Errorf("a thumbnail of %v", b)
			}
		}
	}
	small := h.mustPut("r", "s.png", append(pngOf(100, 50), secret...))
	if small.Thumb || small.Width != 100 || small.Type != typePNG ||
		bytes.Contains(h.read(small, false), []byte(secret)) {
		t.Errorf("a small picture: %+v", small)
	}
	webp := h.mustPut("r", "a.webp", lossyWebP)
	if webp.Type != typeJPEG || webp.Name != "a.jpg" || webp.Width != 1 {
		t.Errorf("lossy WebP: %+v", webp)
	}
	lossless := h.mustPut("r", "a.webp", losslessWebP)
	if lossless.Picture() || lossless.Name != "a.webp" || lossless.Type != octetStream {
		t.Errorf("lossless WebP: %+v", lossless)
	}
	named := h.mustPut("r", "run.exe", pngOf(10, 10))
	if named.Name != "run.exe.png" {
		t.Errorf("a picture that is named a program: %+v", named)
	}
	h.check()
}

func TestLargeAndDeep(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	h.shown = 1 << 19
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewPaletted(image.Rect(0, 0, 2048, 1024),
		color.Palette{color.Black, color.White})); err != nil {
		t.Fatal(err)
	}
	f := h.mustPut("r", "x.png", b.Bytes())
	if f.Width*f.Height > h.shown || f.Width < 1000 || f.Width-2*f.Height > 2 || 2*f.Height-f.Width > 2 {
		t.Errorf("a large picture: %+v", f)
	}
	b.Reset()
	deep := image.NewNRGBA64(image.Rect(0, 0, 20, 20))
	deep.SetNRGBA64(3, 3, color.NRGBA64{R: 0xFFFF, A: 0x8000})
	if err := png.Encode(&b, deep); err != nil {
		t.Fatal(err)
	}
	f = h.mustPut("r", "x.png", b.Bytes())
	if m, ok := h.decode(f, false).(*image.NRGBA); !ok || m.NRGBAAt(3, 3) != (color.NRGBA{R: 255, A: 128}) {
		t.Errorf("16 bits a sample: %T", h.decode(f, false))
	}
	h.check()
}

func TestAnimation(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	g := &gif.GIF{LoopCount: 3}
	for i := range 5 {
		m := image.NewPaletted(image.Rect(0, 0, 600, 300), color.Palette{color.Black, color.White})
		m.SetColorIndex(i, i, 1)
		g.Image, g.Delay = append(g.Image, m), append(g.Delay, 10*i)
	}
	var b bytes.Buffer
	if err := gif.EncodeAll(&b, g); err != nil {
		t.Fatal(err)
	}
	raw := b.Bytes()
	comment := append([]byte{0x21, 0xFE, byte(len(secret))}, secret...)
	raw = append(append(raw[:len(raw)-1:len(raw)-1], append(comment, 0)...), 0x3B)
	f := h.mustPut("r", "a.gif", raw)
	out := h.read(f, false)
	back, err := gif.DecodeAll(bytes.NewReader(out))
	if err != nil || len(back.Image) != 5 || back.LoopCount != 3 || back.Delay[4] != 40 ||
		bytes.Contains(out, []byte(secret)) {
		t.Errorf("an animation: %v", err)
	}
	if f.Width != 600 || !f.Thumb || h.decode(f, true).Bounds().Dx() != thumbSide {
		t.Errorf("%+v", f)
	}
	h.check()
}

// hugePNG says in its header that it is w×h.
func hugePNG(w, h uint32) []byte {
	b := pngOf(4, 4)
	binary.BigEndian.PutUint32(b[16:], w)
	binary.BigEndian.PutUint32(b[20:], h)
	binary.BigEndian.PutUint32(b[29:], crc32.ChecksumIEEE(b[12:29]))
	return b
}

// hugeJPEG says in its frame header that it is of 65,500 pixels a side.
func hugeJPEG() []byte {
	b := jpegOf(16, 16, 1)
	i := bytes.Index(b, []byte{0xFF, 0xC0})
	binary.BigEndian.PutUint16(b[i+5:], 65500)
	binary.BigEndian.PutUint16(b[i+7:], 65500)
	return b
}

func hugeGIF(frames int) []byte {
	b := []byte("GIF89a\xff\xff\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff")
	for range frames {
		b = append(b, "\x2c\x00\x00\x00\x00\xff\xff\x01\x00\x00\x02\x02\x4c\x01\x00"...)
	}
	return append(b, 0x3B)
}

func hugeWebP() []byte {
	b := bytes.Clone(lossyWebP)
	i := bytes.Index(b, []byte{0x9d, 0x01, 0x2a})
	copy(b[i+3:], []byte{0xff, 0x3f, 0xff, 0x3f})
	return b
}

// manyScans is a progressive JPEG of 32 megapixels that decodes them anew
// every 70 octets.
func manyScans(scans int) []byte {
	b := []byte{0xFF, 0xD8}
	// 8192×4096, grey
	b = append(b, 0xFF, 0xC2, 0, 11, 8, 0x10, 0, 0x20, 0, 1, 1, 0x11, 0)
	// one code: an end of band of 2^14 blocks and more
	b = append(b, 0xFF, 0xC4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xE0)
	// zeros: 2^14 blocks each
	scan := append([]byte{0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 63, 0}, bytes.Repeat([]byte{0}, 524288/16384*15/8)...)
	for range scans {
		b = append(b, scan...)
	}
	return append(b, 0xFF, 0xD9)
}

func TestBombs(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	h.patience = time.Second
	for name, b := range map[string][]byte{
		"PNG":         hugePNG(50000, 50000),
		"a long PNG":  hugePNG(1<<31-1, 1),
		"JPEG":        hugeJPEG(),
		"GIF":         hugeGIF(2000),
		"WebP":        hugeWebP(),
		"JPEG's time": manyScans(20000),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if f, err := h.put("r", "x", b); !errors.Is(err, ErrPicture) {
				t.Errorf("%+v, %v", f, err)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	h.check()
}

// TestDamaged: what lies about its type is a download, and nothing more.
func TestDamaged(t *testing.T) {
	t.Parallel()
	h := open(t, Options{})
	whole := jpegOf(200, 100, 6)
	for name, b := range map[string][]byte{
		"PNG with markup": []byte("\x89PNG\r\n\x1a\n<script>alert(1)</script>"),
		"GIF with script": []byte("GIF89a/*\x01\x00*/=1;alert(1)//"),
		"JPEG cut":        whole[:len(whole)/2],
		"JPEG of markers": append([]byte{0xFF, 0xD8, 0xFF}, bytes.Repeat([]byte{0xFF}, 100000)...),
		"JPEG of parts":   append([]byte{0xFF, 0xD8}, bytes.Repeat([]byte{0xFF, 0xE1, 0, 2}, 5000)...),
		"WebP animation": append(
			[]byte("RIFF\x30\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
			"ANIM\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00"...),
		"WebP that lies": append([]byte("RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\x7f"), lossyWebP[20:]...),
		"WebP of zeros":  append([]byte("RIFF\x00\x00\x00\x00WEBPVP"), make([]byte, 1000)...),
	} {
		f, err := h.put("r", "x.png", b)
		if err != nil || f.Picture() || f.Type != octetStream || !bytes.Equal(h.read(f, false), b) {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	h.check()
}

func TestOrientation(t *testing.T) {
	t.Parallel()
	entry := "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x08\x00\x00"
	for tiff, want := range map[string]int{
		"": 1, "MM\x00*": 1,
		"MM\x00*\x00\x00\x00\x08\x00\x01" + entry:                                         8,
		"MM\x00*\x00\x00\x00\x08\x00\x02" + entry:                                         8,
		"MM\x00*\xff\xff\xff\xff\x00\x01" + entry:                                         1,
		"MM\x00*\x00\x00\x00\x08\xff\xff":                                                 1,
		"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x09\x00\x00": 1,
	} {
		if got := raster.Orientation([]byte(tiff)); got != want {
			t.Errorf("orientation(%q) = %d", tiff, got)
		}
	}
}

func TestShrink(t *testing.T) {
	t.Parallel()
	for _, size := range []image.Point{{1, 1}, {7, 3}, {100, 99}, {99, 1}} {
		m := raster.Shrink(quarters(100, 100), size.X, size.Y)
		if m.Rect.Size() != size || !m.Opaque() {
			t.Errorf("%v: %v", size, m.Rect)
		}
	}
	// The mean of red, green, blue and white.
	if c := raster.Shrink(quarters(100, 100), 1, 1).RGBAAt(0, 0); c != (color.RGBA{128, 128, 128, 255}) {
		t.Errorf("the mean is %v", c)
	}
	same := quarters(50, 40)
	if got := raster.Shrink(same, 50, 40); got.RGBAAt(10, 30) != (color.RGBA{B: 255, A: 255}) {
		t.Errorf("not shrunk: %v", got.RGBAAt(10, 30))
	}
}

func TestDecodeCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := decodeWithin(ctx, time.Minute, bytes.NewReader(pngOf(9, 9)),
		typePNG); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
