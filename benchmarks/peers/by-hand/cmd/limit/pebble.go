package main

import (
	"context"
	"encoding/binary"
	"log"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/millstream-go/millstream/benchmarks/peers/by-hand/internal/bench"
	"github.com/twmb/franz-go/pkg/kgo"
)

func openPebble() *pebble.DB {
	db, err := pebble.Open(*dir+"/db", &pebble.Options{MemTableSize: 64 << 20, Logger: quiet{}})
	must(err)
	return db
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(f string, a ...any) { log.Printf(f, a...) }
func (quiet) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }

// restore reads a topic from its start into Pebble; "outputs" are then MiB on disk.
func restore(ctx context.Context, opts []kgo.Opt) {
	cl, err := kgo.NewClient(opts...)
	must(err)
	defer cl.Close()
	db := openPebble()
	b := db.NewBatch()
	for !finished() {
		f := poll(ctx, func(c context.Context) kgo.Fetches { return cl.PollRecords(c, 10_000) })
		f.EachRecord(func(r *kgo.Record) { must(b.Set(r.Key, r.Value, nil)) })
		if b.Count() > 0 {
			must(b.Commit(pebble.NoSync))
			b.Reset()
		}
		progress(f.NumRecords())
	}
	must(db.Flush())
	outs = int(db.Metrics().DiskSpaceUsage() >> 20)
	must(db.Close())
}

// pebbleOnly is W2's state without Kafka.
func pebbleOnly(writeBack bool) {
	db := openPebble()
	defer db.Close()
	g := bench.NewGen(1, 0, 10_000)
	g.StepUs, g.LateP, g.LateMs = 50, 0.05, 3000
	keys := make([][]byte, g.Keys)
	for i := range keys {
		keys[i] = g.Key(i)
	}
	v := make([]byte, bench.ValueSize)
	var kb []byte
	var val [16]byte
	batch := db.NewIndexedBatch()
	dirty := map[string]*[16]byte{}
	last := time.Now()
	commit := func() {
		if writeBack {
			batch = db.NewBatch()
			for k, a := range dirty {
				must(batch.Set([]byte(k), a[:], nil))
			}
			outs += len(dirty)
			clear(dirty)
		} else {
			outs += int(batch.Count())
		}
		must(batch.Commit(pebble.NoSync))
		must(batch.Close())
		batch = db.NewIndexedBatch()
		last = time.Now()
	}
	for i := 0; i < *n; i++ {
		k, ts := g.Next(v, 0)
		kb = storeKey(kb, keys[k], ts-ts%windowMs)
		if writeBack {
			a := dirty[string(kb)]
			if a == nil {
				a = new([16]byte)
				old, c, err := db.Get(kb)
				if err == nil {
					copy(a[:], old)
					must(c.Close())
				}
				dirty[string(kb)] = a
			}
			binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])+1)
		} else {
			val = [16]byte{}
			old, c, err := batch.Get(kb)
			if err == nil {
				copy(val[:], old)
				must(c.Close())
			}
			binary.BigEndian.PutUint64(val[:], binary.BigEndian.Uint64(val[:])+1)
			must(batch.Set(kb, val[:], nil))
		}
		if i&255 == 0 {
			if time.Since(last) >= *every {
				commit()
			}
			progress(256)
		}
	}
	commit()
	done = *n
}
