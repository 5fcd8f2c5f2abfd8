package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millstream-go/millstream/connect"
	"github.com/millstream-go/millstream/internal/checkpoint"
	"github.com/millstream-go/millstream/internal/eventtime"
	"github.com/millstream-go/millstream/internal/fault"
	"github.com/millstream-go/millstream/internal/files"
	"github.com/millstream-go/millstream/metrics"
	"github.com/millstream-go/millstream/source"
)

// Files before topics. A partition of a topic that files come before is in one of three states, and its position says in
// which: it has a place in the files, or one in the topic. Partition 0 reads the files; the others stand at the beginning
// of the files and wait until the *committed* position of partition 0, whoever runs it, is in the topic. Each partition goes
// over to the topic by itself: the session says where its source begins, and an empty batch brings that position to the task,
// so that it is committed like any other. Positions of files are committed as metadata beside the offset 0.
//
// While partitions wait, their watermark follows the one committed for partition 0, since all that they will bring comes after
// the files.

// fileSession is a session some of whose sources have files before their topics.
type fileSession struct {
	connect.Session
	specs   map[string]connect.SourceSpec // of these sources
	follows bool                          // watermarks are committed beside positions
	log     *slog.Logger

	handler connect.Handler
	failed  chan error

	asking sync.Mutex // held by whoever asks for fronts
	mu     sync.Mutex
	lists  map[string]*files.List
	fronts map[string]front
	parts  map[source.Partition]*filePart // that have not come to their topics
	closed bool
}

// front is how far a source's files have been read, as it is committed.
type front struct {
	at        source.Position // of partition 0
	known     bool            // something is committed for it
	watermark int64
	asked     time.Time
}

// read says that the files are done with.
func (f front) read() bool {
	_, _, in := f.at.File()
	return f.known && !in
}

// filePart is a partition that reads files, or waits for them to be read.
type filePart struct {
	stop   context.CancelFunc
	done   chan struct{}
	wake   chan struct{}
	paused bool
	// gate is held to deliver. It keeps the topic's first batch from overtaking the position at which the topic begins, and a
	// file system that hangs from holding up those who take the partition away.
	gate    sync.Mutex
	stopped bool
}

// deliver hands a batch over, unless the partition was taken away.
func (p *filePart) deliver(h connect.Handler, b source.Batch) error {
	p.gate.Lock()
	defer p.gate.Unlock()
	if p.stopped {
		return context.Canceled
	}
	h.Deliver(b)
	return nil
}

// frontEvery is how often it is asked whether others have read the files.
const frontEvery = 500 * time.Millisecond

// withFiles adds to a session what its sources' files need.
func withFiles(s connect.Session, p *Program, g connect.Guarantee, log *slog.Logger) connect.Session {
	specs := map[string]connect.SourceSpec{}
	for _, sub := range p.Subtopologies {
		for _, in := range sub.Inputs {
			if in.Start.Files != nil {
				specs[in.Port.Name] = in.Start
			}
		}
	}
	if len(specs) == 0 {
		return s
	}
	return &fileSession{Session: s, specs: specs, follows: g != connect.AtMostOnce, log: log, failed: make(chan error, 1),
		lists: map[string]*files.List{}, fronts: map[string]front{}, parts: map[source.Partition]*filePart{}}
}

// list returns a source's files as they were when first asked for.
func (s *fileSession) list(stream string) (*files.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lists[stream]; l != nil {
		return l, nil
	}
	l, err := files.Open(s.specs[stream].Files)
	if err != nil {
		return nil, lasting(fmt.Errorf("the files before topic %s: %w", stream, err))
	}
	s.lists[stream] = l
	return l, nil
}

// lasting marks errors that trying again does not mend.
func lasting(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, files.ErrNoRecord) {
		return fmt.Errorf("%w: %w", connect.ErrStop, err)
	}
	return err
}

// Measure implements connect.Measured.
func (s *fileSession) Measure(add func(m *metrics.Metric, value float64, labels ...string)) {
	if m, ok := s.Session.(connect.Measured); ok {
		m.Measure(add)
	}
}

// Commit implements connect.Session.
func (s *fileSession) Commit(ctx context.Context, at []connect.PositionCommit) error {
	plain := at
	at = slices.Clone(at)
	for i := range at {
		c := &at[i]
		if _, _, ok := c.Next.File(); !ok {
			continue
		}
		mark := "-"
		if c.Partition.Index == 0 {
			l, err := s.list(c.Partition.Stream)
			if err != nil {
				return err
			}
			mark = l.Mark()
		}
		c.Metadata = checkpoint.FileMetadata + c.Next.String() + " " + mark + " " + c.Metadata
		c.Next = source.At(0)
	}
	if err := s.Session.Commit(ctx, at); err != nil {
		return err
	}
	for _, c := range plain {
		if s.specs[c.Partition.Stream].Files != nil && c.Partition.Index == 0 {
			f := s.newFront(c.Next, c.Metadata)
			s.mu.Lock()
			s.fronts[c.Partition.Stream] = f
			s.mu.Unlock()
		}
	}
	return nil
}

