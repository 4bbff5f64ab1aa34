// SPDX-License-Identifier: GPL-3.0-or-later

package sample

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
)

const width, height = 480, 360

// draw makes a picture of goods: a shape of some parts on a ground that fades, in
// colours of its own.
func draw(kind int, hue float64) []byte {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	ground, ink, shine := colour(hue, 0.20, 0.93), colour(hue, 0.45, 0.45), colour(hue+0.08, 0.55, 0.80)
	for y := range height {
		shade := 1 - 0.12*float64(y)/height
		for x := range width {
			c := darker(ground, shade)
			px, py := float64(x-width/2), float64(y-height/2)
			switch {
			case py > 118 && py < 124 && math.Abs(px) < 170:
				c = darker(ground, 0.8) // what it stands on
			case inside(kind, px, py):
				c = ink
				if inside(kind, px+26, py+10) && px < 20 {
					c = shine
				}
			}
			img.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil { // to memory: cannot fail
		panic(err)
	}
	return b.Bytes()
}

// inside says whether a point, seen from the middle, is in a shape.
func inside(kind int, x, y float64) bool {
	box := func(cx, cy, w, h float64) bool { return math.Abs(x-cx) < w/2 && math.Abs(y-cy) < h/2 }
	oval := func(cx, cy, w, h float64) bool { return math.Hypot((x-cx)/(w/2), (y-cy)/(h/2)) < 1 }
	switch kind {
	case 0: // a table lamp
		return y > -110 && y < -10 && math.Abs(x) < 50+(y+110)*0.5 || box(0, 50, 14, 120) || box(0, 112, 120, 14)
	case 1: // a round lantern
		return oval(0, -10, 190, 170) || box(0, -110, 8, 60) || box(0, 85, 60, 18)
	case 2: // a standing lamp
		return y > -130 && y < -50 && math.Abs(x) < 70-(y+50)*0.2 || box(0, 40, 8, 180) || oval(0, 114, 130, 16)
	case 3: // a vase
		return math.Abs(x) < 38+34*math.Cos((y-30)/62) && y > -118 && y < 118
	case 4: // a bowl
		return oval(0, -10, 280, 250) && y > -10 || box(0, 112, 90, 12)
	case 5: // a jar with a lid
		return oval(0, 20, 210, 200) || oval(0, -88, 120, 36) || oval(0, -112, 28, 28)
	case 6: // a notebook
		return box(0, 0, 190, 236) && !box(-70, 0, 6, 236)
	case 7: // a brush in its stand
		return box(0, 50, 130, 136) || box(-24, -70, 12, 130) || box(20, -60, 12, 110) || oval(-24, -125, 18, 34)
	case 9: // a light bulb
		return oval(0, -30, 150, 160) || box(0, 55, 70, 40) || box(0, 84, 50, 10) || box(0, 102, 36, 10)
	case 10: // a cup on its saucer
		return oval(0, -20, 200, 230) && y > -20 || oval(112, 20, 70, 70) && !oval(112, 20, 40, 40) ||
			oval(0, 106, 280, 24)
	case 11: // a parcel
		return box(0, 20, 230, 196) && !box(0, 20, 12, 196) && !box(0, -20, 230, 10)
	default: // an envelope
		return box(0, 10, 270, 180) && math.Abs(y+10-math.Abs(x)*-0.55+30) > 3
	}
}

// colour is one of a hue, saturation and value from 0 to 1.
func colour(h, s, v float64) color.RGBA {
	part := func(n float64) uint8 {
		k := math.Mod(n+h*6, 6)
		return uint8(255 * (v - v*s*max(0, min(k, 4-k, 1))))
	}
	return color.RGBA{part(5), part(3), part(1), 255}
}

func darker(c color.RGBA, by float64) color.RGBA {
	return color.RGBA{uint8(float64(c.R) * by), uint8(float64(c.G) * by), uint8(float64(c.B) * by), 255}
}
