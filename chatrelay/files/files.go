// SPDX-License-Identifier: GPL-3.0-or-later

// Package files keeps the files and pictures of conversations in a folder.
//
// A file's type is found in its octets, never in its name. PNG, JPEG, GIF and
// plain lossy WebP are pictures: they are decoded within bounds, turned as
// their EXIF says, and encoded anew without any metadata, with a thumbnail.
// All else is kept octet by octet and offered as a download only, so that
// nothing a stranger sent runs in the pages' origin.
//
// Files are named by the SHA-256 of what is stored. Such an ID is not a
// permission: whoever serves a file looks first whether its room is the
// reader's. A file is written to a temporary one, synced and renamed, so what
// has an ID is whole, also after a power cut. One process owns a folder.
package files

import (
	"context"
	"errors"
	"time"
)

// Limits and times.
const (
	thumbSide   = 480              // pixels of a thumbnail's longer side
	maxPixels   = 64 << 20         // of a picture that is decoded
	maxDecoded  = 256 << 20        // octets that decoding may take, by its header
	maxShown    = 16 << 20         // pixels of a stored picture; larger ones are made smaller
	maxFrames   = 1000             // of an animation
	pictureTime = 20 * time.Second // for decoding one
	maxUploads  = 64               // under way at once; one more is refused with ErrBusy
	maxPictures = 2                // decoded at once; uploads beyond it wait
	jpegQuality = 88
	sniffLen    = 512 // octets that tell the type
)

var (
	// ErrTooLarge: the file is larger than a file may be.
	ErrTooLarge = errors.New("files: the file is too large")
	// ErrRoomFull: the room's files are as many octets as they may be.
	ErrRoomFull = errors.New("files: the conversation's files take too much room")
	// ErrFull: the folder holds as many octets as it may.
	ErrFull = errors.New("files: the server's room for files is full")
	// ErrBusy: too many uploads are under way.
	ErrBusy = errors.New("files: too many files at once")
	// ErrEmpty: the file has no octets.
	ErrEmpty = errors.New("files: the file is empty")
	// ErrPicture: the picture is too large to be shown, or takes too long.
	ErrPicture = errors.New("files: the picture has too many pixels")
	// ErrUnknown: there is no such file.
	ErrUnknown = errors.New("files: unknown file")
)

// Options are what Open needs. Bounds are octets; those not positive get the
// default.
type Options struct {
	MaxFile  int64 // 25 MiB
	MaxRoom  int64 // 500 MiB
	MaxTotal int64 // 20 GiB, uploads under way included
	// Used returns how many octets the room's files take: the sum of their
	// Octets. It is asked at the beginning of an upload.
	Used func(ctx context.Context, room string) (int64, error)
}

const (
	defaultFile  = 25 << 20
	defaultRoom  = 500 << 20
	defaultTotal = 20 << 30
)