// newFront is the front where this is committed for partition 0.
func (s *fileSession) newFront(at source.Position, metadata string) front {
	f := front{at: at, known: true, watermark: eventtime.None, asked: time.Now()}
	if m, ok := checkpoint.ParseMetadata(metadata); ok && s.follows {
		f.watermark = m.Watermark
	}
	return f
}

// Committed implements connect.Session.
func (s *fileSession) Committed(ctx context.Context, parts []source.Partition) (map[source.Partition]connect.Committed, error) {
	found, err := s.committed(ctx, parts)
	if err != nil {
		return nil, err
	}
	plain := make(map[source.Partition]connect.Committed, len(found))
	for part, c := range found {
		plain[part] = c.Committed
		if _, _, ok := c.Position.File(); ok && c.mark != "-" {
			l, err := s.list(part.Stream)
			if err != nil {
				return nil, err
			}
			if l.Mark() != c.mark {
				return nil, fmt.Errorf("%w: the files before topic %s have changed since the application began to read them, so that its place in them, %v, means nothing: "+
					"there are %d of them now, from %s to %s, of %d bytes. Restore them, or begin under another AppID", connect.ErrStop, part.Stream, c.Position, len(l.Names), l.Names[0], l.Names[len(l.Names)-1], l.Bytes)
			}
		}
	}
	return plain, nil
}

type fileCommitted struct {
	connect.Committed
	mark string
}

// committed reads positions, those in files out of their metadata.
func (s *fileSession) committed(ctx context.Context, parts []source.Partition) (map[source.Partition]fileCommitted, error) {
	found, err := s.Session.Committed(ctx, parts)
	if err != nil {
		return nil, err
	}
	all := make(map[source.Partition]fileCommitted, len(found))
	for part, c := range found {
		f := fileCommitted{Committed: c}
		if rest, ok := strings.CutPrefix(c.Metadata, checkpoint.FileMetadata); ok && s.specs[part.Stream].Files != nil {
			at, rest, _ := strings.Cut(rest, " ")
			mark, rest, _ := strings.Cut(rest, " ")
			if f.Position, err = source.ParsePosition(at); err != nil {
				return nil, fmt.Errorf("%w: committed position of %v: %w", connect.ErrStop, part, err)
			}
			f.Metadata, f.mark = rest, mark
		}
		all[part] = f
	}
	return all, nil
}

// front returns what is committed for partition 0 of a source, not older than frontEvery.
func (s *fileSession) front(ctx context.Context, stream string) (front, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	f := s.fronts[stream]
	s.mu.Unlock()
	if f.read() || time.Since(f.asked) < frontEvery {
		return f, nil
	}
	part := source.Partition{Stream: stream}
	found, err := s.committed(ctx, []source.Partition{part})
	if err != nil {
		return front{}, err
	}
	f = front{asked: time.Now()}
	if c, ok := found[part]; ok {
		f = s.newFront(c.Position, c.Metadata)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronts[stream] = f
	return f, nil
}

var _ connect.Ender = (*fileSession)(nil)

// Ends implements connect.Ender. The end of a partition of such a source lies in the topic, also if there is nothing there.
func (s *fileSession) Ends(ctx context.Context, parts []source.Partition) (map[source.Partition]source.Position, error) {
	ender, ok := s.Session.(connect.Ender)
	if !ok {
		return nil, errors.New("the connector cannot tell where partitions end")
	}
	ends, err := ender.Ends(ctx, parts)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if _, ok := ends[p]; !ok && s.specs[p.Stream].Files != nil {
			ends[p] = source.At(0)
		}
	}
	return ends, nil
}

// Start implements connect.Session.
func (s *fileSession) Start(ctx context.Context, at map[source.Partition]*source.Position) ([]source.Partition, error) {
	topics := map[source.Partition]*source.Position{}
	reads := map[source.Partition]source.Position{}
	for p, pos := range at {
		begin := source.AtFile(0, 0)
		switch {
		case s.specs[p.Stream].Files == nil:
			topics[p] = pos
			continue
		case pos != nil:
			begin = *pos
		case p.Index > 0:
			f, err := s.front(ctx, p.Stream)
			if err != nil {
				return nil, err
			}
			if f.read() {
				topics[p] = nil
				continue
			}
		default:
			if err := s.complete(p.Stream); err != nil {
				return nil, err
			}
		}
		if _, _, ok := begin.File(); ok {
			reads[p] = begin
		} else {
			topics[p] = pos
		}
	}
	caughtUp, err := s.Session.Start(ctx, topics)
	if err != nil {
		return nil, err
	}
	for p, pos := range topics {
		at[p] = pos
	}
	for p, begin := range reads {
		if p.Index == 0 {
			if _, err := s.list(p.Stream); err != nil {
				return nil, err
			}
		}
		at[p] = &begin
		s.read(p, begin)
	}
	return caughtUp, nil
}

