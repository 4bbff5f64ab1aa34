// SPDX-License-Identifier: GPL-3.0-or-later

// Package picture keeps the pictures of goods and advertisements.
//
// A picture comes from a stranger: it is decoded within bounds and encoded anew, so
// that what is kept has no metadata, such as where it was taken, and is nothing but
// a picture. Its files are named by the SHA-256 of the largest, one for each size.
package picture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	_ "image/gif"
	"image/jpeg"
	_ "image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	_ "golang.org/x/image/webp"

	"github.com/chmail/chmail/internal/durable"
	"github.com/chmail/chmail/internal/raster"
)

// Bounds of a picture that comes in.
const (
	MaxBytes  = 12 << 20
	MaxPixels = 32_000_000 // 128 MB while it is decoded; half of them with 16 bits a sample
	maxSide   = 20_000
)

// Sizes are the longest sides of the files, in pixels. A picture is never made larger.
var Sizes = []int{480, 960}

const quality = 82

// Errors of this package, to be tested with errors.Is.
var (
	ErrTooLarge = errors.New("the picture is too large")
	ErrFormat   = errors.New("it is no PNG, JPEG, GIF or WebP")
	ErrUnknown  = errors.New("there is no such picture")
)

// Info is what is known of a picture that is kept: the size of its largest file.
type Info struct {
	Hash          string
	Width, Height int
}

// Store keeps pictures in a folder. Its methods may be called at the same time.
type Store struct {
	dir string
	one chan struct{} // full while a picture is decoded: each takes much memory
}

// New makes the folder if it is not there.
func New(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of pictures: %w", err)
	}
	return &Store{dir: dir, one: make(chan struct{}, 1)}, nil
}

// Add reads a picture and keeps it. ErrTooLarge, ErrFormat.
func (s *Store) Add(ctx context.Context, r io.Reader) (Info, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return Info{}, fmt.Errorf("reading a picture: %w", err)
	}
	select {
	case s.one <- struct{}{}:
		defer func() { <-s.one }()
	case <-ctx.Done():
		return Info{}, ctx.Err()
	}
	files, info, err := encode(b)
	if err != nil {
		return Info{}, fmt.Errorf("reading a picture: %w", err)
	}
	for i, size := range Sizes {
		if err := s.write(info.Hash, size, files[i]); err != nil {
			return Info{}, fmt.Errorf("keeping a picture: %w", err)
		}
	}
	return info, nil
}

// encode makes the files of a picture, one for each of Sizes.
func encode(b []byte) (files [][]byte, info Info, err error) {
	if len(b) > MaxBytes {
		return nil, Info{}, ErrTooLarge
	}
	c, _, err := image.DecodeConfig(bytes.NewReader(b))
	switch {
	case err != nil:
		return nil, Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	case c.Width < 1 || c.Height < 1:
		return nil, Info{}, ErrFormat
	case c.Width > maxSide || c.Height > maxSide || c.Width*c.Height > MaxPixels,
		deep(c.ColorModel) && c.Width*c.Height > MaxPixels/2:
		return nil, Info{}, ErrTooLarge
	}
	img, format, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, Info{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	turn := 1
	if format == "jpeg" {
		turn = orientation(b) // which goes with the metadata
	}
	for _, size := range slices.Backward(Sizes) { // each from the one before, which is quicker
		img = raster.Turn(onWhite(img, size), turn)
		turn = 1
		var out bytes.Buffer
		if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: quality}); err != nil {
			return nil, Info{}, err
		}
		if files = append(files, out.Bytes()); info.Hash == "" {
			sum := sha256.Sum256(out.Bytes())
			info = Info{hex.EncodeToString(sum[:]), img.Bounds().Dx(), img.Bounds().Dy()}
		}
	}
	slices.Reverse(files)
	return files, info, nil
}

// deep says whether pictures of a colour model have 16 bits a sample.
func deep(m color.Model) bool {
	return m == color.RGBA64Model || m == color.NRGBA64Model || m == color.Gray16Model
}

// onWhite is an image, its longest side at most size pixels, on white.
func onWhite(img image.Image, size int) *image.RGBA {
	w, h := raster.Within(img.Bounds().Dx(), img.Bounds().Dy(), size, MaxPixels)
	small := raster.Shrink(img, w, h)
	out := image.NewRGBA(small.Rect)
	draw.Draw(out, out.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(out, out.Rect, small, image.Point{}, draw.Over)
	return out
}

// write writes a file, if it is not there.
func (s *Store) write(hash string, size int, b []byte) error {
	path := s.path(hash, size)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}

func (s *Store) path(hash string, size int) string {
	return filepath.Join(s.dir, hash[:2], fmt.Sprintf("%s-%d.jpg", hash, size))
}

var hashes = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Open opens a picture's file of a size, a JPEG. ErrUnknown.
func (s *Store) Open(hash string, size int) (*os.File, error) {
	if !hashes.MatchString(hash) || !slices.Contains(Sizes, size) {
		return nil, ErrUnknown
	}
	f, err := os.Open(s.path(hash, size))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrUnknown
	}
	return f, err
}
