// SPDX-License-Identifier: GPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chmail/chmail/chatrelay/chat"
)

// With SQLite a message is acknowledged when it is in the journal, a synced
// write for all that come at once. It gets into the database a moment later,
// with many others in one transaction, which costs a fraction of a transaction
// for each, and is not synced but for once in half a journal: an fsync of the
// database would hold up the journal's. Until then the journal is kept. After a
// crash the database is completed from it.
//
// Whoever reads messages from the database, or changes something in a
// transaction, has the journal brought in first (Store.talk, Store.tx): nobody
// finds less than what was acknowledged.

func (l *logged) message() chat.Message {
	return chat.Message{Offset: l.Offset, ID: l.ID, From: l.From, Kind: l.Kind, Text: l.Text, At: moment(l.At)}
}

// redo is a journal and what of it is not in the database yet.
type redo struct {
	db      *sql.DB // of the one writing connection
	read    *sql.DB
	wal     string // SQLite's own journal, in which its newest transactions are
	log     func(format string, args ...any)
	journal *journal
	broken  bool // of who has the turn: it could not be written, and messages go past it until the next start
	// alone holds one token, for who gives messages their offsets: the
	// journal's writer, or a transaction on the database.
	alone    chan struct{}
	applying sync.Mutex
	wake     chan struct{} // holds one
	some     atomic.Bool   // something waits

	insert, touch, look, progress *sql.Stmt // applying

	mu      sync.Mutex
	waiting []logged
	seq     int64             // number of the record that holds the last of them
	synced  int64             // number of the record up to which the database would be found complete after a power cut
	late    bool              // the journal is about to need room
	seen    map[seenKey]int64 // marks that are not in the journal either
	books   books
}

type seenKey struct {
	room        string
	participant int64
}

// openRedo takes the journal of a database and brings into the database what
// a crash has left there.
func (s *Store) openRedo(ctx context.Context, path string) error {
	name := path + JournalSuffix
	j, err := openJournal(name)
	if err != nil {
		return err
	}
	r := &redo{db: s.write, read: s.read, wal: path + "-wal", log: s.opts.Log, journal: j, alone: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), seen: map[seenKey]int64{}}
	r.yield()
	err = s.write.QueryRowContext(ctx, "SELECT pos FROM journal").Scan(&r.seq)
	if err == nil {
		err = j.replay(func(seq int64, list []logged) error {
			if seq > r.seq+1 {
				return errForeign
			}
			if seq > r.seq {
				r.add(list, seq)
			}
			return nil
		})
	}
	if errors.Is(err, errForeign) {
		// Somebody has put an older database here. What the journal has beyond
		// it cannot be joined to it, and is kept for them to look at.
		s.opts.Log("%s belongs to a newer state of the database; it is kept as %s.old", name, name)
		j.close()
		if err := os.Rename(name, name+".old"); err != nil {
			return err
		}
		return s.openRedo(ctx, path)
	}
	left := len(r.waiting)
	if err == nil {
		err = r.prepare(ctx)
	}
	if err == nil {
		err = r.apply(true)
	}
	if err != nil {
		j.close()
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if left > 0 {
		s.opts.Log("%d messages came from the journal", left)
	}
	j.seq = r.seq
	s.redo = r
	return nil
}

var errForeign = errors.New("the journal is another database's")

// add makes messages wait that are in the journal.
func (r *redo) add(list []logged, seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting, r.seq = append(r.waiting, list...), seq
	r.late = r.journal.needs(r.synced)
	r.stir()
}

// stir lets the applier know that something waits.
func (r *redo) stir() {
	r.some.Store(true)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take gives messages their offsets and writes them to the journal. An error
// means that none of them is stored.
func (r *redo) take(ctx context.Context, batch []*entry) error {
	<-r.alone
	defer r.yield()
	list := make([]logged, 0, len(batch))
	now := micros(time.Now())
	for _, e := range batch {
		l, err := r.place(ctx, e, list)
		if err != nil {
			r.books.forget() // it has those before this one
			return err
		}
		if l != nil {
			l.At = now
			e.append.m = l.message()
			list = append(list, *l)
		}
	}
	if len(list) == 0 {
		return nil
	}
	err := r.journal.write(list, r.durable())
	if errors.Is(err, errJournalFull) { // the applier is late
		if err = r.apply(true); err == nil {
			err = r.journal.write(list, r.durable())
		}
	}
	if err != nil {
		r.broken = !errors.Is(err, errJournalFull)
		r.books.forget()
		return err
	}
	r.add(list, r.journal.seq)
	return nil
}

// durable is the number of the record up to which the journal is not needed.
func (r *redo) durable() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.synced
}