// complete says that positions name where each partition goes on.
func (s *fileSession) complete(stream string) error {
	r := s.specs[stream].Range
	if r.Start == source.StartTime {
		return nil
	}
	for i := range s.Partitions()[stream] {
		if _, ok := r.Positions[i]; !ok {
			return fmt.Errorf("%w: topic %s has %d partitions, and source.StartAtPositions does not say where partition %d goes on after the files: name all", connect.ErrStop, stream, s.Partitions()[stream], i)
		}
	}
	return nil
}

// read begins to bring a partition to its topic.
func (s *fileSession) read(p source.Partition, begin source.Position) {
	ctx, stop := context.WithCancel(context.Background())
	part := &filePart{stop: stop, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		stop()
		return
	}
	s.parts[p] = part
	s.mu.Unlock()
	go func() {
		defer close(part.done)
		defer stop()
		var err error
		if p.Index == 0 {
			err = s.readFiles(ctx, p, part, begin)
		} else {
			err = s.awaitFront(ctx, p)
		}
		if err == nil {
			err = s.goOver(ctx, p, part)
		}
		if err != nil && ctx.Err() == nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	}()
}

// readFiles delivers the files' records from a position on.
func (s *fileSession) readFiles(ctx context.Context, p source.Partition, part *filePart, begin source.Position) error {
	l, err := s.list(p.Stream)
	if err != nil {
		return err
	}
	file, _, _ := begin.File()
	s.log.Info("reading the files before a topic", "topic", p.Stream, "files", len(l.Names), "bytes", l.Bytes, "from", begin.String(), "file", l.Name(file))
	r, err := l.NewReader(begin)
	if err != nil {
		return fmt.Errorf("%w: topic %s: %w", connect.ErrStop, p.Stream, err)
	}
	defer func() { r.Close() }()
	said, count, failures := time.Now(), 0, 0
	for at := begin; ; {
		if err := s.room(ctx, part); err != nil {
			return err
		}
		recs, next, err := r.Next()
		switch {
		case err == io.EOF:
			s.log.Info("the files before a topic have been read", "topic", p.Stream, "records", count)
			return nil
		case errors.Is(lasting(err), connect.ErrStop):
			return fmt.Errorf("topic %s: %w", p.Stream, lasting(err))
		case err != nil:
			wait := min(fileRetry<<min(failures, 10), time.Minute)
			s.log.Warn("cannot read the files before a topic; trying again", "topic", p.Stream, "err", err, "in", wait)
			failures++
			r.Close()
			if r, err = l.NewReader(at); err == nil {
				err = pause(ctx, wait)
			}
			if err != nil {
				return err
			}
			continue
		}
		failures = 0
		bytes := 0
		for i := range recs {
			bytes += len(recs[i].Value) + fileRecord
		}
		if err := part.deliver(s.handler, source.Batch{Partition: p, Records: recs, Next: next, FetchedAt: time.Now(), Bytes: bytes}); err != nil {
			return err
		}
		at = next
		count += len(recs)
		if time.Since(said) >= sayEvery {
			said = time.Now()
			file, offset, _ := next.File()
			s.log.Info("files before a topic are being read", "topic", p.Stream, "file", l.Name(file), "number", file+1, "of", len(l.Names), "byte", offset, "records", count)
		}
	}
}

// fileRetry is how long to wait after an error that may pass; twice as long after the next.
const fileRetry = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fileRecord is about what a record occupies beside its bytes.
const fileRecord = 160

