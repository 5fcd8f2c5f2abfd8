package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// maxPartition is the highest partition number: keys begin with it, in 2 bytes, and the last number is the store's own.
const maxPartition = 0xFFFE

func partitionPrefix(partition int32) []byte { return appendPrefix(nil, partition) }

// appendPrefix appends what the keys of a partition begin with. Big-endian: Pebble orders keys by their bytes.
func appendPrefix(b []byte, partition int32) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(partition))
}

func checkPartition(p int32) error {
	if p < 0 || p > maxPartition {
		return fmt.Errorf("partition %d: the state store can keep partitions 0 to %d", p, maxPartition)
	}
	return nil
}

// View is the part of the database that belongs to the tasks of one partition number, with keys as those tasks know
// them. It is a small value, to be copied freely.
type View struct {
	s         *Store
	partition int32
}

// View returns the part of one partition.
func (s *Store) View(partition int32) View { return View{s, partition} }

// bounds are the buffers in which a call builds its keys.
type bounds struct{ lo, hi []byte }

// enter begins a call. When it succeeds, leave must follow.
func (v View) enter() (*bounds, error) {
	if err := checkPartition(v.partition); err != nil {
		return nil, err
	}
	if err := v.s.enter(); err != nil {
		return nil, err
	}
	return v.s.buffers.Get().(*bounds), nil
}

func (v View) leave(b *bounds) {
	v.s.buffers.Put(b)
	v.s.leave()
}

// Get appends the value of a key to dst and returns it, and whether there is one; if not, it returns dst. It sees all
// batches whose Commit has returned.
func (v View) Get(key, dst []byte) (val []byte, found bool, err error) {
	b, err := v.enter()
	if err != nil {
		return dst, false, err
	}
	defer v.leave(b)
	b.lo = append(appendPrefix(b.lo[:0], v.partition), key...)
	val, closer, err := v.s.db.Get(b.lo)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return dst, false, nil
	case err != nil:
		return dst, false, v.s.readError(err)
	}
	dst = append(dst, val...)
	if err := closer.Close(); err != nil {
		return dst, false, v.s.readError(err)
	}
	return dst, true, nil
}

// GetSorted calls f for each of the keys, which are in ascending order, with its value if there is one. It sees what a Get at the time of the
// call would see, and costs less than one for each key. A value is good during the call of f; an error of f ends it and is returned as it is.
func (v View) GetSorted(keys [][]byte, f func(i int, val []byte, found bool) error) error {
	return v.iterate(nil, nil, func(it *pebble.Iterator) error {
		var key, val []byte
		for i, k := range keys {
			key = append(appendPrefix(key[:0], v.partition), k...)
			found := it.SeekPrefixGE(key)
			err := it.Error()
			if found {
				val, err = it.ValueAndErr()
			}
			if err != nil {
				return v.s.readError(err)
			}
			if err := f(i, val, found); err != nil {
				return err
			}
		}
		return nil
	})
}

// Scan calls f for the keys with lo <= key < hi, in byte order, as they were when Scan was called. A nil hi means to the
// end. The slices are valid during the call only. An error of f ends the scan and is returned as it is. f may call the
// store.
func (v View) Scan(lo, hi []byte, f func(key, value []byte) error) error {
	return v.iterate(lo, hi, func(it *pebble.Iterator) error {
		for ok := it.First(); ok; ok = it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				return v.s.readError(err)
			}
			if err := f(it.Key()[2:], value); err != nil {
				return err
			}
		}
		return nil // closing it has the error, if there was one
	})
}

// iterate calls f with an iterator from lo to hi, which it closes.
func (v View) iterate(lo, hi []byte, f func(it *pebble.Iterator) error) (err error) {
	b, err := v.enter()
	if err != nil {
		return err
	}
	defer v.leave(b)
	b.set(v.partition, lo, hi)
	it, err := v.s.db.NewIter(&pebble.IterOptions{LowerBound: b.lo, UpperBound: b.hi})
	if err != nil {
		return v.s.readError(err)
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = v.s.readError(cerr)
		}
	}()
	return f(it)
}

// Last appends the last key with lo <= key < hi to dst and returns it, and whether there is one; if not, it returns dst. A
// nil hi means to the end.
func (v View) Last(lo, hi, dst []byte) (key []byte, found bool, err error) {
	key = dst
	err = v.iterate(lo, hi, func(it *pebble.Iterator) error {
		if found = it.Last(); found {
			key = append(key, it.Key()[2:]...)
		}
		return nil
	})
	if err != nil {
		return dst, false, err
	}
	return key, found, nil
}

func (b *bounds) set(partition int32, lo, hi []byte) {
	b.lo = append(appendPrefix(b.lo[:0], partition), lo...)
	if hi == nil {
		b.hi = appendPrefix(b.hi[:0], partition+1)
	} else {
		b.hi = append(appendPrefix(b.hi[:0], partition), hi...)
	}
}

func (s *Store) readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("read state: %w: %s: %w: %s", ErrDamaged, s.opts.Dir, err, mendDamage)
	}
	return fmt.Errorf("read state in %s: %w", s.opts.Dir, err)
}