// place finds a message's offset. It is nil, with what is to be answered in
// the entry, when the message is not to be stored. batch is what goes before
// it into the same record.
func (r *redo) place(ctx context.Context, e *entry, batch []logged) (*logged, error) {
	a := e.append
	e.refusal, a.repeated = nil, false
	b, err := r.book(ctx, e.room)
	if err == nil && !b.has(a.m.From) {
		err = r.enrol(ctx, b)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && !b.has(a.m.From):
		e.refusal = chat.ErrUnknown
		return nil, nil
	case err != nil:
		return nil, err
	}
	if b.mayKnow(a.m.From, a.m.ID) {
		m, err := r.twin(ctx, e.room, a.m.From, a.m.ID, batch)
		if err == nil {
			a.m, a.repeated = m, true
			return nil, nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
	}
	if a.home != "" && a.home != b.home {
		e.refusal = chat.ErrMoved
		return nil, nil
	}
	l := &logged{Room: e.room, Offset: b.next, ID: a.m.ID, From: a.m.From, Kind: a.m.Kind, Text: a.m.Text}
	r.books.add(b, l.From, l.ID)
	return l, nil
}

// twin finds a message that was stored before: in batch, in the journal or in
// the database. sql.ErrNoRows: there is none.
func (r *redo) twin(ctx context.Context, roomID string, from int64, id string, batch []logged) (m chat.Message, err error) {
	for _, list := range [...][]logged{batch, r.queued()} {
		for i := range list {
			if l := &list[i]; l.ID == id && l.From == from && l.Room == roomID {
				return l.message(), nil
			}
		}
	}
	// What waits no more by now is in the database by now.
	m = chat.Message{ID: id, From: from}
	var at int64
	err = r.read.QueryRowContext(ctx, "SELECT pos, kind, body, at FROM messages WHERE room = $1 AND sender = $2 AND id = $3", roomID, from, id).
		Scan(&m.Offset, &m.Kind, &m.Text, &at)
	m.At = moment(at)
	return m, err
}

// queued is what waits now.
func (r *redo) queued() []logged {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiting // which is only added to, and cut from its beginning
}

// hold waits for the right to give messages their offsets and brings what
// waits into the database. End it with yield.
func (r *redo) hold(ctx context.Context) error {
	select {
	case <-r.alone:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.books.stale()
	if err := r.apply(false); err != nil {
		r.yield()
		return err
	}
	return nil
}

func (r *redo) yield() { r.alone <- struct{}{} }

// apply brings what waits into the database, with sync so that it would be
// found there after a power cut. After an error it waits on.
func (r *redo) apply(sync bool) error {
	if !sync && !r.some.Load() {
		return nil
	}
	r.applying.Lock()
	defer r.applying.Unlock()
	r.mu.Lock()
	list, seq, seen := r.waiting, r.seq, maps.Clone(r.seen)
	r.mu.Unlock()
	if len(list) > 0 || len(seen) > 0 {
		began := time.Now()
		if err := r.bring(list, seq, seen); err != nil {
			return fmt.Errorf("bringing the journal into the rooms' database: %w", err)
		}
		applySeconds.Observe(time.Since(began).Seconds())
	}
	if sync {
		if err := r.sync(); err != nil {
			return fmt.Errorf("syncing the rooms' database: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if sync {
		r.synced, r.late = seq, false
	}
	r.waiting = r.waiting[len(list):]
	for k, offset := range seen {
		if r.seen[k] == offset {
			delete(r.seen, k)
		}
	}
	if len(r.waiting) == 0 && len(r.seen) == 0 {
		r.waiting = nil // its memory
		r.some.Store(false)
	}
	return nil
}

// sync makes what was committed survive a power cut. A commit with an fsync of
// SQLite's own does so only if it changes something.
func (r *redo) sync() error {
	f, err := os.Open(r.wal)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// prepare makes the statements of bring. What is in the database already is
// left as it is: a record that could not be synced was not acknowledged, and
// its messages may have gone the other way.
func (r *redo) prepare(ctx context.Context) error {
	for _, p := range []struct {
		to    **sql.Stmt
		query string
	}{
		{&r.insert, "INSERT INTO messages (room, pos, id, sender, kind, body, at)" +
			" SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM rooms WHERE id = $1) ON CONFLICT DO NOTHING"},
		{&r.touch, "UPDATE rooms SET next = MAX(next, $1), touched = $2 WHERE id = $3"},
		{&r.look, "UPDATE participants SET seen = $1 WHERE id = $2 AND seen < $1"},
		{&r.progress, "UPDATE journal SET pos = $1"},
	} {
		var err error
		if *p.to, err = r.db.PrepareContext(ctx, p.query); err != nil {
			return err
		}
	}
	return nil
}

// bring is one transaction, which is not synced.
func (r *redo) bring(list []logged, seq int64, seen map[seenKey]int64) error {
	ctx := context.Background() // SQLite has its busy_timeout
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	defer func() {
		if _, err := conn.ExecContext(ctx, "PRAGMA synchronous = FULL"); err != nil {
			conn.Raw(func(any) error { return driver.ErrBadConn }) // others rely on it
		}
	}()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	insert, touch, look := tx.StmtContext(ctx, r.insert), tx.StmtContext(ctx, r.touch), tx.StmtContext(ctx, r.look)
	rooms := map[string]*logged{}
	for i := range list {
		l := &list[i]
		done, err := insert.ExecContext(ctx, l.Room, l.Offset, l.ID, l.From, l.Kind, l.Text, l.At)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err == nil && n == 0 {
			r.log("message %d of room %s is in the database already, or the room is gone", l.Offset, l.Room)
		}
		rooms[l.Room] = l
	}
	for id, last := range rooms {
		if _, err := touch.ExecContext(ctx, last.Offset+1, last.At, id); err != nil {
			return err
		}
	}
	for k, offset := range seen {
		if _, err := look.ExecContext(ctx, offset, k.participant); err != nil {
			return err
		}
	}
	if len(list) > 0 {
		if _, err := tx.StmtContext(ctx, r.progress).ExecContext(ctx, seq); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// mark notes what a participant has seen, to be brought into the database with
// the next messages. A crash may forget the last moment's marks.
func (r *redo) mark(ctx context.Context, roomID string, participant, offset int64) error {
	if !r.books.reaches(roomID, participant, offset) {
		waiting := r.queued() // before the database is read: what leaves it meanwhile is found there
		var next int64
		err := r.read.QueryRowContext(ctx, "SELECT r.next FROM rooms r JOIN participants p ON p.room = r.id"+
			" WHERE r.id = $1 AND p.id = $2", roomID, participant).Scan(&next)
		if err != nil {
			return known(err)
		}
		for i := range waiting {
			if l := &waiting[i]; l.Room == roomID {
				next = max(next, l.Offset+1)
			}
		}
		if offset >= next {
			return nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := seenKey{roomID, participant}
	r.seen[k] = max(r.seen[k], offset)
	r.stir()
	return nil
}

// applier brings what waits into the database, some time after it came.
func (s *Store) applier() {
	defer s.owned.Done()
	r := s.redo
	late := func() {
		r.mu.Lock()
		sync := r.late
		r.mu.Unlock()
		if err := r.apply(sync); err != nil {
			s.opts.Log("%v", err)
		}
	}
	for {
		select {
		case <-r.wake:
		case <-s.written: // the last write is in the journal
			late()
			return
		}
		select {
		case <-time.After(applyEvery):
		case <-s.written:
			continue
		}
		late()
		if r.some.Load() { // came meanwhile, or could not be brought in
			r.stir()
		}
	}
}

// talk reads messages, rooms' next offsets and what people have seen.
type talk struct {
	*sql.DB
	redo *redo // nil of PostgreSQL
}

func (t talk) settle() error {
	if t.redo == nil {
		return nil
	}
	return t.redo.apply(false)
}

// QueryContext implements querier.
func (t talk) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.settle(); err != nil {
		return nil, err
	}
	return t.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (t talk) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := t.settle(); err != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx) // the one way to have a Row say that there is an error
		cancel()
	}
	return t.DB.QueryRowContext(ctx, query, args...)
}
