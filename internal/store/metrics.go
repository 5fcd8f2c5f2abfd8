package store

import "time"

// Metrics are sizes now, and counts since the store was opened.
type Metrics struct {
	DiskBytes     int64 // all files of the database
	MemTableBytes int64
	WALBytes      int64 // of batches that are not in tables yet
	CacheBytes    int64
	CacheHits     int64
	CacheMisses   int64
	Tables        int64
	ReadAmp       int64 // how many places a read may have to look in
	Commits       int64
	Flushes       int64
	Compactions   int64
	DebtBytes     int64 // to be compacted yet
	WriteStalls   int64 // how often writers waited for flushes or compactions
	DiskFull      bool  // writers wait for space
}

// metricsWait is how long Metrics waits for Pebble, which does not answer while it waits to write its MANIFEST.
const metricsWait = time.Second

// Metrics returns the present state of the store. When it has failed, is closed, or waits for the disk, that is the state
// last seen; DiskFull is always that of now.
func (s *Store) Metrics() Metrics {
	if s.measuring.CompareAndSwap(false, true) {
		if s.enter() != nil {
			s.measuring.Store(false)
		} else {
			s.measure()
		}
	}
	var m Metrics
	if last := s.measured.Load(); last != nil {
		m = *last
	}
	m.DiskFull = s.guard.diskFull()
	return m
}

// measure takes the metrics, and gives up waiting for them, but not taking them, when they are long in coming.
func (s *Store) measure() {
	done := make(chan struct{})
	go func() {
		defer s.leave()
		defer s.measuring.Store(false)
		defer close(done)
		s.measured.Store(s.take())
	}()
	limit := time.NewTimer(metricsWait)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	case <-s.guard.stalled:
	}
}

func (s *Store) take() *Metrics {
	p := s.db.Metrics()
	m := &Metrics{
		DiskBytes:     int64(p.DiskSpaceUsage()),
		MemTableBytes: int64(p.MemTable.Size),
		WALBytes:      int64(p.WAL.Size),
		CacheBytes:    p.BlockCache.Size,
		CacheHits:     p.BlockCache.Hits,
		CacheMisses:   p.BlockCache.Misses,
		ReadAmp:       int64(p.ReadAmp()),
		Commits:       s.stats.commits.Load(),
		Flushes:       p.Flush.Count,
		Compactions:   p.Compact.Count,
		DebtBytes:     int64(p.Compact.EstimatedDebt),
		WriteStalls:   s.stats.stalls.Load(),
	}
	for _, l := range p.Levels {
		m.Tables += l.TablesCount
	}
	return m
}
