// SPDX-License-Identifier: GPL-3.0-or-later

package files

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"time"

	"github.com/chmail/chmail/internal/raster"
)

// picture is one that was encoded anew.
type picture struct {
	full, thumb   *spill // thumb is nil if the picture is small enough
	kind          string
	width, height int
}

func (p *picture) drop() {
	p.full.drop()
	if p.thumb != nil {
		p.thumb.drop()
	}
}

// picture makes raw a picture of its own. It errs with errDamaged if raw
// cannot be decoded.
func (s *Store) picture(ctx context.Context, raw *spill, kind string, l *loan) (*picture, error) {
	select {
	case s.pictures <- struct{}{}:
		defer func() { <-s.pictures }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d, err := decodeWithin(ctx, s.patience, raw, kind)
	if err != nil {
		return nil, err
	}
	p := &picture{kind: kind}
	if kind == typeWebP {
		p.kind = typeJPEG
	}
	if p.full, err = s.temp(l, s.opt.MaxFile); err != nil {
		return nil, err
	}
	if err = p.fill(d, s.shown); err == nil {
		err = s.thumbnail(p, d, l)
	}
	if err != nil {
		p.drop()
		return nil, err
	}
	return p, nil
}

// decodeWithin decodes within patience, and survives a decoder's panic.
func decodeWithin(ctx context.Context, patience time.Duration, raw io.ReadSeeker, kind string) (d decoded, err error) {
	if _, err := raw.Seek(0, io.SeekStart); err != nil {
		return d, err
	}
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = errDamaged
		}
	}()
	d, err = decode(seeker{reader{timed, raw}, raw}, kind)
	switch {
	case err == nil || errors.Is(err, ErrPicture):
		return d, err
	case ctx.Err() != nil:
		return d, ctx.Err()
	case timed.Err() != nil: // as of thousands of scans over the same pixels
		return d, fmt.Errorf("%w for the time there is", ErrPicture)
	}
	return d, fmt.Errorf("%w: %w", errDamaged, err)
}

// seeker reads within a context, in small pieces, between which a decoder
// cannot do much, and seeks.
type seeker struct {
	reader
	io.Seeker
}

func (s seeker) Read(p []byte) (int, error) { return s.reader.Read(p[:min(len(p), 1024)]) }

// fill encodes the picture, in at most so many pixels.
func (p *picture) fill(d decoded, shown int) error {
	b := d.image.Bounds()
	p.width, p.height = b.Dx(), b.Dy()
	if d.animation != nil {
		p.width, p.height = d.animation.Config.Width, d.animation.Config.Height
		return buffered(p.full, func(w io.Writer) error { return gif.EncodeAll(w, d.animation) })
	}
	w, h := raster.Within(p.width, p.height, max(p.width, p.height), shown)
	m := d.image
	if w != p.width || h != p.height || d.orientation > 1 || deep(m) {
		turned := raster.Turn(raster.Shrink(m, w, h), d.orientation)
		p.width, p.height = turned.Rect.Dx(), turned.Rect.Dy()
		m = turned
	}
	return encode(p.full, m, p.kind)
}

// deep says whether a picture has 16 bits a sample, which no screen shows.
func deep(m image.Image) bool {
	switch m.(type) {
	case *image.RGBA64, *image.NRGBA64, *image.Gray16:
		return true
	}
	return false
}

// thumbnail makes p's thumbnail, of an animation's first frame.
func (s *Store) thumbnail(p *picture, d decoded, l *loan) (err error) {
	if max(p.width, p.height) <= thumbSide && d.animation == nil {
		return nil
	}
	b := d.image.Bounds()
	w, h := raster.Within(b.Dx(), b.Dy(), thumbSide, maxShown)
	small := raster.Turn(raster.Shrink(d.image, w, h), d.orientation)
	if p.thumb, err = s.temp(l, s.opt.MaxFile); err != nil {
		return err
	}
	kind := typePNG
	if small.Opaque() {
		kind = typeJPEG
	}
	return encode(p.thumb, small, kind)
}

func encode(to *spill, m image.Image, kind string) error {
	return buffered(to, func(w io.Writer) error {
		switch kind {
		case typeJPEG:
			return jpeg.Encode(w, m, &jpeg.Options{Quality: jpegQuality})
		case typeGIF:
			return gif.Encode(w, m, nil)
		}
		return png.Encode(w, m)
	})
}

func buffered(to io.Writer, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(to, 64<<10)
	if err := write(w); err != nil {
		return fmt.Errorf("encoding a picture: %w", err)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("encoding a picture: %w", err)
	}
	return nil
}