// room waits until the engine can take more.
func (s *fileSession) room(ctx context.Context, part *filePart) error {
	for {
		s.mu.Lock()
		paused := part.paused
		s.mu.Unlock()
		if !paused && s.handler.Room() > 0 {
			return ctx.Err()
		}
		select {
		case <-part.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// promiser is a handler whose tasks hear that a partition will bring nothing before a time.
type promiser interface {
	promise(part source.Partition, watermark int64)
}

// awaitFront waits until it is committed that the files have been read.
func (s *fileSession) awaitFront(ctx context.Context, p source.Partition) error {
	tick := time.NewTicker(frontEvery / 2)
	defer tick.Stop()
	failing := false
	for {
		f, err := s.front(ctx, p.Stream)
		switch {
		case errors.Is(err, connect.ErrStop):
			return err
		case err != nil:
			if !failing && ctx.Err() == nil {
				s.log.Warn("cannot find out how far the files before a topic have been read; trying again", "partition", p.String(), "err", err)
			}
		case f.read():
			return nil
		case f.known && f.watermark != eventtime.None:
			if h, ok := s.handler.(promiser); ok {
				h.promise(p, f.watermark)
			}
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// goOver begins to read the topic.
func (s *fileSession) goOver(ctx context.Context, p source.Partition, part *filePart) error {
	fault.At("before-cut")
	part.gate.Lock()
	defer part.gate.Unlock()
	if part.stopped {
		return context.Canceled
	}
	at := map[source.Partition]*source.Position{p: nil}
	caughtUp, err := s.Session.Start(ctx, at)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if at[p] == nil { // it was revoked meanwhile
		return nil
	}
	s.handler.Deliver(source.Batch{Partition: p, Next: *at[p], CaughtUp: slices.Contains(caughtUp, p), FetchedAt: time.Now()})
	s.log.Info("a topic goes on where its files end", "partition", p.String(), "at", at[p].String())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[p] == part {
		delete(s.parts, p)
		if part.paused { // under the lock, so that it is not told after the end of the pause
			s.Session.Pause([]source.Partition{p})
		}
	}
	return nil
}

// Pause implements connect.Session.
func (s *fileSession) Pause(parts []source.Partition) { s.Session.Pause(s.pause(parts, true)) }

// Resume implements connect.Session.
func (s *fileSession) Resume(parts []source.Partition) { s.Session.Resume(s.pause(parts, false)) }

// pause notes what is said to partitions in their files, and returns the others.
func (s *fileSession) pause(parts []source.Partition, paused bool) (others []source.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		part := s.parts[p]
		if part == nil {
			others = append(others, p)
			continue
		}
		part.paused = paused
		wakeUp(part.wake)
	}
	return others
}

// Wake implements connect.Session.
func (s *fileSession) Wake() {
	s.mu.Lock()
	for _, part := range s.parts {
		wakeUp(part.wake)
	}
	s.mu.Unlock()
	s.Session.Wake()
}

func wakeUp(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// Run implements connect.Session.
func (s *fileSession) Run(ctx context.Context, h connect.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := h.(*engine)
	s.handler = e
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case err = <-s.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	ran := s.Session.Run(ctx, fileHandler{e, s})
	cancel()
	<-done
	return errors.Join(ran, err)
}

// stop ends what is read for partitions; nil: for all, for good. Nothing is delivered for them any more when it returns.
func (s *fileSession) stop(parts []source.Partition) (ending []*filePart) {
	s.mu.Lock()
	s.closed = s.closed || parts == nil
	for p, part := range s.parts {
		if parts == nil || slices.Contains(parts, p) {
			part.stop()
			ending = append(ending, part)
			delete(s.parts, p)
		}
	}
	s.mu.Unlock()
	for _, part := range ending {
		part.gate.Lock()
		part.stopped = true
		part.gate.Unlock()
	}
	return ending
}

// Close implements connect.Session.
func (s *fileSession) Close(ctx context.Context) {
	for _, part := range s.stop(nil) {
		select {
		case <-part.done:
		case <-ctx.Done(): // a file system hangs
		}
	}
	s.Session.Close(ctx)
}

// fileHandler stops reading files for partitions that are taken away.
type fileHandler struct {
	*engine
	s *fileSession
}

func (h fileHandler) Revoked(ctx context.Context, parts []source.Partition) {
	h.s.stop(parts)
	h.engine.Revoked(ctx, parts)
	h.s.stop(parts) // what a restore had begun meanwhile, which the engine has waited for
}

func (h fileHandler) Lost(parts []source.Partition) {
	h.s.stop(parts)
	h.engine.Lost(parts)
}

func (h fileHandler) Deliver(b source.Batch) {
	h.s.mu.Lock()
	part := h.s.parts[b.Partition]
	h.s.mu.Unlock()
	if part != nil {
		part.gate.Lock() // while its topic's beginning is being told
		defer part.gate.Unlock()
	}
	h.engine.Deliver(b)
}

// promise implements promiser.
func (e *engine) promise(part source.Partition, watermark int64) {
	e.mu.RLock()
	p := e.ports[part]
	e.mu.RUnlock()
	if p == nil {
		return
	}
	p.Promise(watermark)
	if w := p.worker.Load(); w != nil {
		w.poke()
	}
}
