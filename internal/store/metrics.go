package store

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

// Metrics returns the present state of the store. When it has failed or is closed, that is the state last returned.
func (s *Store) Metrics() Metrics {
	if s.enter() != nil {
		if m := s.lastM.Load(); m != nil {
			return *m
		}
		return Metrics{}
	}
	defer s.leave()
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
		DiskFull:      s.guard.diskFull(),
	}
	for _, l := range p.Levels {
		m.Tables += l.TablesCount
	}
	s.lastM.Store(m)
	return *m
}
