// SPDX-License-Identifier: GPL-3.0-or-later

package chatrelay

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chmail/chmail/chatrelay/chat"
	"github.com/chmail/chmail/chatrelay/files"
	"github.com/chmail/chmail/chatrelay/transcript"
	"github.com/chmail/chmail/guard/limit"
)

// Limits and times of files, transcripts and answers by mail.
const (
	fileBurst      = 20 // files a participant may send at once
	fileEvery      = 3 * time.Second
	prefixFiles    = 60 // of an address prefix; then one a second
	filesAtOnce    = 3  // of one participant under way; the next is refused
	collectEvery   = time.Hour
	collectAge     = time.Hour // files that nobody has are kept for so long
	lookEvery      = time.Minute
	lookMost       = 10 * time.Second
	replyLife      = 90 * 24 * time.Hour // a transcript can be answered for so long
	DefaultLeftFor = 2 * time.Minute
	transcriptFor  = time.Minute // writing and sending the transcripts of one room
	maxLines       = 2000        // messages of one transcript; the newest
)

// TalkRooms is what files, changes, search, transcripts and answers by mail
// use of a store.Store, which documents each.
type TalkRooms interface {
	Change(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
	Post(ctx context.Context, home, roomID string, m chat.Message) (chat.Message, error)
	File(ctx context.Context, roomID, id string) (chat.File, error)
	FileOctets(ctx context.Context, roomID string) (int64, error)
	HasFile(ctx context.Context, folder, id string) (bool, error)
	Search(ctx context.Context, login, q, after string, limit int) (hits []chat.Hit, more string, err error)
	SetWish(ctx context.Context, roomID string, w chat.TranscriptWish) error
	Wishes(ctx context.Context, roomID string) ([]chat.TranscriptWish, error)
	QuietRooms(ctx context.Context, before time.Time) ([]string, error)
	TakeTranscripts(ctx context.Context, roomID string) (list []chat.TranscriptWish, last int64, err error)
	SentTranscript(ctx context.Context, participant, offset int64) error
}

// TalkOptions are those of files, transcripts and answers by mail.
type TalkOptions struct {
	Files      string                                                              // folder of the files; relays that share the store share it, each writes into one of its own within; empty: no files
	MaxFile    int64                                                               // octets of one; 0: 25 MiB
	MaxRoom    int64                                                               // octets of a room's files; 0: 500 MiB
	MaxFiles   int64                                                               // octets of this relay's files; 0: 20 GiB
	Replies    string                                                              // mail domain of the addresses at which transcripts are answered; empty: none can be
	LeftFor    time.Duration                                                       // everybody has left for so long: the stretch of talk is over; 0: 2 min
	Silence    time.Duration                                                       // or nothing was said for so long; 0: chat.Silence
	Transcript func(ctx context.Context, login string) (chat.TranscriptWish, bool) // a member's own wish for rooms where they have said none; may be nil
}

// talks is the relay's part for files, transcripts and answers by mail.
type talks struct {
	folder  string                  // of this relay's files, below TalkOptions.Files
	files   *files.Store            // nil: no files
	maxFile int64                   // 0: no files
	views   map[string]*files.Store // under mu: other relays' folders
	sealer  *transcript.Sealer      // nil: transcripts cannot be answered
	mine    *limit.Buckets          // files of a participant
	from    *limit.Buckets          // of an address prefix
	mu      sync.Mutex
	sending map[int64]int        // files under way by participant
	empty   map[string]time.Time // rooms that everybody has left, and when; beyond maxRooms they wait for chat.Silence
}

// openTalk opens the folder of the files, and makes the reply addresses.
func (r *Relay) openTalk() error {
	if r.opt.LeftFor == 0 {
		r.opt.LeftFor = DefaultLeftFor
	}
	if r.opt.Silence == 0 {
		r.opt.Silence = chat.Silence
	}
	t := &talks{folder: r.home(), views: map[string]*files.Store{}, sending: map[int64]int{}, empty: map[string]time.Time{},
		mine: limit.NewBuckets(limit.Rate{Every: rate.Every(fileEvery), Burst: fileBurst}, maxTracked),
		from: limit.NewBuckets(limit.Rate{Every: 1, Burst: prefixFiles}, maxTracked)}
	r.talks = t
	if r.opt.Replies != "" {
		var err error
		// One key for all relays that share the store.
		t.sealer, err = transcript.LoadSealer(context.Background(), r.opt.Replies, func(context.Context, string, func() ([]byte, error)) ([]byte, error) {
			return r.Secret("reply addresses")
		})
		if err != nil {
			return err
		}
	}
	if r.opt.Files == "" {
		return nil
	}
	var err error
	t.files, err = files.Open(filepath.Join(r.opt.Files, t.folder), files.Options{
		MaxFile: r.opt.MaxFile, MaxRoom: r.opt.MaxRoom, MaxTotal: r.opt.MaxFiles, Used: r.opt.Rooms.FileOctets})
	if err != nil {
		return err
	}
	t.maxFile = t.files.MaxFile()
	return nil
}

// runTalk sends transcripts and collects files that nobody has, until the
// relay ends.
func (r *Relay) runTalk() {
	look := time.NewTicker(min(lookMost, r.opt.LeftFor/2))
	defer look.Stop()
	collect := time.NewTicker(collectEvery)
	defer collect.Stop()
	var looked time.Time
	for {
		select {
		case <-look.C:
			for _, id := range r.talks.over(time.Now().Add(-r.opt.LeftFor)) {
				r.ended(id)
			}
			if time.Since(looked) >= min(lookEvery, r.opt.Silence/2) {
				looked = time.Now()
				r.quietRooms()
			}
		case <-collect.C:
			r.collectFiles()
		case <-r.ctx.Done():
			return
		}
	}
}

// collectFiles removes the files that no room has any more.
func (r *Relay) collectFiles() {
	if r.talks.files == nil {
		return
	}
	n, err := r.talks.files.Collect(r.ctx, collectAge, func(ctx context.Context, id string) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return r.opt.Rooms.HasFile(ctx, r.talks.folder, id)
	})
	if err != nil && r.ctx.Err() == nil {
		r.log.Warn("removing files that nobody has", "removed", n, "err", err)
	}
}

// outside makes what was put into a room without a connection to it appear
// there, wherever it lives.
func (r *Relay) outside(roomID string) {
	r.deliver(note{T: noteMail, Room: roomID})
	r.publish("", note{T: noteMail, Room: roomID})
}

// Search finds messages of a login's conversations; store.Store documents it.
func (r *Relay) Search(ctx context.Context, login, q, after string, limit int) (hits []chat.Hit, more string, err error) {
	return r.opt.Rooms.Search(ctx, login, q, after, limit)
}
